"""How many parameters the rows of the tables train, in closed form: no weights are needed."""

from dataclasses import replace

import transformers

from eval.tables.params import Counts
from eval.tables.runs import HUB_NAMES
from solo.adapters import make_config
from solo.backbones.shapes import gpt2_shapes
from solo.cli.command import GPT2_TABLES, PAPER_TABLES
from solo.cli.rows import reported_tables, row_settings
from solo.runs.identity import short_name


def row_counts(settings: dict[str, dict]) -> dict[str, dict[str, int]]:
    """{row: {"paper": count with lambdas, "devcode": count}} of the rows on GPT-2 S and M.

    settings: of `row_settings`. A row without variants has no "devcode".
    """
    counts = {}
    for row, of_row in settings.items():
        shape = gpt2_shapes().get(of_row["model"]["path"])
        if shape is None:
            continue
        method, config = make_config(of_row["adapter"])
        counts[row] = {"paper": method.n_params(shape, config)}
        if "variant" in of_row["adapter"]:
            counts[row]["devcode"] = method.n_params(shape, replace(config, variant="devcode"))
    return counts


def doubt(training: dict, adapter: dict, train: dict) -> str | None:
    """What in a run's files contradicts the rest, in words: its name, or the count; None: nothing.

    training: of identity.json; adapter: the options of config.yaml; train: of environment.json.
    """
    name = short_name(training)
    if train.get("identity", name) != name:
        return f"identity.json is of run {name}, environment.json of {train['identity']}"
    sizes = train["backbone"].get("shape")
    # The record of a backbone leaves its positions out, which only full fine-tuning trains: counted
    # with none of them and with one, the two counts tell what a position takes.
    try:
        method, config = make_config(adapter)
        ends = {"bos_token_id": None, "eos_token_id": None}
        shapes = [transformers.GPT2Config(**sizes, **ends, n_positions=number) for number in (0, 1)]
        without, with_one = (method.n_params(shape, config) for shape in shapes)
    except Exception as error:  # whatever a file that was written by hand leads to
        return f"its parameters cannot be counted ({' '.join(str(error).split())})"
    n_params, position = train["n_params"], with_one - without
    if position == 0:
        fits, count = n_params == without, f"{without:,}"
    else:
        fits = n_params > without and (n_params - without) % position == 0
        count = f"{without:,} and the positions"
    if fits:
        return None
    return f"n_params is {n_params:,}; {adapter['name']} on its backbone has {count}"


def audit() -> list[Counts]:
    """The counts of every row of the tables on GPT-2 S and M, for results/tables/params.md."""
    reported = reported_tables()
    rows = [(table, row) for table in GPT2_TABLES for row in reported[table]["rows"]]
    settings = row_settings(row["row"] for _, row in rows)
    return [_audited(table, row, settings[row["row"]]) for table, row in rows]


def _audited(table: str, row: dict, settings: dict) -> Counts:
    """All counts of one row of eval/tables/paper.yaml."""
    model, adapter = settings["model"]["path"], settings["adapter"]
    method, config = make_config(adapter)
    exact = count = method.n_params(gpt2_shapes()[model], config)
    of_solo = {}
    if adapter["name"] == "solo":
        exact = method.n_params(
            gpt2_shapes()[model], replace(config, homotopy=False)
        )  # without lambdas
        of_solo = _solo_counts(method, config, model, exact, row.get("s"))
    comment = row.get("note", "")
    printed = row["reported"] if table in PAPER_TABLES else None  # others repeat a row of them
    return Counts(table, row["row"], printed, exact, count, comment=comment, **of_solo)


def _solo_counts(method, config, model: str, exact: int, s: float | None) -> dict:
    """The development code's count, and those of other readings that may explain a misfit."""
    plain, devcode = replace(config, homotopy=False), replace(config, variant="devcode")
    vectors = method.n_params(gpt2_shapes()[model], replace(plain, trainable_matrices=False))
    elsewhere = {"encoder and decoder alone": exact - vectors}
    for path, shape in gpt2_shapes().items():
        if path != model:
            elsewhere[f"{HUB_NAMES[path]}'s count"] = method.n_params(shape, plain)
            elsewhere[f"{HUB_NAMES[path]}'s devcode count"] = method.n_params(shape, devcode)
    fractions = {} if s is None else {f"{s:.0%} masked": s, f"{s:.0%} kept": round(1 - s, 6)}
    readings = {
        name: method.n_params(gpt2_shapes()[model], replace(plain, sparsity=masked))
        for name, masked in fractions.items()
    }
    count = method.n_params(gpt2_shapes()[model], devcode)
    return {"devcode": count, "elsewhere": elsewhere, "readings": readings}
