"""The family's table and picture from runs made by hand: all rows, all points, labels apart."""

import random

import matplotlib.text
import pytest

from eval.tables import figures, style
from eval.tables.labels import place
from eval.tables.lines import lines_of
from eval.tables.write import write_figures, write_table
from solo.cli import tables
from solo.cli.rows import reported_tables
from solo.cli.tables import table_of
from tests.eval.made_runs import make_run

FAMILY = reported_tables()["family"]
ROWS = [row["row"] for row in FAMILY["rows"]]


def table_lines(markdown: str) -> list[str]:
    body = markdown.split("\n## ")[0].splitlines()
    return [line for line in body if line.startswith("| ") and not line.startswith("| row")]


def test_a_line_for_each_row_and_the_papers_where_it_has_one(tmp_path):
    markdown = write_table(table_of("family", tmp_path / "runs"), tmp_path / "out")
    lines = table_lines(markdown)
    assert len(lines) == len(ROWS) + 4  # Solo's second variant; paper, paper and independent
    at = next(i for i, line in enumerate(lines) if line.startswith("| Solo"))
    none = " | – | – | – | – | – | – | – |"
    assert lines[at : at + 6] == [
        "| Solo (r=128, s=0.6) | paper | 0.12M |  |  | 67.64 | 8.64 | 45.70 | 68.32 | 2.31 |",
        "|  | ours, variant=paper | 122,449" + none,
        "|  | ours, variant=devcode | 201,989" + none,
        "| LoRA (r=8) | paper | 0.29M |  |  | 65.79 | 8.49 | 45.21 | 67.46 | 2.27 |",
        "|  | independent |  |  |  | 67.27 | 8.60 | 45.71 | 68.14 | 2.31 |",
        "|  | ours | 294,912" + none,
    ]
    assert "| SSL | ours | 64,512" + none in lines
    assert "One recipe for all rows, the learning rate included" in markdown
    assert (tmp_path / "out/family.tex").read_text().count(r"\\") == len(lines) + 1  # the head
    assert (tmp_path / "out/family.csv").read_text().count("\n") == len(lines) + 1


def test_runs_of_the_papers_tables_fill_it_and_only_their_rows_have_a_difference(tmp_path):
    make_run(tmp_path / "runs", "a", row="table2/lora_s", n_params=294_912, scores={"BLEU": 0.6679})
    make_run(tmp_path / "runs", "b", row="family/ssl", n_params=64_512)
    make_run(tmp_path / "runs", "c", row="family/ssb", n_params=147_456, stand_in="stand-in: tiny")
    markdown = write_table(table_of("family", tmp_path / "runs"), tmp_path / "out")
    lines = table_lines(markdown)
    assert sum("| ours | 294,912 | 0.0002 | 1 | 66.79 (+1.00) | 8.640" in s for s in lines) == 1
    scores = "| 67.64 | 8.640 | 45.70 | 68.32 | 2.310 |"
    assert f"| SSL | ours | 64,512 | 0.0002 | 1 {scores}" in lines
    assert "| SSB | ours | 147,456 | – | – | – | – | – | – | – |" in lines
    assert f"| SSB | stand-in: tiny | 0.0002 | 1 | 147,456 {scores[:-1]}| c |" in markdown


def test_the_demos_runs_land_in_a_table_of_their_own(tmp_path):
    recipe = {"max_steps": 200, "warmup_steps": 20, "log_every": 10, "save_every": 100}
    made = {"stand_in": "demo", "mrs": 60, "train": recipe, "path": "data/backbones/standin12"}
    make_run(tmp_path / "runs", "a", row="family/ssl", lr=0.002, n_params=64_512, **made)
    make_run(tmp_path / "runs", "b", row="demo/lora", stand_in="demo", mrs=60)  # rank 4: another
    markdown = write_table(table_of("demo-family", tmp_path / "runs"), tmp_path / "out")
    assert "(not a reproduction)" in markdown.splitlines()[0]
    lines = table_lines(markdown)
    assert len(lines) == len(ROWS)
    filled = "| SSL | 1 | 64,512 | 0.002 | 67.64 | 8.640 | 45.70 | 68.32 | 2.310 |"
    assert [line for line in lines if not line.endswith("| – | – | – | – |")] == [filled]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"family.md", "family.csv"}


def drawn_points(figure) -> list[tuple[float, float]]:
    [axes] = figure.axes
    return [tuple(bars.lines[0].get_xydata()[0]) for bars in axes.containers]


def boxes(labels) -> list:
    """The boxes that the texts take; Annotation's own would have the line to the point too."""
    labels[0].figure.draw_without_rendering()
    renderer = labels[0].figure.canvas.get_renderer()
    return [matplotlib.text.Text.get_window_extent(label, renderer) for label in labels]


def family_picture(root, table="family"):
    lines = lines_of(table_of(table, root))
    return figures.bleu_of_methods(lines, "T", plain=table != "family")


def test_all_methods_are_drawn_with_labels_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "doubt", lambda *parts: None)  # of counts that are made up
    draws, expected = random.Random(1), {}
    for row in ROWS:
        count = 0 if row == "family/none" else draws.choice([64_512, 147_456, 294_912, 10**6])
        bleu = round(draws.uniform(0.63, 0.69), 4) if count else 0.1  # as crowded as real ones
        make_run(tmp_path, row.replace("/", "_"), row=row, n_params=count, scores={"BLEU": bleu})
        expected[row] = (count, bleu * 100)
    del expected["family/none"]
    figure = family_picture(tmp_path)
    [axes] = figure.axes
    points = sorted([*expected.values(), (120_000, 67.64), (290_000, 65.79)])
    assert sorted(drawn_points(figure)) == [pytest.approx(point) for point in points]
    labels = {row["row"]: row["label"] for row in FAMILY["rows"]}
    wanted = [labels[row] for row in expected] + ["LoRA (r=8), paper", "Solo (r=128, s=0.6), paper"]
    assert sorted(text.get_text() for text in axes.texts) == sorted(wanted)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    solo = ["Solo Connection, the paper", "Solo Connection, ours"]
    assert sorted(legend) == sorted(["The backbone as it is: 10.00", "the paper", "ours", *solo])
    coloured = [text.get_text() for text in axes.texts if text.get_color() == style.OWN["solo"]]
    assert sorted(coloured) == ["Solo (r=128, s=0.6)", "Solo (r=128, s=0.6), paper"]
    assert axes.get_ylim()[0] > 60  # it does not squeeze the others
    found = boxes(axes.texts)
    for i, box in enumerate(found):
        assert not any(box.overlaps(other) for other in found[:i]), axes.texts[i].get_text()
        around = box.padded(4)  # pixels, 3 points: half of a marker
        assert not any(around.contains(*axes.transData.transform(point)) for point in points)
        assert all(axes.bbox.contains(*corner) for corner in box.corners())


def test_seeds_stand_ins_and_rates(tmp_path):
    for seed, bleu in ((1, 0.66), (2, 0.68)):
        make_run(tmp_path, f"s{seed}", row="family/ssl", seed=seed, scores={"BLEU": bleu})
    make_run(tmp_path, "f", row="family/ssl", lr=1e-3, scores={"BLEU": 0.5})
    for seed in (3, 2):
        make_run(tmp_path, f"t{seed}", row="family/ssb", seed=seed, stand_in="stand-in: tiny")
    figure = family_picture(tmp_path)
    texts = [text.get_text() for text in figure.axes[0].texts]
    mine = ["SSL, lr 0.0002", "SSL, lr 0.001", "SSB *"]
    assert sorted(t for t in texts if "paper" not in t) == sorted(mine)
    assert pytest.approx((64_512, 67.0)) in drawn_points(figure)
    assert figure.get_suptitle().endswith("not a reproduction")
    plain = family_picture(tmp_path, "demo-family")  # without marks
    labels = sorted(text.get_text() for text in plain.axes[0].texts)
    assert labels == ["SSB", "SSL, lr 0.0002", "SSL, lr 0.001"]
    assert plain.get_suptitle() == "T" and not plain.legends


def test_files_of_the_pictures(tmp_path):
    paths = write_figures(table_of("family", tmp_path), tmp_path / "out")  # the paper's two points
    assert [path.name for path in paths] == ["family_bleu.png", "family_bleu.svg"]
    assert write_figures(table_of("demo-family", tmp_path), tmp_path / "out") == []


def test_labels_of_one_place_are_written_around_it():
    figure, axes = figures.plt.subplots(figsize=(6, 4))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    labels = place(axes, [(0.5, 0.5)] * 12, [f"method {i}" for i in range(12)])
    found = boxes(labels)
    assert not any(a.overlaps(b) for i, a in enumerate(found) for b in found[:i])
    [alone] = place(axes, [(0.1, 0.1)], ["alone"])
    x, y = axes.transData.transform((0.1, 0.1))
    [box] = boxes([alone])  # right beside it, not further than the first gap
    assert 4 < box.x0 - x < 12 and abs(box.y0 + box.height / 2 - y) < 2
    figures.plt.close(figure)


def test_a_label_keeps_clear_of_its_neighbours_marker():
    figure, axes = figures.plt.subplots(figsize=(6, 4))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for distance in range(1, 20):  # hundredths of the width: its marker passes by the whole label
        points = [(0.4, 0.5), (0.4 + distance / 100, 0.5)]
        for box in boxes(place(axes, points, ["method", "other"])):
            places = [axes.transData.transform(point) for point in points]
            assert not any(box.padded(4).contains(*xy) for xy in places), distance
    figures.plt.close(figure)
