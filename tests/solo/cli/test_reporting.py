"""What the report is made from: studies and tables, with their runs."""

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace

from scripts import report
from solo.cli import reporting
from solo.files import ROOT
from solo.triples import content_sha256

STUDY = ROOT / "results/standin12"


def test_a_study_comes_from_its_runs(tmp_path):
    home = tmp_path / "standin12"
    (home / "runs").mkdir(parents=True)
    kept = sorted((STUDY / "runs").glob("lora-r8-*.json"))[0]
    for path in (kept, kept.with_suffix(".tsv")):
        shutil.copy(path, home / "runs")
    [study] = reporting.gather(tmp_path).tables
    [line] = study.lines
    assert study.name == "standin12" and [run.name for run in line.runs] == [kept.stem]
    shutil.rmtree(home)
    assert reporting.gather(tmp_path).tables == []


def test_a_table_without_runs_is_shown_where_its_page_is_and_counts_come_from_theirs(tmp_path):
    (tmp_path / "tables").mkdir()
    for name in ("table1.md", "params.csv"):
        shutil.copy(ROOT / "results/tables" / name, tmp_path / "tables")
    found = reporting.gather(tmp_path)
    [table] = found.tables
    assert table.name == "table1" and not found.problems
    with open(ROOT / "results/tables/table1.csv", encoding="utf-8", newline="") as file:
        assert [line.label for line in table.lines] == [
            row["label"] for row in csv.DictReader(file)
        ]
    assert found.counts["table1/solo_s"] == 122_449
    (tmp_path / "tables/params.csv").unlink()
    assert reporting.gather(tmp_path).counts == {}


def test_references_are_shown_if_they_are_those_that_a_run_was_scored_against(
    tmp_path, monkeypatch
):
    same, other, gone = (tmp_path / name for name in ("same.csv", "other.csv", "gone.csv"))
    same.write_text("these")
    other.write_text("those")
    scored = {"references": content_sha256(same)}
    for path, wanted in ((same, same), (other, None), (gone, None)):
        run = SimpleNamespace(directory=path, options=scored)
        monkeypatch.setattr(reporting.compare, "references_of", lambda directory: directory)
        assert reporting.references_of(run) == wanted

    def unnamed(directory: Path) -> Path:
        raise ValueError("it names none")

    monkeypatch.setattr(reporting.compare, "references_of", unnamed)
    assert reporting.references_of(run) is None


def test_a_report_of_other_results_lies_among_them(tmp_path, monkeypatch):
    """Not in the place of that of results/."""
    places = []
    built = SimpleNamespace(index=tmp_path, size=1, seconds=1.0, problems=[])
    monkeypatch.setattr(report, "build", lambda material, out: places.append(out) or built)
    for more in ([], ["--out", "elsewhere"]):
        monkeypatch.setattr("sys.argv", ["report.py", "--results", str(tmp_path), *more])
        report.main()
    assert places == [tmp_path / "report", Path("elsewhere")]
