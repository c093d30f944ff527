"""Pictures: what is drawn where, and that the same runs give the same files."""

import json

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from eval.tables import figures
from eval.tables.lines import lines_of
from eval.tables.write import write_figures
from solo.cli.tables import table_of
from tests.eval.made_runs import make_run


@pytest.fixture
def drawn(monkeypatch):
    """The figures that `write_figures` draws, by the name of the function that drew them."""
    found = {}
    for name in ("loss_curves", "lambda_curves", "bleu_against_parameters"):
        original = getattr(figures, name)

        def spy(*args, original=original, name=name):
            found[name] = original(*args)
            return found[name]

        monkeypatch.setattr(figures, name, spy)
    return found


def labels(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_loss_curves_mark_what_is_no_reproduction(tmp_path, drawn):
    make_run(tmp_path, "a", stand_in="stand-in: tiny")
    make_run(tmp_path, "b", row="table1/lora_s")
    make_run(tmp_path, "c", adapter={"variant": "devcode"})
    make_run(tmp_path, "d", row="table1/solo_m", adapter={"rank": 8})
    write_figures(table_of("table1", tmp_path), tmp_path / "out")
    figure = drawn["loss_curves"]
    assert labels(figure) == [
        "Solo Connection, GPT-2 M *", "LoRA, GPT-2 S",
        "Solo Connection, GPT-2 S *", "Solo Connection, GPT-2 S, devcode",
    ]  # fmt: skip
    title = figure.get_suptitle()
    assert title.startswith("Table 1: ") and title.endswith("not a reproduction")
    training, validation = figure.axes
    assert [list(line.get_ydata()) for line in training.lines] == [[2.0, 1.0]] * 4
    assert [bar.get_width() for bar in validation.patches] == [0.8] * 4  # validated once: bars
    assert [text.get_text() for text in validation.get_yticklabels()] == labels(figure)
    assert [line.get_linestyle() for line in training.lines] == ["-", "-", "-", "--"]
    colours = [line.get_color() for line in training.lines]
    assert colours[2] == colours[3] and len(set(colours)) == 3
    panels = [axes for axes in drawn["lambda_curves"].axes if axes.get_visible()]
    assert len(panels) == 4  # the made-up LoRA log has a lambda too


def test_lambda_panels_have_a_line_per_connection_and_one_seed(tmp_path, drawn):
    for seed in (2, 1):
        directory = make_run(tmp_path, f"s{seed}", seed=seed)
        log = [{"step": s, "loss": 1, "lambda/2": s / 100, "lambda/10": seed} for s in (1, 2)]
        (directory / "train_log.jsonl").write_text("\n".join(map(json.dumps, log)))
    write_figures(table_of("table6", tmp_path), tmp_path / "out")
    figure = drawn["lambda_curves"]
    assert labels(figure) == ["from block 2", "from block 10"]
    [axes] = figure.axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.01, 0.02], [1, 1]]
    assert axes.get_title() == "Homotopy layer (case 1), seed 1"
    seeds = [f"Homotopy layer (case 1), seed {seed}" for seed in (1, 2)]
    assert labels(drawn["loss_curves"]) == seeds
    first, second = drawn["loss_curves"].axes[0].lines
    assert first.get_color() == second.get_color() and first.get_marker() != second.get_marker()


def test_runs_that_were_validated_often_have_lines(tmp_path, drawn):
    directory = make_run(tmp_path, "a")
    log = [{"step": s, "loss": 1.0, "valid_loss": s / 10} for s in (1, 2, 3)]
    (directory / "train_log.jsonl").write_text("\n".join(map(json.dumps, log)))
    write_figures(table_of("table6", tmp_path), tmp_path / "out")
    _, validation = drawn["loss_curves"].axes
    assert [list(line.get_ydata()) for line in validation.lines] == [[0.1, 0.2, 0.3]]
    assert not validation.patches


@pytest.mark.parametrize("kind", ["loss", "lambda", "bleu"])
def test_titles_and_legends_stay_in_the_picture_and_off_the_panels(tmp_path, drawn, kind):
    """With the longest title and the most connections (GPT-2 M's eleven) there are."""
    directory = make_run(tmp_path, "a", row="table2/solo_s_r8", stand_in="stand-in: tiny")
    log = [{"step": s, "loss": 1} | {f"lambda/{b}": 0.1 for b in range(2, 24, 2)} for s in (1, 2)]
    (directory / "train_log.jsonl").write_text("\n".join(map(json.dumps, log)))
    table = table_of("table2", tmp_path)
    table.definition["title"] = "A title of a table that is longer than its picture is wide " * 2
    write_figures(table, tmp_path / "out")
    names = {"loss": "loss_curves", "lambda": "lambda_curves", "bleu": "bleu_against_parameters"}
    figure = drawn[names[kind]]
    renderer, inside = FigureCanvasAgg(figure).get_renderer(), figure.bbox.padded(1)
    figure.draw_without_rendering()
    [legend] = figure.legends
    apart = [figure._suptitle.get_window_extent(renderer), legend.get_window_extent(renderer)]
    panels = [axes.get_tightbbox(renderer) for axes in figure.axes if axes.get_visible()]
    for i, box in enumerate(apart):
        assert all(inside.contains(*corner) for corner in box.corners())
        assert not any(box.overlaps(other) for other in [*apart[:i], *panels])


def test_long_logs_are_drawn_as_means_of_neighbours(tmp_path, drawn):
    directory = make_run(tmp_path, "a")
    log = "".join(json.dumps({"step": s, "loss": s % 2}) + "\n" for s in range(200))
    (directory / "train_log.jsonl").write_text(log)
    write_figures(table_of("table6", tmp_path), tmp_path / "out")
    [line] = drawn["loss_curves"].axes[0].lines
    assert [list(point) for point in line.get_xydata()] == [[2 * i + 0.5, 0.5] for i in range(100)]
    assert drawn["lambda_curves"] is None


def points(figure) -> dict[str, tuple[float, float]]:
    [axes] = figure.axes
    handles, names = axes.get_legend_handles_labels()
    return {n: tuple(h.lines[0].get_xydata()[0]) for h, n in zip(handles, names, strict=True)}


def test_bleu_against_parameters(tmp_path):
    make_run(tmp_path, "a", row="table2/solo_s_r8", n_params=16_173, scores={"BLEU": 0.6})
    make_run(tmp_path, "b", row="table2/solo_s_r8", seed=2, n_params=16_173, scores={"BLEU": 0.7})
    make_run(tmp_path, "c", row="table2/lora_s", stand_in="stand-in: tiny")
    table = table_of("table2", tmp_path)
    figure = figures.bleu_against_parameters(lines_of(table), table.settings, "T")
    [axes] = figure.axes
    assert axes.get_xscale() == "log"
    found = points(figure)
    assert found["LoRA: paper"] == pytest.approx((290_000, 65.79))
    assert found["Solo, dense: paper"] == pytest.approx((800_000, 67.28))
    assert found["Solo, sparse: paper"] == pytest.approx((470_000, 67.64))
    assert found["Solo, dense: ours"] == pytest.approx((16_173, 65.0))
    assert len(found) == 4 and len(axes.containers) == 12  # the stand-in is not drawn
    handles, names = axes.get_legend_handles_labels()
    [ours] = [h for h, name in zip(handles, names, strict=True) if name == "Solo, dense: ours"]
    [low, high] = ours[2][0].get_segments()[0][:, 1]
    assert [low, high] == pytest.approx([65 - 50**0.5, 65 + 50**0.5])  # of 60 and 70
    hollow = {n for h, n in zip(handles, names, strict=True) if h.lines[0].get_mfc() == "none"}
    assert hollow == {name for name in found if name.endswith(": paper")}
    assert figure.get_suptitle() == "T\nhollow: paper; filled: ours"


def test_of_long_curves_the_means_of_neighbours_are_drawn():
    points = [(float(i), 2.0 * i) for i in range(250)]
    drawn = figures._thinned(points)
    assert len(drawn) == 84 and drawn[0] == (1.0, 2.0) and drawn[-1] == (249.0, 498.0)
    assert figures._thinned(points[:100]) == points[:100] and figures._thinned([]) == []


def test_files_and_that_a_rerun_gives_the_same(tmp_path):
    make_run(tmp_path / "runs", "a")
    paths = write_figures(table_of("table2", tmp_path / "runs"), tmp_path / "out")
    assert sorted(path.name for path in paths) == sorted(
        f"table2_{kind}.{suffix}"
        for kind in ("loss", "lambda", "bleu")
        for suffix in ("png", "svg")
    )
    before = [path.read_bytes() for path in paths]
    assert all(len(content) > 8_000 for content in before)
    again = write_figures(table_of("table2", tmp_path / "runs"), tmp_path / "out", force=False)
    assert [path.read_bytes() for path in again] == before


def test_without_runs_only_the_papers_points_are_drawn(tmp_path):
    assert write_figures(table_of("table4", tmp_path), tmp_path / "out") == []
    paths = write_figures(table_of("table3", tmp_path), tmp_path / "out")
    assert [path.name for path in paths] == ["table3_bleu.png", "table3_bleu.svg"]


def test_the_demos_pictures_have_the_names_of_its_tables(tmp_path):
    make_run(tmp_path / "runs", "a", row="demo/solo", stand_in="demo")
    paths = write_figures(table_of("demo", tmp_path / "runs"), tmp_path / "out")
    assert {path.name for path in paths} == {
        f"table1_{kind}.{suffix}" for kind in ("loss", "lambda") for suffix in ("png", "svg")
    }


def test_ranks_stand_at_the_paper_s_points_alone(tmp_path, monkeypatch):
    make_run(tmp_path, "a", row="table2/solo_s_r8", scores={"BLEU": 0.6})
    table, placed = table_of("table2", tmp_path), []
    monkeypatch.setattr(figures, "place", lambda axes, where, words: placed.extend(where))
    figures.bleu_against_parameters(lines_of(table), table.settings, "T")
    assert len(placed) == 11 and 60.0 not in [y for _, y in placed]


def test_rates_are_told_where_a_row_has_several_beside_the_paper(tmp_path):
    make_run(tmp_path, "a", row="table1/lora_s", lr=2e-4)
    for name, lr in (("b", 1e-3), ("c", 3e-3)):
        make_run(tmp_path, name, lr=lr)
    lines = [
        line
        for line in lines_of(table_of("table1", tmp_path))
        if line.source == "paper" or line.runs
    ]
    found = {*figures._method_labels(lines, plain=False)}
    solo = "Solo Connection, GPT-2 S"
    assert found >= {"LoRA, GPT-2 S", f"{solo}, lr 0.001", f"{solo}, lr 0.003", f"{solo}, paper"}
