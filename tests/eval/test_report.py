"""The report: every figure is that of its file, text stays text, links lead somewhere, odd results
are told and not fatal."""

import base64
import csv
import gzip
import hashlib
import json
import random
import re
import shlex
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from eval.compare import decoding_of
from eval.metrics import ALL
from eval.report import pages, pictures, runs, scores
from eval.report.build import Material, _sides, build
from eval.report.claims import LISTED
from eval.tables import render
from eval.tables.lines import lines_of, load_reported
from eval.tables.runs import read_run
from solo.cli import reporting
from solo.cli.compose import compose_config
from solo.cli.tables import table_of
from solo.runs.config import from_values, to_values
from tests.eval.made_runs import keep_statistics, make_run

ROOT = Path(__file__).resolve().parents[2]
REPORTED = load_reported()
SCRIPT = "<script>alert('x')</script>"
EVIL = f'name : {SCRIPT} & co | Type : "pub"'


def material(results: Path, tables=(), **more) -> Material:
    functions = {"command": lambda run: f"make {SCRIPT}", "references": lambda run: None}
    return Material(results, list(tables), REPORTED, {}, **functions | more)


def predict(directory: Path, lines: list[str]) -> None:
    """Give a made run other predictions, as decoding and scoring would have recorded them."""
    decoding = decoding_of(directory)
    content = "\n".join(["MR\toutput", *lines]) + "\n"
    (decoding / "predictions.tsv").write_text(content)
    environment = json.loads((decoding / "environment.json").read_text())
    digest = hashlib.sha256(content.encode()).hexdigest()
    environment["decode"] |= {"n_predictions": len(lines), "sha256": digest}
    environment["evaluate"]["inputs"]["predictions.tsv"] = digest
    (decoding / "environment.json").write_text(json.dumps(environment))


class Page(HTMLParser):
    """Links, ids and tables of a page; tables: {id of the section: rows of cells' texts}."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.ids, self.tables, self.scripts = [], set(), {}, 0
        self.section, self.cell = "", None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found[name] for name in ("href", "src") if name in found]
        self.ids |= {found["id"]} if "id" in found else set()
        self.scripts += tag == "script"
        if tag == "section":
            self.section = found.get("id", "")
        if tag == "tr":
            self.tables.setdefault(self.section, []).append([])
        if tag in ("td", "th") and self.tables.get(self.section):
            self.cell = []

    def handle_data(self, data):
        if self.cell is not None:
            self.cell.append(data)

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self.cell is not None:
            self.tables[self.section][-1].append(" ".join("".join(self.cell).split()))
            self.cell = None


def unpacked(path: Path) -> dict:
    content = re.fullmatch(r'report\.receive\("[^"]+","([^"<]+)"\);\n', path.read_text())[1]
    return json.loads(gzip.decompress(base64.b64decode(content)))


@pytest.fixture(scope="module")
def of_files(tmp_path_factory):
    """(folder, committed CSVs by name) of a report of tables without runs."""
    texts = {path.stem: path for path in sorted((ROOT / "results/tables").glob("*.csv"))}
    texts = {name: path.read_text(encoding="utf-8") for name, path in texts.items()}
    texts.pop("params")
    tables = [scores.of_table(table_of(name, ROOT / "none")) for name in texts]
    out = tmp_path_factory.mktemp("files") / "report"
    with pytest.MonkeyPatch.context() as patch:  # the other reports have pictures
        patch.setattr("eval.report.build._pictures", lambda *parts: {})
        build(material(ROOT / "results/tables", tables), out)
    return out, texts


def test_every_line_and_figure_of_the_tables_is_there(of_files):
    out, texts = of_files
    tables, n_figures = Page(out / "tables.html").tables, 0
    for name, text in texts.items():
        lines = list(csv.DictReader(text.splitlines()))
        metrics = [key for key in lines[0] if key in ALL]
        rows = tables[name][1 : len(lines) + 1]
        for line, row in zip(lines, rows, strict=True):
            assert row[0].startswith(line["label"])
            ran = line["source"] != "ours" or line["runs"]
            assert row[1].startswith(line["source"] if ran else "no run yet")
            for key, cell in zip(metrics, row[2:], strict=False):
                if not line[key]:
                    assert cell == "–"
                    continue
                value = float(line[key]) * ALL[key].scale
                ends = [float(end) for end in cell.split(" to ")]
                assert sum(ends) / len(ends) == pytest.approx(value, abs=0.0051)
                n_figures += 1
    assert n_figures > 200


def test_downloads_have_the_same_and_say_what_is_what(of_files):
    out, texts = of_files
    for name, text in texts.items():
        found = list(csv.reader((out / f"tables/{name}.csv").read_text().splitlines()))
        assert len(found) == len(text.splitlines())
        assert {row[1] for row in found[1:]} <= {"paper", "independent", "no run yet"}
        assert (out / f"tables/{name}.tex").read_text().count(r"\\") == len(found)


@pytest.mark.parametrize(("report", "n_pages"), [("of_files", 5), ("with_runs", 7)])
def test_every_link_leads_somewhere(report, n_pages, request):
    out, _ = request.getfixturevalue(report)
    found = {path: Page(path) for path in out.rglob("*.html")}
    assert len(found) == n_pages
    for path, page in found.items():
        for link in page.links:
            address, _, place = link.partition("#")
            if not re.match(r"https?:|data:", link):
                target = (path.parent / address).resolve() if address else path
                assert target.is_file(), link
                assert not place or place in found[target].ids, link


def test_without_a_run_the_front_says_so(of_files):
    text = (of_files[0] / "index.html").read_text()
    assert "None yet: no run with pretrained GPT-2 has been made." in text
    asked = sum("fewer" not in claim for claim in yaml.safe_load(LISTED.read_text("utf-8")))
    assert text.count("no run with pretrained GPT-2 yet") == asked and "<strong>None" in text


def test_pretrained_gpt2_in_other_settings_is_no_stand_in(tmp_path):
    make_run(tmp_path / "runs", "short", train={"epochs": 1})
    make_run(tmp_path / "runs", "toy", stand_in="a toy", path="toy")
    tables = [scores.of_table(table_of("table1", tmp_path / "runs"))]
    build(material(tmp_path, tables), tmp_path / "report")
    text = (tmp_path / "report/index.html").read_text()
    assert "None yet: no run with pretrained GPT-2 has all of a row's settings." in text
    assert "in other settings, which count for no claim: 1 run." in text
    assert re.search(r"no reproduction</span>\s*1 run\.", text)


@pytest.fixture(scope="module")
def with_runs(tmp_path_factory):
    """(folder, what was built) of a report on two stand-in runs, one with evil texts, and a damaged
    one; everything through `gather`."""
    results = tmp_path_factory.mktemp("runs") / "results"
    demo = results / "demo/runs"
    evil = make_run(demo, "evil", row="demo/lora", stand_in=f"stand-in: {SCRIPT}", mrs=2)
    predict(evil, [f"{EVIL}\tIt is {SCRIPT} , a pub .", "name : B\tB is here ."])
    other = make_run(demo, "other", row="demo/solo", stand_in="stand-in: tiny", mrs=2)
    predict(other, [f'{EVIL}\t😀 a "pub" <b>', "name : B\tno"])
    damaged = make_run(demo, "damaged", row="demo/full", stand_in="stand-in: tiny", mrs=2)
    (damaged / "train_log.jsonl").write_text("{")
    out = results / "report"
    built = build(reporting.gather(results), out)
    return out, built


def test_texts_stay_texts(with_runs):
    out, _ = with_runs
    for path in out.rglob("*.html"):
        text = path.read_text()
        assert SCRIPT not in text and Page(path).scripts <= 2, path
    [run] = (page.read_text() for page in out.glob("runs/evil-*.html"))
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in run
    index = unpacked(out / "outputs/set1.js")
    assert index["mrs"][0] == [["name", f"{SCRIPT} & co"], ["Type", '"pub"']]
    [said] = map(unpacked, out.glob("outputs/set1/other-*.js"))
    assert said["texts"][0] == '😀 a "pub" <b>'
    assert said["marks"][0] == [[-1, -1, f"name: {SCRIPT} & co", "missing"],
                                [5, 10, 'Type: "pub"', "right"]]  # fmt: skip
    assert all("<" not in path.read_text() for path in (out / "outputs").rglob("*.js"))


def test_damaged_runs_are_told_and_the_others_shown(with_runs):
    out, built = with_runs
    text = (out / "runs.html").read_text()
    assert "damaged/decode/0a1b2c3d: left out, train_log.jsonl is damaged" in text
    assert {path.stem[:-7] for path in (out / "runs").iterdir()} == {"evil", "other"}
    [damaged] = built.problems
    assert "damaged/decode/0a1b2c3d: left out, train_log.jsonl is damaged (line 1 is no" in damaged
    assert built.size < 10**6
    assert sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) < 10**6


def test_runs_of_no_table_have_a_table_of_their_own(tmp_path):
    """Seeds of one configuration are a line; a copy of a run that stands in a table is not here."""
    results, weights = tmp_path / "results", {"stand_in": "stand-in: tiny", "mrs": 1}
    paper = make_run(results / "runs", "paper", row="table1/lora_s", seed=9, mrs=1)
    shutil.copytree(paper, results / "mine/copy")
    for name, seed in (("own1", 1), ("own2", 2), ("broken", 3)):
        own = make_run(results / "mine", name, row="table1/lora_s", seed=seed, **weights)
        (own / "rows.json").unlink()
        predict(own, ["a thing\tIt is a thing ."])
    (results / "mine/broken/train_log.jsonl").write_text("{")
    gathered = reporting.gather(results)
    [table] = [table for table in gathered.tables if table.name == "in-mine"]
    [line] = table.lines
    assert (line.seeds, line.badge, line.method) == ("1, 2", scores.STAND_IN, "LoRA")
    assert line.label == "own1" and "BLEU" in [metric.name for metric in table.metrics]
    [problem] = gathered.problems
    assert "mine/broken/decode/0a1b2c3d: left out" in problem
    build(gathered, tmp_path / "report")
    assert "Runs of no table of the paper, in " in (tmp_path / "report/tables.html").read_text()
    assert len([*(tmp_path / "report/runs").glob("own*.html")]) == 2
    assert not any("stand in no table" in path.read_text() for path in tmp_path.rglob("*.html"))


def test_stand_ins_are_marked_in_words(with_runs):
    out, _ = with_runs
    lines = Page(out / "tables.html").tables["demo"]
    assert all(row[1].startswith(scores.STAND_IN) for row in lines[1:]) and len(lines) == 3
    for picture in (out / "pictures").glob("demo*.svg"):
        assert scores.STAND_IN in picture.read_text()
    assert scores.STAND_IN in (out / "tables/demo.tex").read_text()
    rows = list(csv.reader((out / "tables/demo.csv").read_text().splitlines()))
    assert [row[1] for row in rows[1:]] == [scores.STAND_IN] * 2


def test_pictures_of_pages_say_what_those_for_papers_say(with_runs):
    """The short numbers of the pages' SVG are those of coordinates, not of texts."""
    out, _ = with_runs
    words = re.compile(r"<text[^>]*>([^<]*)</text>")
    shown = words.findall((out / "pictures.html").read_text())
    for path in (out / "pictures").glob("*.svg"):
        said = words.findall(path.read_text())
        assert said and set(said) <= set(shown)
    assert "0.800" in shown  # a bar's validation loss


def test_runs_of_webnlg_alone(tmp_path):
    for row, seed in (("webnlg/lora_s", 1), ("webnlg/solo_s", 1)):
        directory = make_run(tmp_path / "runs", row.replace("/", "_"), row=row, seed=seed, mrs=2)
        predict(directory, ["A_B : leader : C | C : in : D\tC leads A B .", "E : in : F\tE ."])
        (decoding_of(directory) / "metrics.json").write_text(json.dumps({"BLEU all": 0.5}))
        environment = json.loads((decoding_of(directory) / "environment.json").read_text())
        del environment["evaluate"]["sha256"]
        (decoding_of(directory) / "environment.json").write_text(json.dumps(environment))
        identity = json.loads((decoding_of(directory) / "identity.json").read_text())
        identity["test_kind"] = "webnlg"
        (decoding_of(directory) / "identity.json").write_text(json.dumps(identity))
    tables = [scores.of_table(table_of("webnlg", tmp_path / "runs"))]
    build(material(tmp_path, tables), tmp_path / "report")
    index = unpacked(tmp_path / "report/outputs/set1.js")
    assert index["mrs"][0] == [["A_B", "leader", "C"], ["C", "in", "D"]]
    assert "word for word" in index["how"] and "CC BY-NC-SA" in index["credit"]
    assert len(index["systems"]) == 2
    [lora] = map(unpacked, tmp_path.glob("report/outputs/set1/webnlg_lora_s-*.js"))
    marks = lora["marks"][0]
    assert [4 + 4, "right"] in [[start, kind] for start, _, _, kind in marks]  # A_B as "A B"
    assert "50.00" in (tmp_path / "report/tables.html").read_text()


def test_runs_of_one_name_have_a_page_each_with_their_own_decoding(tmp_path):
    tables = []
    for folder, row, beam, text in (
        ("runs", "table1/lora_s", 3, "mine"),
        ("more", "table2/solo_s_r64", 7, "yours"),
    ):
        directory = make_run(tmp_path / folder, "same", row=row, decode={"beam": beam}, mrs=1)
        predict(directory, [f"name : A\t{text}"])
        tables.append(scores.of_table(table_of(row.partition("/")[0], tmp_path / folder)))
    build(material(tmp_path, tables), tmp_path / "report")
    found = {page.read_text() for page in (tmp_path / "report/runs").iterdir()}
    assert len(found) == 2
    for beam, text in ((3, "mine"), (7, "yours")):
        [own] = (page for page in found if f"beam: {beam}" in page)
        assert text in own
    said = [unpacked(path)["texts"] for path in (tmp_path / "report/outputs").glob("set*/*.js")]
    assert sorted(said) == [["mine"], ["yours"]]


def test_other_test_data_are_not_called_by_the_name_of_the_set_nor_credited_to_it(tmp_path):
    own = make_run(tmp_path / "runs", "own", row="table1/lora_s", mrs=1, data={"test": "other"})
    predict(own, ["name : A\tA is here ."])
    make_run(tmp_path / "runs", "e2e", row="table1/solo_s")
    table = scores.of_table(table_of("table1", tmp_path / "runs"))
    data = {line.runs[0].name: line.data for line in table.lines if line.runs}
    assert data == {"own": "other data in the form of E2E", "e2e": "E2E"}
    build(material(tmp_path, [table]), tmp_path / "report")
    credits = {}
    for path in (tmp_path / "report/outputs").glob("set?.js"):
        index = unpacked(path)
        credits[index["title"]] = index["credit"]
    assert credits["other data in the form of E2E, test set"] == "" != credits["E2E, test set"]


def test_an_empty_folder_and_a_folder_that_is_no_report(tmp_path):
    (tmp_path / "results").mkdir()
    out = tmp_path / "report"
    out.mkdir()  # an empty folder may become one
    build(reporting.gather(tmp_path / "results"), out)
    assert "No table of scores yet" in (out / "tables.html").read_text()
    build(reporting.gather(tmp_path / "results"), out)  # an earlier report is replaced
    (out / "report.json").unlink()
    with pytest.raises(ValueError, match="no report; name another folder with --out"):
        build(reporting.gather(tmp_path / "results"), out)
    assert (out / "index.html").is_file() and len(list(tmp_path.iterdir())) == 2


def test_the_command_of_a_kept_run_leads_to_its_configuration():
    path = next((ROOT / "results/standin12/runs").glob("solo*.json"))
    run = read_run(path, path, REPORTED)
    python, script, *overrides = reporting.command_of(run).split()
    assert (python, script) == ("python", "scripts/run.py")
    composed = compose_config(overrides)
    kept = from_values(json.loads(path.read_text())["config.yaml"])
    for group in ("adapter", "train", "decode", "model", "seed", "row"):
        assert getattr(composed, group) == getattr(kept, group), group
    test = {"data": run.options["data"] | {"test": "other"}}
    other = replace(run, options=run.options | test)
    assert reporting.command_of(other).startswith("(no command: this is a decoding of another test")


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=demo/lora", "seed=2"],
        ["experiment=family/lora_d", "data=demo"],
        ["data=webnlg"],
        ["data=e2e_raw", "decode.beam=3"],
        ["data.test_path=x.txt", "data.sha256.test=null"],
        ["data.train_path=x.txt", "data.sha256.train=null"],
        ["data=own", "data.train_path='a b.csv'", "data.valid_path=v.csv", "data.test_path=t.csv"],
    ],
)
def test_the_command_of_a_run_on_other_data(overrides, monkeypatch):
    config = compose_config(overrides)
    monkeypatch.setattr(reporting.records, "read", lambda *place: to_values(config))
    options = {"data": {"test": config.data.sha256.get("test")}}
    run = SimpleNamespace(directory="", decoding="", options=options)
    python, script, *words = shlex.split(reporting.command_of(run))
    assert compose_config(words) == config


def test_the_front_of_the_pareto_order():
    draw = random.Random(1)
    for lower in (True, False):
        points = [(draw.randrange(9), draw.randrange(9)) for _ in range(30)]
        better = (lambda a, b: a < b) if lower else (lambda a, b: a > b)
        slow = {
            (x, y)
            for x, y in points
            if not any((p <= x and better(q, y)) or (p < x and q == y) for p, q in points)
        }
        assert set(pictures.pareto(points, lower)) == slow


def test_tables_of_a_markdown_page():
    text = "# A\n\n| a | **b** |\n|---|---:|\n| `x<y` | [1](u) |\n\n## B\n\n| c |\n|---|\n| <i> |\n"
    first, second = pages.tables_in(text, "p.md", "kind")
    assert (first.title, first.right) == ("A", [False, True])
    assert first.rows == [["a", "**b**"], ["`x<y`", "[1](u)"]]
    assert second.title == "B" and str(pages.rich(second.rows[1][0])) == "&lt;i&gt;"
    assert str(pages.rich("`x<y` **b** [1](u)")) == "<code>x&lt;y</code> <strong>b</strong> 1"


def test_the_report_shows_a_table_of_every_page_that_it_names():
    assert {found.page for found in pages.read_pages(ROOT / "results")} == set(pages.PAGES)


def test_a_line_is_that_of_the_table(tmp_path):
    """Seeds whose scores the CSV, of four digits, rounds otherwise than the page does."""
    for seed, bleu in enumerate((0.681249, 0.681351, 0.60005), 1):
        make_run(tmp_path / "runs", f"run {seed}", seed=seed, scores={"BLEU": bleu})
    table = table_of("table1", tmp_path / "runs")
    [line] = [line for line in scores.of_table(table).lines if line.runs]
    page = render.markdown(table, lines_of(table))
    assert f"| {line.scores['BLEU'].text} |" in page and "±" in line.scores["BLEU"].text
    assert line.seeds == "1, 2, 3" and line.trainable[0] in page


def test_what_trains_nothing_has_no_rate_and_intervals_are_scaled(tmp_path):
    stand_in = {"stand_in": "stand-in: tiny", "mrs": 20}
    make_run(tmp_path, "bare", row="demo/none", n_params=0, **stand_in)
    scored = make_run(tmp_path, "lora", row="demo/lora", lr=3e-3, **stand_in)
    sums = np.array([[10, 10, 10, 9, 8, 7], [10, 10, 5, 2, 1, 1]] * 10, float)
    keep_statistics(scored, {"BLEU": sums}, [f"name : A{i or ''}" for i in range(20)])
    bare, lora = scores.of_table(table_of("demo", tmp_path)).lines
    assert (bare.lr, lora.lr) == (None, 3e-3)
    assert 1 < lora.scores["BLEU"].low < lora.scores["BLEU"].high <= 100


def test_bars_reach_from_the_lower_to_the_upper_end_of_an_interval(tmp_path, monkeypatch):
    """Of which the score is not the middle."""
    stand_in, figures = {"stand_in": "stand-in: tiny", "mrs": 20}, []
    for name, right in (("lora", 8), ("full", 5)):
        scored = make_run(tmp_path, name, row=f"demo/{name}", scores={"BLEU": 0.36}, **stand_in)
        sums = np.array([[10, 10, right, 7, 5, 2], [10, 10, 5, 2, 1, 1]] * 10, float)
        keep_statistics(scored, {"BLEU": sums}, [f"name : A{i or ''}" for i in range(20)])
    table = scores.of_table(table_of("demo", tmp_path))
    monkeypatch.setattr(pictures, "make", lambda figure, *words: figures.append(figure))
    pictures.of_table(table)
    bars = [bar.lines[2][0].get_segments()[0] for bar in figures[0].axes[0].containers]
    ends = [line.scores["BLEU"] for line in table.lines if line.runs]
    wanted = sorted([end.low, end.high] for end in ends)
    found = sorted(bar[:, 1].tolist() for bar in bars)
    assert np.allclose(found, wanted, atol=0.01) and len(found) == 2
    assert all(abs(e.high + e.low - 2 * e.value) > 0.1 for e in ends)


def test_a_run_s_page_has_the_options_of_its_decoding(tmp_path):
    """Of a training that was decoded twice."""
    directory = make_run(tmp_path, "a", decode={"beam": 4})
    config = yaml.safe_load((directory / "config.yaml").read_text())
    config["decode"] = {"beam": 10, "output": "x"}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    run = read_run(directory, decoding_of(directory), REPORTED)
    line = SimpleNamespace(runs=[run], scores={})
    page = runs.content(run, line, None, lambda run: "")
    assert yaml.safe_load(page["config"])["decode"] == run.options["decode"] | {"output": "x"}
    assert run.options["decode"]["beam"] == 4


def test_a_commit_with_changes_says_so(monkeypatch):
    for dirty, words in ((True, "0123456789ab (changed)"), (False, "0123456789ab")):
        train = {"commit": "0123456789abcdef", "dirty": dirty}
        monkeypatch.setattr(runs, "stages_of", lambda run, train=train: {"train": train})
        assert runs.commit_of(None) == words


def test_the_best_rate_of_a_sweep_is_that_of_the_lowest_loss(tmp_path):
    folder = tmp_path / "mine/rates"
    folder.mkdir(parents=True)
    losses = [[1e-3, 2.0], [3e-3, 1.5], [1e-2, None]]
    (folder / "lora.json").write_text(json.dumps({"best": 3e-3, "valid_losses": losses}))
    [picture] = pictures.of_rates([folder], [])
    assert "lora: best 0.003." in picture.alt


def test_lines_of_one_row_stand_side_by_side_with_their_variants():
    def line(kind: str, text: str, variant: str = "", n_runs: int = 1):
        score = {"BLEU": SimpleNamespace(text=text)}
        return SimpleNamespace(
            label="A", kind=kind, variant=variant, runs=[0] * n_runs, scores=score
        )

    lines = [
        line("paper", "70", n_runs=0),
        line("ours", "60", "paper"),
        line("ours", "61", "devcode"),
    ]
    [found] = _sides(SimpleNamespace(metrics=[ALL["BLEU"]], lines=lines))
    assert found["texts"] == {"paper": "70", "ours": "60 (paper); 61 (devcode)"}


def test_a_report_can_be_read_by_a_web_server(tmp_path):
    build(material(tmp_path), tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_a_row_of_a_page_with_too_few_or_too_many_cells_has_those_of_the_head():
    [found] = pages.tables_in("| a | b |\n|---|---|\n| x |\n| x | y | z |\n", "p.md", "kind")
    assert found.rows == [["a", "b"], ["x", ""], ["x", "y"]]


def test_which_end_of_a_picture_is_the_better_one(tmp_path, monkeypatch):
    drawn = {}
    for name in ("lora", "full"):
        make_run(tmp_path, name, row=f"demo/{name}", stand_in="stand-in: x", scores={"SER": 0.1})
    monkeypatch.setattr(pictures, "make", lambda f, name, *words: drawn.update({name: f}))
    pictures.of_table(scores.of_table(table_of("demo", tmp_path)))
    titles = {name: " ".join(figure.get_suptitle().split()) for name, figure in drawn.items()}
    ends = {name.partition("-")[2]: title.rpartition("; ")[2] for name, title in titles.items()}
    assert ends == {"BLEU": "higher is better", "SER": "lower is better"}


def test_curves_have_their_seeds_and_the_mark_of_what_is_no_reproduction(tmp_path):
    for seed in (1, 2):
        make_run(tmp_path, f"s{seed}", row="table1/lora_s", seed=seed)
    make_run(tmp_path, "short", row="table1/lora_m", steps=9)
    curves = pictures.curves_of(scores.of_table(table_of("table1", tmp_path)))
    labels = ["LoRA, GPT-2 M *", "LoRA, GPT-2 S, seed 1", "LoRA, GPT-2 S, seed 2"]
    assert sorted(curve.label for curve in curves) == labels


def test_sweeps_stand_in_the_order_of_their_lowest_losses():
    sweeps = {"a": [(1e-3, 2.0), (1e-2, 3.0)], "b": [(1e-2, 1.0), (1e-1, 4.0)]}
    figure = pictures._panels(sweeps, "T")
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["b", "a"]


def test_a_run_s_page_tells_what_its_outputs_lack_and_which_files_are_kept(tmp_path, monkeypatch):
    packed = tmp_path / "a.json"
    for path in (packed, packed.with_suffix(".tsv")):
        path.write_text("x")
    run = SimpleNamespace(directory=packed)
    assert [Path(path).suffix for path, _ in runs._files(run)] == [".json", ".tsv"]
    made = {
        "texts": ["pub"],
        "marks": [[[0, 3, "Type: pub", "right"], [-1, -1, "name: A", "missing"]]],
    }
    monkeypatch.setattr(runs, "page_of", lambda run: "page")
    monkeypatch.setattr(runs, "content_of", lambda of_set, system: made)
    of_set = SimpleNamespace(
        systems=[SimpleNamespace(run="page")], sources=["x : y"], references={}
    )
    [shown] = runs._outputs(run, of_set)
    assert (shown["number"], shown["missing"]) == (1, ["name: A"])


def test_what_hovering_tells_of_several_runs_has_all_their_seeds(monkeypatch):
    for name in ("recipe_of", "commit_of", "signature_of"):
        monkeypatch.setattr(runs, name, lambda run: "")
    line = SimpleNamespace(runs=[SimpleNamespace(seed=seed) for seed in (1, 2)], marks=[])
    assert dict(runs.facts_of(line))["seeds"] == "1, 2"


def test_a_backbone_in_a_folder_has_the_name_of_its_weights():
    for hub, name in (("openai-community/gpt2", "GPT-2 S"), (None, "mine")):
        run = SimpleNamespace(options={"hub": hub}, backbone="some/mine/")
        assert scores._backbone([run]) == name


def test_small_rates_are_in_the_downloads_as_they_are(tmp_path):
    make_run(tmp_path, "a", row="table1/lora_s", lr=2e-4)
    head, *rows = scores.cells(scores.of_table(table_of("table1", tmp_path)))
    assert {row[head.index("lr")] for row in rows} == {"", "0.0002"}


def test_a_run_of_no_table_is_no_reproduction(tmp_path):
    directory = make_run(tmp_path, "a", row="table1/lora_s")
    run = read_run(directory, decoding_of(directory), REPORTED)
    [line] = scores.of_runs("in-mine", "Mine", [(replace(run, marks=[]), "a")]).lines
    assert (line.kind, line.badge) == ("other", "no reproduction")


def test_pictures_of_one_page_share_no_id():
    """A clip path of the first would cut the second."""
    made = []
    for name in ("a", "b"):
        figure, axes = pictures.plt.subplots()
        axes.plot([1, 2], [3, 4])
        made.append(pictures.make(figure, name, "T", "alt", "kind").inline)
    first, second = (set(re.findall(r' id="([^"]+)"', svg)) for svg in made)
    assert first and second and not first & second
    used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', made[0]))
    assert used and used <= first


def test_a_folder_with_another_report_json_or_notes_of_the_user_is_left_alone(tmp_path):
    """Many programs write a file of that name."""
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "report.json").write_text('{"pytest": "x"}')
    (thesis / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="thesis is there already, and no report; name another"):
        build(material(tmp_path), thesis)
    assert (thesis / "thesis.tex").read_text() == "precious"
    out = tmp_path / "out"
    for _ in range(2):  # in place of an earlier one
        build(material(tmp_path), out)
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(ValueError, match="link is there already, and no report"):
        build(material(tmp_path), tmp_path / "link")
    (out / "pictures").mkdir(exist_ok=True)
    (out / "pictures/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="pictures/notes.txt is none of a report's files"):
        build(material(tmp_path), out)
    assert (out / "pictures/notes.txt").read_text() == "mine"
    (out / "report.json").write_text('{"bytes": 7}')  # of an earlier version
    build(material(tmp_path), out)
    assert not (out / "pictures/notes.txt").exists()
