"""Slot errors against cases by hand, and against what the authors of the rule published: their
figures for TGen and the MRs that their script found in E2E's own texts.

`slot_error.py` of tuetschek/e2e-cleaning at 164acdf made both.
"""

import csv
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from eval.bootstrap import Outputs
from eval.claims import compare
from eval.metrics.slot_errors import KINDS, METRIC, errors, marks, read_mr, said
from eval.metrics.texts import Texts
from eval.readers import load, read_hypotheses
from eval.score import main, not_measured, score

MR = "name[Zizzi], eatType[pub], priceRange[£20-25], customer rating[low], familyFriendly[no]"
LORA = (
    "name : Zizzi | Type : pub | price : £ 20 - 25 | customer rating : low | family friendly : no"
)
RIGHT = "Zizzi is a pub with a low rating, £20-25 and not family-friendly."


def folder(variable: str) -> Path:
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    return Path(os.environ[variable])


@pytest.mark.parametrize(
    ("text", "added", "missing", "wrong", "repeated"),
    [
        (RIGHT, 0, 0, 0, 0),
        ("zizzi is a pub . low customer rating , £ 20 - 25 , is n't kid - friendly", 0, 0, 0, 0),
        (
            "Zizzi isn 't a family - friendly pub . It is rated low , price is moderate .",
            0,
            0,
            0,
            0,
        ),
        ("", 0, 5, 0, 0),
        ("A pub.", 0, 4, 0, 0),
        (f"{RIGHT} Zizzi is a pub by the river that serves Indian food.", 2, 0, 0, 0),
        ("Zizzi is a pub, poorly rated, expensive and not family-friendly.", 0, 0, 1, 0),
        ("Zizzi is a family-friendly pub with a 5 star rating, over £30.", 0, 0, 3, 0),
        (f"{RIGHT} It is rated low, with a low rating.", 0, 0, 0, 2),
        (f"Zizzi! {RIGHT} It is a pub, a pub.", 0, 0, 0, 0),
        ("Zizzi is a pub or restaurant, a low rating, £20-25, adults only.", 1, 0, 0, 0),
        ("Cocum is a coffee shop with a low rating, £20-25, no kids.", 0, 0, 2, 0),
    ],
)
def test_by_hand(text, added, missing, wrong, repeated):
    for mr in (MR, LORA):
        assert errors(read_mr(mr), text) == (added, missing, wrong, repeated)


def test_no_rating_but_low_is_repeated():
    mr = read_mr("name[Zizzi], customer rating[high]")
    assert errors(mr, "Zizzi has a high rating. It has a high rating.") == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "price", ["£20-25", "£ 20 - 25", "20–25", "20 – 25", "20 to 25", "20to25", "20to 25", "2025"]
)
def test_spellings_of_a_price_that_the_script_takes(price):
    """Its pattern is £? *20 *(?:[-–]*|to) *25; "20 to25" it takes, too."""
    assert errors(read_mr("name[Zizzi], priceRange[£20-25]"), f"Zizzi, {price}.") == (0, 0, 0, 0)


def test_longer_mentions_and_the_values_that_the_mr_has():
    near = read_mr("name[The Rice Boat], near[Café Rouge]")
    assert errors(near, "The Rice Boat is near Café Rouge.") == (0, 0, 0, 0)  # no café of its own
    stars = "A pub with a low rating of 1 star."
    for value, wrong in (("1 out of 5", 0), ("low", 1), ("high", 1)):
        mr = read_mr(f"eatType[pub], customer rating[{value}]")
        assert errors(mr, stars) == (0, 0, wrong, 0), value
    for value in ("cheap", "less than £20"):
        mr = read_mr(f"priceRange[{value}]")
        assert said("Prices are rather low.", mr) == mr


def test_mrs_of_others():
    for mr in (
        "", "Zizzi", "name[Zizzi", "name[Zizzi], pets[yes]", "name[Zizzi], food[Greek]", "food[]",
        "name : The Misty Kettle | Type : bistro", "name : Zizzi | Type",
    ):  # fmt: skip
        assert read_mr(mr) is None, mr
    assert read_mr(LORA) == read_mr(MR)
    assert read_mr("near[Burger King], near[Ranch]").keys() == {"near"}


@pytest.mark.parametrize(("run", "rate", "right"), [(0, 0.0083, 1753), (1, 0.0089, 1747)])
def test_the_authors_figures(run, rate, right):
    clean = folder("E2E_CLEAN_DIR")
    [data] = load(clean / "test-fixed.csv", [clean / f"tgen-std.run{run}.txt"])
    found = [errors(read_mr(mr), t) for mr, t in zip(data.sources, data.hypotheses, strict=True)]
    slots = sum(of_slot.total() for mr in data.sources for of_slot in read_mr(mr).values())
    assert round(sum(map(sum, found)) / slots, 4) == rate
    assert (len(found), sum(not any(of_text) for of_text in found)) == (1847, right)


@pytest.mark.parametrize(("name", "count"), [("devel-fixed.no-ol", 4299), ("test-fixed", 4693)])
def test_the_authors_mrs_of_texts(name, count):
    """The cleaned MR of a text is what the script found in it, beside the MR that it had."""
    with open(folder("E2E_CLEAN_DIR") / f"{name}.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    for row in rows:
        found, expected = said(row["ref"], read_mr(row["orig_mr"])), read_mr(row["mr"])
        assert {slot: set(values) for slot, values in found.items()} == {
            slot: set(values) for slot, values in expected.items()
        }, row


def test_loras_spelling_of_the_same_texts():
    """The same verdicts but for texts with several spaces in a row, which LoRA's files have not."""
    data = folder("E2E_DATA_DIR")
    with open(data / "testset_w_refs.csv", newline="", encoding="utf-8") as file:
        own = [tuple(row.values()) for row in csv.DictReader(file)]
    lines = (data / "lora_format" / "test.txt").read_text(encoding="utf-8").splitlines()
    loras = [line.split("||") for line in lines]
    same = 0
    for (mr, text), (context, spelt) in list(zip(own, loras, strict=True))[::3]:  # time
        assert read_mr(mr) == read_mr(context)
        alike = errors(read_mr(mr), text) == errors(read_mr(context), spelt)
        assert alike or "  " in text or "\xa0" in text, text
        same += alike
    assert same == 1548


REFERENCES = f'mr,ref\n"{MR}","{RIGHT}"\nname[Cocum],Cocum is here.\n'


def written(folder: Path, references: str, hypotheses: str, name="hyps.txt") -> list[str]:
    (folder / "refs.csv").write_text(references)
    (folder / name).write_text(hypotheses)
    return ["--refs", str(folder / "refs.csv"), "--hyps", str(folder / name)]


def test_the_scorer(tmp_path, capsys):
    command = written(tmp_path, REFERENCES, "Zizzi is a French pub with a low rating.\nCocum.\n")
    out, segments = tmp_path / "scores.json", tmp_path / "segments.tsv"
    assert main([*command, "--json", str(out), "--segments", str(segments)]) == 0
    assert "SER: 0.5000" in capsys.readouterr().out
    scores = json.loads(out.read_text())
    parts = {key: value for key, value in scores.items() if key.startswith("SER")}
    assert parts == pytest.approx({
        "SER": 3 / 6, "SER_added": 1 / 6, "SER_missing": 2 / 6, "SER_wrong": 0, "SER_repeated": 0,
        "SER_right": 1 / 2,
    })  # fmt: skip
    counts = {"slots": 6, "added": 1, "missing": 2, "wrong": 0, "repeated": 0, "right": 1}
    assert scores["details"]["slot_counts"] == counts
    with open(segments, newline="") as file:
        first, second = csv.DictReader(file, delimiter="\t")
    assert first["src"] == MR  # the hypotheses have none
    assert [first[f"SER_{kind}"] for kind in ("added", "missing", "right")] == [
        "1.0000", "2.0000", "0.0000",
    ]  # fmt: skip
    assert (first["SER"], second["SER"], second["SER_right"]) == ("0.6000", "0.0000", "1.0000")
    assert score([RIGHT], [[RIGHT]], [MR])["SER"] == 0


def measured(references: Path, hypotheses: Path):
    """(the metric alone, MRs) of one system."""
    [data] = load(references, [hypotheses])
    texts = [(data.hypotheses, data.references)]
    with ThreadPoolExecutor(1) as background:
        [found] = METRIC.measure(Texts(texts, True, background, print, [data.sources]))
    return found, data.sources


def test_missing_is_no_zero(tmp_path, capsys):
    """Where one MR is none of E2E's, and without MRs."""
    command = written(tmp_path, REFERENCES.replace("Cocum", "The Misty Kettle"), "a\nb\n")
    assert measured(Path(command[1]), Path(command[3]))[0] is None
    lora = tmp_path / "refs.txt"
    lora.write_text(f"{LORA}||{RIGHT}\nname : Cocum||Cocum is here .\n")
    assert measured(lora, Path(command[3]))[0].score == 1
    lora.write_text("A .\n\nB .\n")
    table, out = tmp_path / "hyps.tsv", tmp_path / "scores.json"
    segments = tmp_path / "segments.tsv"
    table.write_text(f"MR\toutput\n{MR}\ta\nname[Cocum]\tb\n")
    assert measured(lora, table)[0].score == 1  # the hypotheses have the MRs
    command = ["--refs", str(lora), "--hyps", command[3], "--table", "--json", str(out)]
    assert main([*command, "--segments", str(segments)]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("CIDEr\tchrF")
    scores = json.loads(out.read_text())
    assert not_measured(scores["signature"]) == {"SER"} and "SER" not in scores
    assert segments.read_text().splitlines()[0].endswith("CIDEr\tchrF")
    with pytest.raises(ValueError, match="2 hypotheses, but 1 MRs; both must have the same number"):
        score(["a", "b"], [["a"], ["b"]], [MR])


def test_real_systems_and_the_bootstrap():
    """Fewer errors are better: slug's 55 against harv's 454."""
    data, systems = folder("E2E_DATA_DIR"), folder("E2E_SYSTEMS_DIR")
    sides = []
    for name in ("slug", "harv"):
        found, sources = measured(data / "testset_w_refs.csv", systems / f"{name}.tsv")
        sides.append(Outputs(name, {"SER": found.statistics}, sources))
    difference = compare(*([side] for side in sides), samples=200)["SER"]
    # added, missing, wrong by the authors' script: 6, 24, 25 and 18, 349, 87, of 4,352 slots
    assert (difference.a, difference.b) == pytest.approx((55 / 4352, 454 / 4352))
    assert difference.high < 0 and METRIC.lower_is_better
    rows = sides[0].statistics["SER"]
    drawn = np.random.default_rng(1).integers(0, 630, 630)
    weights = np.bincount(drawn, minlength=630)[None]
    [resampled] = METRIC.from_sums(weights @ rows, weights.sum(1))
    assert resampled == pytest.approx(rows[drawn, 1:5].sum() / rows[drawn, 0].sum())


def test_marks_stand_where_the_words_are():
    mr = read_mr("name : Cocum | Type : pub | food : Italian | family friendly : no | near : Ranch")
    text = "Cocum is a coffee shop , cheap , is n't kid friendly , near Ranch . Cocum !"
    found = [(m.kind, m.slot, text[m.start : m.end] * (m.start >= 0)) for m in marks(mr, text)]
    assert found == [
        ("right", "name", "Cocum"), ("wrong", "eatType", "coffee shop"),
        ("added", "priceRange", "cheap"), ("right", "familyFriendly", "is n't kid friendly"),
        ("right", "near", "Ranch"), ("right", "name", "Cocum"), ("missing", "food", ""),
    ]  # fmt: skip
    assert errors(mr, text) == (1, 1, 1, 0)
    text = "İÇİN Cocum : a PUB"  # whose İ in small letters would be two characters
    [name, kind, *_] = marks(mr, text)
    assert (text[name.start : name.end], text[kind.start : kind.end]) == ("Cocum", "PUB")


def test_there_are_as_many_marks_as_errors():
    """Of every output of two systems of the challenge."""
    for name in ("harv", "tuda"):
        rows = read_hypotheses(folder("E2E_SYSTEMS_DIR") / f"{name}.tsv", [])
        for source, text in zip(rows.sources, rows.texts, strict=True):
            mr = read_mr(source)
            found = marks(mr, text)
            kinds = Counter(kind for *_, kind in {(m.slot, m.value, m.kind) for m in found})
            kinds["repeated"] = sum(mark.kind == "repeated" for mark in found)
            expected = dict(zip(KINDS, errors(mr, text), strict=True))
            assert {kind: kinds[kind] for kind in KINDS} == expected, text
