"""A study's list is checked as a whole before anything is trained for it."""

import copy

import pytest

from eval.tables.groups import kind_of
from solo.cli import study_list
from solo.cli.compose import compose_values
from solo.cli.rows import settings_of
from solo.cli.study_list import Group, Name, Question, StudyList
from solo.files import to_yaml

MINE = {
    "title": "Mine",
    "home": "results/mine",
    "against": "table1/lora_s",
    "names": {
        "lora": {"row": "table1/lora_s"},
        "solo": {"row": "table1/solo_s", "label": "Solo"},
        "solo_r8": {"row": "table1/solo_s", "overrides": ["adapter.rank=8"]},
    },
    "groups": {"a": {"names": ["lora", "solo"], "seeds": [1, 2]}},
    "rates": {"lora": [1e-3, "3e-3"], "solo": [0.01]},
    "rates_of": {"solo_r8": "solo"},
    "claims": [{"question": "Is it?", "a": "solo", "b": "lora"}],
    "outputs": ["solo"],
}


def read(folder, values: dict) -> StudyList:
    (folder / "study").mkdir(exist_ok=True)
    (folder / "study/mine.yaml").write_text(to_yaml(values), encoding="utf-8")
    return study_list.read_list("mine")


@pytest.fixture(autouse=True)
def configs(tmp_path, monkeypatch):
    monkeypatch.setattr(study_list, "CONFIGS", tmp_path)
    return tmp_path


def test_a_list_is_filled_up_with_what_it_leaves_out(configs):
    listed = read(configs, MINE)
    assert listed.overrides == listed.sweep == [] and listed.metrics is None
    assert listed.names["lora"] == Name("table1/lora_s", label=None, overrides=[])
    assert listed.groups["a"] == Group(["lora", "solo"], [1, 2], neighbours=False)
    assert listed.claims == [Question("Is it?", "solo", "lora")]
    few = {key: MINE[key] for key in ("title", "home", "against", "names", "groups")}
    assert read(configs, few).claims == []


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("gruops", {}, "gruops is no option; the options are: title, home, against"),
        ("title", None, "title is None; it must be text"),
        ("home", "mine", "home is 'mine'; it must be a folder of results, such as results/mine"),
        ("home", "results/..", "home is 'results/..'; it must be a folder of results"),
        (
            "home",
            "results/standin12",
            "home results/standin12 is the study other's; choose a folder",
        ),
        (
            "against",
            "table1/full_s",
            "against is 'table1/full_s', the row of no name; the rows are",
        ),
        ("names.solo.override", [], "names.solo.override is no option; the options are: row"),
        ("names.solo", "table1/solo_s", "names.solo.row is missing"),
        ("groups.a.seed", 1, "groups.a.seed is no option; the options are: names, seeds"),
        ("groups.a.seeds", [], "groups.a.seeds must be whole numbers, such as .1."),
        ("groups.a.seeds", ["x"], "groups.a.seeds must be whole numbers"),
        (
            "groups.a.names",
            ["sollo"],
            "groups.a.names has 'sollo'; the names are lora, solo, solo_",
        ),
        ("rates.loraa", [0.1], "rates has 'loraa'; the names are lora, solo"),
        ("rates.lora", [], r"rates.lora is \[\]; it must be a list of different rates"),
        ("rates.lora", 0.1, "rates.lora is 0.1; it must be a list of different rates"),
        ("rates.lora", [0.1, "0.1"], "rates.lora is .*; it must be a list of different rates"),
        ("rates_of.solo_r8", "solo_r8", "rates_of.solo_r8 is 'solo_r8'; rates are given for lora"),
        ("outputs", ["solox"], "outputs has 'solox'; the names are"),
        (
            "claims",
            [{"question": "Q?", "a": "solo", "b": "no"}],
            "the claim 'Q.' has 'no'; the nam",
        ),
        ("claims", [{"question": "Q?", "a": "solo"}], r"claims\[0\].b is missing"),
        (
            "names.slow",
            {"row": "table1/lora_s", "overrides": ["train.weight_decay=0"]},
            "names.lora and names.slow have the same row and differ in no option of the adapter",
        ),
    ],
)
def test_what_does_not_fit_together_is_one_line_with_the_place(configs, place, value, words):
    values = copy.deepcopy(MINE)
    (configs / "study").mkdir()
    (configs / "study/other.yaml").write_text("title: x\nhome: results/standin12 # theirs\n")
    *path, key = place.split(".")
    part = values
    for step in path:
        part = part[step]
    part[key] = value
    with pytest.raises(ValueError, match=f"study/mine.yaml: {words}") as caught:
        read(configs, values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("common", "epochs"),
    [
        ([], 5),  # the recipe's
        (["train.epochs=2"], 2),
        (["train=standin"], 1),
        (["train.epochs=3", "train=standin"], 3),
        (["adapter.rank=64", "adapter.dropout=1"], 5),
    ],
)
def test_a_name_is_of_the_kind_of_its_runs(configs, common, epochs):
    """Whoever sets an option: the name, the study for all of them, or the recipe."""
    names = MINE["names"] | {
        "long": {"row": "table1/solo_s", "overrides": ["train.epochs=7"]},
        "as_it_is": {"row": "table2/solo_s_r128", "overrides": ["adapter.rank=128"]},
        "devcode": {"row": "table1/solo_s", "overrides": ["adapter.variant=devcode"]},
    }
    if "train=standin" in common:
        names["demo"] = {"row": "demo/lora"}  # a row with a recipe of its own
    kinds = study_list.kinds_of(read(configs, MINE | {"names": names, "overrides": common}))
    for name, entry in names.items():
        row = entry["row"]
        values = compose_values([f"experiment={row}", *common, *entry.get("overrides", [])])
        assert kinds[name] == kind_of(row, values, settings_of(row)["adapter"])
    assert {kinds[name].epochs for name in ("lora", "solo", "devcode")} == {epochs}
    assert kinds["long"].epochs == 7
