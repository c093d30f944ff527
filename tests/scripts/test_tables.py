"""The commands that write tables and pictures: all of them at once, one, and their errors."""

import pytest

from scripts import figures, tables
from solo.cli.rows import reported_tables
from tests.eval.made_runs import DECODED, make_run


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a script's main() on tmp_path/runs; returns (exit code, output, errors)."""

    def call(script, *arguments) -> tuple[int, str, str]:
        places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["script", *arguments, *places])
        try:
            script.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def test_all_tables_at_once(tmp_path, command):
    make_run(tmp_path / "runs", "a")
    make_run(tmp_path / "runs", "b", row="table4/solo_s_r64_span5", stand_in="stand-in: tiny")
    (tmp_path / "runs" / "half").mkdir()
    code, output, errors = command(tables)
    assert code == 0
    out, n = tmp_path / "out", len(reported_tables()["family"]["rows"])
    assert output.splitlines() == [
        f"{out}/table1.md: 5 rows, 1 of 7 lines filled, 0 runs apart",
        f"{out}/table2.md: 11 rows, 1 of 21 lines filled, 0 runs apart",
        f"{out}/table3.md: 12 rows, 0 of 22 lines filled, 0 runs apart",
        f"{out}/table4.md: 4 rows, 0 of 8 lines filled, 1 runs apart",
        f"{out}/table5.md: 3 rows, 0 of 6 lines filled, 0 runs apart",
        f"{out}/table6.md: 2 rows, 1 of 4 lines filled, 0 runs apart",
        f"{out}/extra.md: 3 rows, 0 of 3 lines filled, 0 runs apart",
        f"{out}/family.md: {n} rows, 1 of {n + 1} lines filled, 0 runs apart",  # Solo: 2 variants
        f"{out}/webnlg.md: 5 rows, 0 of 7 lines filled, 0 runs apart",
    ]
    line = f"{tmp_path}/runs/half: left out, unfinished: no environment.json\n"
    assert errors.startswith(line) and errors.count("left out") == 1  # once, not once a table
    places = f"--runs={tmp_path}/runs --out={out}"
    assert errors.splitlines()[-1] == f"next: python scripts/figures.py {places}"
    names = {path.name for path in out.iterdir()}
    stems = [f"table{number}" for number in range(1, 7)] + ["extra", "family", "webnlg"]
    made = {f"{stem}.{suffix}" for stem in stems for suffix in ("md", "csv", "tex")}
    assert names == made


def test_one_table_is_printed(tmp_path, command):
    make_run(tmp_path / "runs", "a")
    code, output, errors = command(tables, "table6")
    following = f"python scripts/figures.py table6 --runs={tmp_path}/runs --out={tmp_path}/out"
    assert (code, errors) == (0, f"made: {tmp_path}/out/table6.md\nnext: {following}\n")
    assert output.rstrip() == (tmp_path / "out/table6.md").read_text().rstrip()
    assert [path.name for path in (tmp_path / "out").glob("*.md")] == ["table6.md"]


def test_an_error_is_one_line(tmp_path, command):
    make_run(tmp_path / "runs", "a")
    make_run(tmp_path / "runs", "b", scores={"BLEU": 0.1})
    for script in (tables, figures):
        code, output, errors = command(script, "table5")
        assert (code, output) == (1, "")
        a, b = (tmp_path / "runs" / name / DECODED for name in "ab")
        assert errors.startswith(f"error: {a} and {b} are runs of one")
        assert errors.count("\n") == 1


def test_pictures_of_one_table(tmp_path, command):
    make_run(tmp_path / "runs", "a")
    code, output, _ = command(figures, "table6")
    expected = [f"{tmp_path}/out/table6_{kind}" for kind in ("loss", "lambda")]
    assert (code, output.split()) == (0, [f"{p}.{s}" for p in expected for s in ("png", "svg")])


@pytest.mark.parametrize("script", [tables, figures])
def test_a_damaged_run_is_told_by_the_exit_code_and_the_rest_written(tmp_path, command, script):
    make_run(tmp_path / "runs", "a")
    (tmp_path / "runs/half").mkdir()  # unfinished: no fault
    damaged = make_run(tmp_path / "runs", "b", row="table1/lora_s")
    (damaged / "identity.json").write_text("{")
    code, _, errors = command(script, "table6")
    assert code == 1 and "b/decode/0a1b2c3d: left out, identity.json is damaged" in errors
    assert any((tmp_path / "out").iterdir())


def test_a_page_of_ones_own_is_replaced_only_by_force(tmp_path, command):
    make_run(tmp_path / "runs", "a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/table6.md").write_text("precious")
    code, _, errors = command(tables, "table6")
    assert code == 1 and "table6.md is there already" in errors
    assert (tmp_path / "out/table6.md").read_text() == "precious"
    assert command(tables, "table6", "--force")[0] == 0
