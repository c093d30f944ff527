"""What pages quote from runs is what the runs say, and the demo's runs are those of today."""

import json
import re

import pytest

from solo.cli import quotes
from solo.cli.rows import compose_row, row_names
from solo.files import ROOT
from solo.runs import naming
from solo.runs.identity import short_name
from solo.runs.run import make_run
from solo.standin.demo_data import write_demo_data


@pytest.mark.parametrize("page", quotes.PAGES)
def test_a_page_quotes_what_its_runs_say(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert quotes.MARK.search(text)
    assert quotes.rewritten(text) == text, f"{page} is stale; run python scripts/quotes.py"


def test_quotes_come_from_the_runs_files():
    runs = ROOT / "results/standin12/runs"
    [lora, solo] = (json.loads(next(runs.glob(f"{m}-*")).read_text()) for m in ("lora", "solo"))
    bleu = [run["metrics.json"]["BLEU"] * 100 for run in (lora, solo)]
    assert quotes.score("lora", "BLEU") == f"{bleu[0]:.1f}"
    assert quotes.lead("lora", "solo").startswith(f"{bleu[0] - bleu[1]:.1f} (95 % interval")
    assert f"| {bleu[1]:.2f} |" in quotes.study_table()
    rates = json.loads((ROOT / "results/standin12/rates/solo.json").read_text())
    assert f"**{rates['best']:g} {dict(rates['valid_losses'])[rates['best']]:.3f}**" in (
        quotes.study_rates()
    )


def test_a_changed_figure_is_put_right_and_an_unknown_quote_is_refused():
    stale = "BLEU <!-- quote: score lora BLEU -->99.9<!-- end -->, and 99.9 of others"
    right = stale.replace("99.9<", f"{quotes.score('lora', 'BLEU')}<")
    assert quotes.rewritten(stale) == right != stale
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
