"""The benchmark of the tuner, in miniature; its table goes between its marks."""

from scripts.bench import tuner
from solo.cli.command import ROOT


def test_the_table_goes_into_the_page(tmp_path, monkeypatch, capsys):
    tiny = {"n_layer": 4, "n_embd": 16, "n_head": 2, "vocab_size": 61, "n_positions": 128}
    monkeypatch.setitem(tuner.SHAPES, "standin12", tiny)
    page, old = tmp_path / "library.md", (ROOT / "docs/library.md").read_text("utf-8")
    page.write_text(old.replace("| Solo (r=128, s=0.4) by solo.peft |", "| OLD |"), "utf-8")
    monkeypatch.setattr("sys.argv", ["tuner.py", "--rounds", "2", "--page", str(page)])
    tuner.main()
    new = page.read_text("utf-8")
    assert "OLD" not in new and "medians of 2 rounds" in new
    begin, end = "<!-- python scripts/bench/tuner.py writes from here -->", "<!-- to here -->\n"
    assert new.split(begin)[0] == old.split(begin)[0] and new.endswith(end)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == list(tuner.PROGRAMS)
    assert all(line in new for line in lines)


def test_ratios_are_taken_round_by_round():
    """By hand: 2/1, 2/4 and 9/3, whose median is 2; the ratio of the medians would be 2/3."""
    times = {"a": [[1.0, 4.0, 3.0]] * 2, "b": [[2.0, 2.0, 9.0]] * 2}
    cells = tuner.table(times).splitlines()[-1].split(" | ")
    assert cells[1:3] == ["2.000", "2.00 (0.50 to 3.00)"]
