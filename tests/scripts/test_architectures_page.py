"""docs/architectures.md says what the code does, and shows the tests of every architecture."""

import ast

from scripts import architectures
from tests.architectures import ARCHITECTURES

STALE = "the page is stale; run make methods"


def test_the_page_at_hand_has_the_methods_of_today():
    page = architectures.PAGE.read_text(encoding="utf-8")
    assert architectures.methods_table() in page, STALE


def test_the_page_at_hand_has_every_promise_on_every_architecture():
    page = architectures.PAGE.read_text(encoding="utf-8").split("## Promises\n")[1]
    assert "FAILED" not in page
    for title, file in architectures.TESTS.items():
        table = page.split(f"### {title}\n\n`{file}`\n\n")[1].split("\n\n")[0]
        _, _, *lines = [line.strip("|").split(" | ") for line in table.splitlines()]
        held = {name.strip(): of for name, of, *_ in lines}
        assert set(held.values()) == {f"all {len(ARCHITECTURES)}"}, file
        tests = (
            node
            for node in ast.parse((architectures.ROOT / file).read_text()).body
            if isinstance(node, ast.FunctionDef)
            and node.name.startswith("test_")
            and node.name != architectures.ALONE
        )
        named = {
            test.name.removeprefix("test_").replace("_", " ")
            for test in tests
            if "architecture" in {argument.arg for argument in test.args.args}
        }
        assert set(held) == named, f"{file}: {STALE}"
