"""docs/library.md: its programs run, as one session, and do what they say."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch

import solo

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/library.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """(names, what was printed) after all programs, in a folder with the checkout's data."""
    folder, names, printed = tmp_path_factory.mktemp("library"), {}, io.StringIO()
    (folder / "data").symlink_to(ROOT / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        with contextlib.redirect_stdout(printed):
            for program in PROGRAMS:
                exec(program, names)
        yield names, printed.getvalue()


def test_the_guide_covers_the_whole_life_of_an_adapter():
    titles = re.findall(r"^## (\w+)$", TEXT, re.MULTILINE)
    assert titles[:6] == ["Train", "Save", "Load", "Swap", "Mix", "Serve"]
    assert len(PROGRAMS) == 8


def test_what_it_prints_is_what_the_guide_says(session):
    _, printed = session
    said = re.findall(r"^(?:print|model.print_\w+)\(.*\)  # (.+)$", TEXT, re.MULTILINE)
    assert len(said) == 4
    for line in said:
        assert line in printed, line


def test_the_session_has_trained_saved_and_mixed(session):
    names, _ = session
    assert names["trainer"].state.global_step == 4
    assert names["ids"].shape[0] == 2
    assert set(names["model"].peft_config) == {"default", "short"}
    files = {path.name for path in Path("mine").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md"} <= files


def test_a_loop_of_ones_own_is_kept_in_both_forms(session):
    """Merged, as a model; and as an adapter that a bare model takes again."""
    names, _ = session
    ids = torch.arange(3, 11).view(2, 4)
    with torch.no_grad():
        expected = names["plain"].eval()(ids).logits
        bare = names["AutoModelForCausalLM"].from_pretrained(names["name"], dtype=torch.float32)
        assert not torch.allclose(bare.eval()(ids).logits, expected, atol=1e-3)
        names["load_adapter"]("kept", bare, names["bare"])
        for model in (bare, solo.load("merged")):
            torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-4)
