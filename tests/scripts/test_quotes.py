"""What pages quote from runs is what the runs say, and the demo's runs are those of today."""

import json
import re
from statistics import fmean, stdev

import pytest
import torch

from eval.tables.render import MISSING
from scripts.bench import report as bench_report
from scripts.checks import collapse
from solo.cli import file_quotes, quotes, studies, study_quotes
from solo.cli.rows import compose_row, row_names
from solo.cli.study_list import kinds_of, read_list
from solo.files import ROOT
from solo.runs import naming
from solo.runs.identity import short_name
from solo.runs.run import make_run
from solo.standin.demo_data import write_demo_data


@pytest.mark.parametrize("page", quotes.PAGES)
def test_a_page_quotes_what_its_runs_say(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert quotes.MARK.search(text)
    after = quotes.rewritten(text, (ROOT / page).parent)
    assert after == text, f"{page} is stale; run python scripts/quotes.py"


def scores_of(row: str, variant: str | None = None, metric: str = "BLEU") -> list[float]:
    """A score x 100 of the packed runs of a row, one epoch each."""
    runs = [json.loads(p.read_text()) for p in (ROOT / "results/standin12/runs").glob("*.json")]
    wanted = [run for run in runs if run["rows.json"] == [row]]
    as_row = {"variant": variant} if variant else {"dropout": 0.1}
    if variant:  # what the variant decides is left to it
        as_row |= {"dropout": None, "mask": None, "vector_init": None}
    wanted = [run for run in wanted if as_row.items() <= run["config.yaml"]["adapter"].items()
              and run["config.yaml"]["train"]["epochs"] == 1]  # fmt: skip
    return [100 * run["metrics.json"][metric] for run in wanted]


def test_quotes_come_from_the_runs_files():
    """The means over seeds; an interval is that of the table's claim, which has the other sign."""
    lora, solo = scores_of("table1/lora_s"), scores_of("table1/solo_s", "paper")
    assert study_quotes.score("lora", "BLEU") == f"{fmean(lora):.1f}"
    lead = study_quotes.lead("lora", "solo")
    assert lead.startswith(f"{fmean(lora) - fmean(solo):.1f} (")
    table = (ROOT / "results/standin12/table.md").read_text()
    [claim] = [
        line for line in table.splitlines() if line.startswith("| Does Solo match LoRA with")
    ]
    shown = claim.split(" | ")[4].strip().replace("\N{MINUS SIGN}", "-").split(" to ")
    found = study_quotes._differences("lora", "solo")[0]["BLEU"]
    low, high = 100 * found.low, 100 * found.high
    assert [f"{-end:+.2f}" for end in (high, low)] == shown
    assert lead.endswith(f" ({low:.1f} to {high:.1f})")
    assert study_quotes.lead("lora_5", "solo_5").endswith(", one seed)")
    [line] = [x for x in study_quotes.study_table().splitlines() if x.startswith("| LoRA (r=8) |")]
    assert f"| {len(lora)} | {lora[0]:.2f} | {fmean(lora):.2f} " in line  # of seed 1 first
    assert (f" ± {stdev(lora):.2f} |" in line) if len(lora) > 1 else ("±" not in line)
    rates = json.loads((ROOT / "results/standin12/rates/solo.json").read_text())
    assert f"**{rates['best']:g} {dict(rates['valid_losses'])[rates['best']]:.3f}**" in (
        study_quotes.study_rates()
    )


def test_a_claim_stands_beside_the_paper_s():
    """Table 2's dense row against its sparse one; those without runs, and rows of no table."""
    lines = study_quotes.study_claims().splitlines()[2:]
    cells = {line.split(" | ")[1]: line.strip("| ").split(" | ")[2:] for line in lines}
    solo, dense = scores_of("table1/solo_s", "paper"), scores_of("table2/solo_s_r128", "paper")
    printed, here, errors, seeds = cells["`solo` - `solo_dense`"]
    assert float(printed) == pytest.approx(67.64 - 66.39) and int(seeds) == len(solo)
    found = float(here.split(" (")[0].replace("\N{MINUS SIGN}", "-"))
    assert found == pytest.approx(fmean(solo) - fmean(dense), abs=0.006)
    table = (ROOT / "results/standin12/table.md").read_text()
    [claim] = [line for line in table.splitlines() if line.startswith("| Does sparsity help?")]
    assert here.split(" (")[1].strip(")") == claim.split(" | ")[4]
    rows = ("table1/solo_s", "table2/solo_s_r128")
    of_sides = [scores_of(row, "paper", "SER") for row in rows]
    found = float(errors.split(" (")[0].replace("\N{MINUS SIGN}", "-"))
    assert found == pytest.approx(fmean(of_sides[0]) - fmean(of_sides[1]), abs=0.006)
    assert cells["`lora` - `full`"][0] == MISSING


def test_a_run_beside_the_chosen_rate_is_quoted_as_its_page_has_it():
    page = (ROOT / "results/standin12/neighbours.md").read_text(encoding="utf-8")
    [line] = [x for x in page.splitlines() if x.startswith("| DoRA | 1 | 0.001 |")]
    shown = line.split("|")[-2].replace("\N{MINUS SIGN}", "-").partition(", p=")[0]
    value, low, high = (float(word) for word in re.findall(r"-?[\d.]+", shown))
    assert study_quotes.beside("dora", "1e-3") == f"{value:.1f} ({low:.1f} to {high:.1f})"
    with pytest.raises(ValueError, match=r"neighbours has no run of dora at a rate of 7"):
        study_quotes.beside("dora", "7")


def test_brevity_is_that_of_the_outputs():
    """BLEU's words are nearly those between blanks; of full outputs it takes nothing off."""
    runs = (ROOT / "results/standin12/runs").glob("*.json")
    chosen = []
    for path in runs:
        values = json.loads(path.read_text())
        config = values["config.yaml"]
        usual = config["train"]["epochs"] == 1 and config["adapter"].get("dropout") == 0.1
        chosen += [path] if values["rows.json"] == ["table1/lora_s"] and usual else []
    texts = [p.with_suffix(".tsv").read_text().splitlines()[1:] for p in chosen]
    words = [fmean(len(line.split("\t")[1].split()) for line in text) for text in texts]
    found = [float(end) for end in study_quotes.brevity("lora", "words").split(" to ")]
    assert found == pytest.approx([min(words), max(words)], rel=0.02)
    full, bleu = study_quotes.brevity("full", "precision"), study_quotes.extent("full", "BLEU")
    ends = [[float(end) for end in text.split(" to ")] for text in (full, bleu)]
    assert ends[0] == pytest.approx(ends[1], abs=0.3)


def test_hours_are_those_of_the_records():
    runs = [p for folder in ("runs", "neighbours") for p in
            (ROOT / "results/standin12" / folder).glob("*.json")]  # fmt: skip
    found = [json.loads(path.read_text())["environment.json"] for path in runs]
    found = [run for run in found if run["train"]["n_params"]]
    here = [run for run in found if not run["train"]["hardware"]["gpu"]]
    spent = [run["train"]["seconds"] / run["train"].get("together", 1) + run["decode"]["seconds"]
             for run in here]  # fmt: skip
    text, _, on_gpu = study_quotes.hours().partition("; ")
    numbers = re.findall(r"[\d.]+", text)
    expected = [len(spent), sum(spent) / 3600, *(end / 60 for end in (min(spent), max(spent)))]
    assert [float(n) for n in numbers[:4]] == pytest.approx(expected, abs=0.5)
    assert on_gpu.split(" ")[0] == str(len(found) - len(here))


def test_a_table_of_some_groups():
    """Without the family it has the others' lines, and the parts of the page, which share some
    groups, are the whole."""
    whole, family, rest, code = (
        study_quotes.study_table("standin12", "BLEU", *some).splitlines()
        for some in ([], ["groups=a,g"], ["groups=a,b,c,d,e,f,i"], ["groups=b,k"])
    )
    assert {*family[2:], *rest[2:], *code[2:]} == {*whole[2:]}
    assert min(len(family), len(rest), len(code)) > 9
    assert not any("DoRA" in line for line in rest) and any("DoRA" in line for line in family)


BENCH = ROOT / "results/bench"
FIELDS = {
    "values": [{"name": "a b", "two words": 1.5, "ok": True}, {"name": "c", "ok": False}],
    "pairs": [["x", 0.25], ["y", 0.5]],
    "threes": {"spread": [2.04, 1.96, 2.1], "alike": [2.01, 2.0, 2.04]},
    "rates": [[0.001, 1.5], [0.003, None]],
    "none": [],
    "gaps": [None, 2.0],
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("values a_b two_words", "1.5"),
        ("values name=c ok", "False"),
        ("values ok=true name", "a b"),
        ("values count", "2"),
        ("values 1 name", "c"),
        ("pairs x + pairs y :.0%", "75 %"),
        ("pairs y / pairs x * 3 :.1f", "6.0"),
        ("threes spread sum * 1000000 :.1e", "6.1e6"),
        ("threes spread min :.2f", "1.96"),
        ("threes spread -1 :.1f", "2.1"),
        ("rates 0.001 * 0.5 :.2f", "0.75"),
        ("rates count", "2"),
        ("none count", "0"),
        ("gaps max :.0f", "2"),
        ("pairs x * 4 :.0e", "1e0"),
    ],
)
def test_a_place_in_a_file(words, expected, tmp_path):
    path = tmp_path / "some.json"
    path.write_text(json.dumps(FIELDS))
    assert file_quotes.figure(str(path), *words.split()) == expected
    stale = f"<!-- quote: figure ./some.json {words} -->?<!-- end -->"
    assert quotes.rewritten(stale, tmp_path) == stale.replace("?", expected)


def test_a_median_in_a_file_and_a_place_that_is_not_there(tmp_path):
    path = tmp_path / "some.json"
    path.write_text(json.dumps(FIELDS))
    assert file_quotes.median(str(path), "threes", "spread", ":.1f") == "2.0 (2.0 to 2.1)"
    assert file_quotes.median(str(path), "threes", "alike", ":.1f") == "2.0"
    for place in ("threes nothing", "values nothing", "values nothing=1 name", "pairs z"):
        with pytest.raises(ValueError, match="which is not there"):
            file_quotes.figure(str(path), *place.split())
    with pytest.raises(ValueError, match="the least or the most of no number"):
        file_quotes.figure(str(path), "none", "min")


@pytest.mark.parametrize(
    ("quote", "message"),
    [
        (lambda: study_quotes.score("lora", "BLEU", "1", "9"), "lora has no run of seed 9; it ha"),
        (lambda: study_quotes.lambdas("lora"), "lora has no lambda"),
        (lambda: study_quotes.study_table("standin12", "BLEU_all"), "not all runs of standin12 h"),
    ],
)
def test_a_quote_of_what_is_not_there_says_so(quote, message):
    with pytest.raises(ValueError, match=message):
        quote()


def test_quotes_heed_the_metric():
    """Fewer slot errors come first; a study of WebNLG asks its questions in WebNLG's BLEU."""
    cells = [
        line.split(" | ") for line in study_quotes.study_table("standin12", "SER").splitlines()
    ]
    place = cells[0].index("SER ↓, seed 1")
    values = [float(line[place]) for line in cells[2:]]
    assert values == sorted(values) and len(values) > 9
    head, _, *lines = study_quotes.study_claims("standin12_webnlg").splitlines()
    assert "BLEU all here, 95 % interval" in head and "not run yet" not in "".join(lines)


def test_figures_of_the_benchmarks_come_from_their_files():
    found = {name: json.loads((BENCH / f"{name}.json").read_text()) for name in ("cpu", "cuda")}
    of = {(e["program"], e["precision"]): e for e in found["cpu"]["train"]["found"]}
    file = "results/bench/cpu.json"
    rate = file_quotes.figure(file, *"train found ours bf16 tokens_per_s 0 :.0f".split())
    assert rate == f"{of['ours', 'bf16']['tokens_per_s'][0]:.0f}"
    floor = file_quotes.median(file, *"train found ours fp32 of_floor :.2f".split())
    middle, low, high = of["ours", "fp32"]["of_floor"]
    assert floor == f"{middle:.2f} ({low:.2f} to {high:.2f})"
    times = quotes.step_times("results/bench/cuda.json").splitlines()
    assert times[0] == "| program | S, fp32 | S, bf16 | M, bf16 |"
    [s32, s16, m16] = [
        f"{1000 * entry['s_per_step'][0]:.1f}"
        for entry in found["cuda"]["train"]["found"]
        if entry["program"] == "ours"
    ]
    assert f"| ours | {s32} | {s16} | {m16} |" in times
    assert times[-1].startswith("| peft + Trainer |") and times[-1].endswith("| – |")


def test_figures_of_logs_come_from_their_lines():
    """Not finite ones are no largest one."""
    dead = "results/collapse/random-no-lambda-v-random-permutation-torch.jsonl"
    lines = [json.loads(line) for line in (ROOT / dead).read_text().splitlines()]
    start = min(line["step"] for line in lines if line["share_only_bias"] == 1)
    assert file_quotes.figure(dead, *"share_only_bias=1.0 step min".split()) == f"{start}"
    largest = max(x for line in lines if (x := line["largest_activation"]) == x)
    found = file_quotes.figure(dead, *"largest_activation max :.1e".split())
    assert float(found) == pytest.approx(largest, rel=0.1)
    log = "data/backbones/standin12/pretrain_log.jsonl"
    lines = [json.loads(line) for line in (ROOT / log).read_text().splitlines()]
    lines = [line for line in lines if "names_copied" in line]
    table = quotes.log_table(log, "tokens", "names_copied").splitlines()
    assert len(table) == 2 + len(lines)
    assert table[-1] == f"| {lines[-1]['tokens']:,} | {lines[-1]['names_copied']} |"


def test_the_walk_names_the_demos_kept_runs():
    page = (ROOT / "docs/walks.md").read_text(encoding="utf-8")
    names = set(re.findall(r"results/demo/runs/([\w.-]+)", page))
    kept = {path.stem for path in quotes.DEMO.glob("*.json")}
    assert names <= kept and {name.partition("-")[0] for name in names} == {"full", "solo"}
    assert len(names) == 2  # those that the listing compares; the adapter in use is one of them


@pytest.mark.parametrize("name", ["bench/cpu.md", "bench/cuda.md", "collapse/table.md"])
def test_a_page_that_is_written_whole_is_what_its_command_writes(name):
    path = ROOT / "results" / name
    if name == "collapse/table.md":
        written = collapse.summary(path.parent)
    else:
        written = bench_report.page(json.loads(path.with_suffix(".json").read_text()))
    assert path.read_text(encoding="utf-8") == written


def test_a_changed_figure_is_put_right_and_an_unknown_quote_is_refused():
    stale = "BLEU <!-- quote: score lora BLEU -->99.9<!-- end -->, and 99.9 of others"
    right = stale.replace("99.9<", f"{study_quotes.score('lora', 'BLEU')}<")
    assert quotes.rewritten(stale) == right != stale
    with pytest.raises(ValueError, match="2 quotes begin and 1 end; each needs its <!-- end -->"):
        quotes.rewritten("<!-- quote: nothing x --> and more " + stale)
    with pytest.raises(ValueError, match="unknown quote 'nothing x'; known: demo_table, "):
        quotes.rewritten("<!-- quote: nothing x --><!-- end -->")


def test_the_demos_kept_runs_are_those_that_make_demo_makes(tmp_path):
    """A changed rate, recipe or generated data asks for the demo to be run and kept again."""
    write_demo_data(tmp_path)
    kept = {naming.hash_of(path.with_suffix("")): path for path in quotes.DEMO.glob("*.json")}
    runs = [
        make_run(compose_row(row, [f"data.dir={tmp_path}"])) for row in row_names(["demo"], None)
    ]
    assert {run.name for run in runs} == kept.keys()
    for run in runs:
        identity = json.loads(kept[run.name].read_text())["identity.json"]
        decoding = {key: identity[key] for key in identity if key not in ("version", "training")}
        assert short_name(decoding) == run.decoding.name
    numbers = re.findall(r"\| \d+ \| [\d,]+ \| (\S+) \|", quotes.demo_table())
    rates = [f"{run.config.train.lr:g}" if run.config.method != "none" else "–" for run in runs]
    assert numbers == rates


def test_a_rate_that_is_borrowed_is_the_lender_s():
    """On the page, too, where what is at the edge of its sweep has a mark."""
    listed, kinds = read_list("standin12"), kinds_of(read_list("standin12"))
    rates = studies.definition("standin12")["rates"]
    assert len(listed.rates_of) > 1
    for name, lender in listed.rates_of.items():
        written = json.loads((ROOT / f"results/standin12/rates/{lender}.json").read_text())
        assert rates[kinds[name]] == written["best"], name


def test_a_check_of_the_quotes_writes_nothing(tmp_path, monkeypatch, run_script):
    page, stale = tmp_path / "page.md", "<!-- quote: figure ./a.json x -->1<!-- end -->"
    page.write_text(stale)
    (tmp_path / "a.json").write_text('{"x": 2}')
    monkeypatch.setattr(quotes, "PAGES", [str(page)])
    checked = run_script("scripts/quotes.py", "--check")
    assert checked.code == 1 and "page.md quotes what no run says" in checked.err
    assert page.read_text() == stale
    assert run_script("scripts/quotes.py").code == 0 and "-->2<" in page.read_text()
    assert run_script("scripts/quotes.py", "--check").code == 0


def test_the_plain_layernorm_is_torch_s_until_a_square_overflows():
    """Then it gives its bias alone, which is what results/collapse says."""
    norm, x = torch.nn.LayerNorm(8), torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    plain = collapse.PlainLayerNorm(norm)
    torch.testing.assert_close(plain(x + 5), norm(x + 5))
    assert torch.equal(plain(x * 1e20), norm.bias.expand(3, 8))
