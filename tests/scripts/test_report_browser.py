"""The report in a real browser, from file://: it sorts, filters, loads outputs and shows marks.

Needs playwright and a Chromium (docs/report.md); AXE=path/to/axe.min.js checks accessibility too.
"""

import os
import shutil
from pathlib import Path

import pytest

from eval.report.build import build
from solo.cli import reporting
from tests.eval.made_runs import make_run
from tests.eval.test_report import predict

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
MR = "name : Zizzi | Type : pub | food : Italian"
PAGES = ("index", "tables", "pictures", "outputs", "runs", "runs/lora")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("browser") / "results"
    said = {"lora": "Zizzi is a cheap coffee shop .", "solo": "Zizzi is a pub with Italian food ."}
    for name, text in said.items():
        run = make_run(
            results / "demo/runs", name, row=f"demo/{name}", stand_in="stand-in: tiny", mrs=2,
            scores={"BLEU": 0.4 + 0.1 * len(name)},
        )  # fmt: skip
        predict(run, [f"{MR}\t{text}", "name : Cocum\tCocum"])
    shutil.copytree(Path(reporting.RESULTS) / "tables", results / "tables")
    build(reporting.gather(results), results / "report")
    return results / "report"


@pytest.fixture(scope="module")
def browser():
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium starts: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


@pytest.fixture(params=WIDTHS)
def page(request, browser):
    """A page that has said nothing on its console when the test is over, and is not too wide."""
    width, height = WIDTHS[request.param]
    opened, said = browser.new_page(viewport={"width": width, "height": height}), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
    opened.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens(page, folder, name):
    page.goto(f"{(folder / name).as_uri()}.html")
    assert page.locator("h1").count() == 1
    assert page.locator("#theme").is_visible()
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def column(page, table: str, number: int) -> list[str]:
    cells = page.locator(f"{table} > .scroll tbody tr:not([hidden]) > :nth-child({number})")
    return [text.split()[0] for text in cells.all_inner_texts()]


def test_tables_sort_and_filter(page, folder):
    page.goto((folder / "tables.html").as_uri())
    page.locator("#table2 > .scroll th button", has_text="BLEU").click()
    found = [float(text) for text in column(page, "#table2", 3) if text != "–"]
    assert found == sorted(found, reverse=True) and len(found) == 12
    assert set(column(page, "#table2", 3)[12:]) == {"–"}  # what is missing comes last
    page.locator("#table2 > .scroll th button", has_text="BLEU").click()
    assert [float(text) for text in column(page, "#table2", 3) if text != "–"] == sorted(found)
    page.locator("select[name=badge]").select_option("paper")
    assert set(column(page, "#table2", 2)) == {"paper"} and len(column(page, "#table2", 2)) == 11
    page.locator("select[name=method]").select_option("LoRA")
    assert column(page, "#table2", 3) == ["65.79"] and not page.locator("#demo").is_visible()
    page.locator("#filters button[type=reset]").click()
    page.locator("#demo button.more").first.click()
    assert page.locator("#demo-1").is_visible() and "recipe" in page.locator("#demo-1").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#demo-1").is_visible()


def test_an_mr_is_chosen_and_its_slots_are_marked(page, folder):
    page.goto((folder / "outputs.html").as_uri())
    page.locator("#texts mark").first.wait_for()
    first, second = page.locator("#texts .output").all()
    marks = [mark.get_attribute("class") for mark in first.locator("mark").all()]
    assert marks == ["right", "added", "wrong"]  # Zizzi, cheap, coffee shop
    assert first.locator(".missing").all_inner_texts() == ["food: Italian"]
    assert [m.get_attribute("class") for m in second.locator("mark").all()] == ["right"] * 3
    page.locator("#mrs button", has_text="Cocum").click()
    assert page.locator("#place").inner_text() == "MR 2 of 2"
    assert page.locator("#slots td").all_inner_texts() == ["Cocum"]
    page.locator("#order").select_option("disagreement")
    assert page.locator("#place").inner_text() == "MR 1 of 2"
    page.locator("#systems input").first.uncheck()
    page.wait_for_function("document.querySelectorAll('#texts .output').length === 1")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.locator("#texts mark").first.wait_for()
    assert page.locator("#texts .output").count() == 1  # an address names the systems and the MR


@pytest.mark.skipif(not os.environ.get("AXE"), reason="AXE names no axe.min.js")
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessibility(browser, folder, name, theme):
    page = browser.new_page(color_scheme=theme)
    page.goto(f"{(folder / name).as_uri()}.html")
    page.wait_for_timeout(300)
    page.evaluate(Path(os.environ["AXE"]).read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    assert [(v["id"], v["nodes"][0]["target"]) for v in found["violations"]] == []
    page.close()
