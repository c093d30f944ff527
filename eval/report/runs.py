"""One run's page: the command that makes it, its scores, outputs, files, environment."""

from collections.abc import Callable
from pathlib import Path

from solo.files import as_typed, file_name, flat, to_yaml
from solo.run_files import CONFIG, ENVIRONMENT, SCORES

from .. import records
from ..metrics import ALL
from ..metrics.slot_errors import slots_of
from ..samples import spaced
from ..tables.runs import Run
from .outputs import Set, content_of
from .scores import ReportLine, interval_of

N_OUTPUTS = 10
RECIPE = ("epochs", "max_steps", "batch_size", "warmup_steps", "weight_decay", "precision")


def page_of(run: Run) -> str:
    """The address of a run's page, from the report's folder: its name, and a digest of its place,
    since runs in two folders may have one name."""
    place = records.hash_of({"decoding": as_typed(run.decoding)})[:6]
    return f"runs/{file_name(run.name)}-{place}.html"


def stages_of(run: Run) -> dict[str, dict]:
    """The records of a run's stages."""
    stages = dict(records.read(run.directory, ENVIRONMENT))
    if run.decoding != run.directory:
        stages |= records.read(run.decoding, ENVIRONMENT)
    return {name: stage for name, stage in stages.items() if isinstance(stage, dict)}


def recipe_of(run: Run) -> str:
    """What a run was trained with, in words."""
    recipe = run.options["train"]
    words = [
        f"{key.replace('_', ' ')} {recipe[key]}" for key in RECIPE if recipe.get(key) is not None
    ]
    return ", ".join([f"learning rate {run.lr:g}", *words])


def signature_of(run: Run) -> str:
    """What decides about its scores, "" where they do not say."""
    return str(records.read(run.decoding, SCORES).get("signature", ""))


def commit_of(run: Run) -> str:
    """The commit that it was trained with, and whether files differed from it."""
    train = stages_of(run).get("train", {})
    commit = str(train.get("commit") or "unknown")[:12]
    return commit + (" (changed)" if train.get("dirty") else "")


def facts_of(line: ReportLine) -> list[tuple[str, str]]:
    """What hovering over a line of a table tells: of its first run, and what differs in others."""
    if not line.runs:
        return []
    first = line.runs[0]
    facts = [("recipe", recipe_of(first)), ("seeds", ", ".join(str(run.seed) for run in line.runs))]
    facts += [("commit", ", ".join(dict.fromkeys(map(commit_of, line.runs))))]
    facts += [("signature", signature_of(first))] if signature_of(first) else []
    facts += [("not a reproduction", "; ".join(line.marks))] if line.marks else []
    return facts


def content(
    run: Run, line: ReportLine, of_set: Set | None, command: Callable[[Run], str]
) -> dict[str, object]:
    """All that the template of a run's page needs but the pictures."""
    config = dict(records.read(run.directory, CONFIG))
    config["decode"] = config.get("decode", {}) | run.options["decode"]  # of this decoding
    return {
        "run": run,
        "line": line,
        "command": command(run),
        "recipe": recipe_of(run),
        "config": to_yaml(config),
        "scores": _scores(run, line),
        "signature": signature_of(run),
        "outputs": _outputs(run, of_set),
        "how": of_set.how if of_set else "",
        "credit": of_set.credit if of_set else "",
        "files": _files(run),
        "stages": {name: _shown(stage) for name, stage in stages_of(run).items()},
    }


def _scores(run: Run, line: ReportLine) -> list[tuple[str, str, str]]:
    """(metric, score, 95 % interval) of this run; the interval where the line is of it alone."""
    found = []
    for name, value in run.scores.items():
        metric, of_line = ALL[name], line.scores.get(name)
        alone = len(line.runs) == 1 and of_line is not None and of_line.low is not None
        found.append(
            (metric.titled_head, metric.shown(value), interval_of(of_line, metric) if alone else "")
        )
    return found


def _outputs(run: Run, of_set: Set | None) -> list[dict]:
    """Ten MRs at equal distances: slots, the output in pieces with their kinds, what is missing."""
    system = next((s for s in of_set.systems if s.run == page_of(run)), None) if of_set else None
    if system is None:
        return []
    made = content_of(of_set, system)
    return [
        {
            "number": i + 1,
            "slots": slots_of(of_set.sources[i]),
            "reference": next(iter(of_set.references.get(of_set.sources[i], [])), ""),
            "pieces": pieces(made["texts"][i], made["marks"][i]),
            "missing": [slot for start, _, slot, _ in made["marks"][i] if start < 0],
        }
        for i in spaced(len(of_set.sources), N_OUTPUTS)
    ]


def pieces(text: str, marks: list[list]) -> list[tuple[str, str, str]]:
    """A text cut at its marks: (words, kind, slot), kind "" between them. Of marks that overlap the
    first one stays."""
    units = text.encode("utf-16-le")

    def part(start: int, end: int) -> str:
        return units[2 * start : 2 * end].decode("utf-16-le", "replace")

    found, place = [], 0
    for start, end, slot, kind in sorted(mark for mark in marks if mark[0] >= 0):
        if start >= place:
            found += [(part(place, start), "", ""), (part(start, end), kind, slot)]
            place = end
    return [piece for piece in [*found, (part(place, len(units) // 2), "", "")] if piece[0]]


def _files(run: Run) -> list[tuple[str, str]]:
    """(path, size) of everything that is kept of a run."""
    if records.is_packed(run.directory):
        paths = [run.directory, records.predictions_of(run.directory)]
    else:
        paths = sorted(p for p in Path(run.directory).rglob("*") if p.is_file())
    return [(as_typed(path), f"{path.stat().st_size:,} bytes") for path in paths]


def _shown(stage: dict) -> list[tuple[str, str]]:
    """A record as rows: names with dots, and values as text."""
    return [(key, "–" if value is None else str(value)) for key, value in flat(stage).items()]
