"""A checkpoint of the published layout, made here, against LoRA's definition written out by hand.

The layout is that of microsoft/LoRA: examples/NLG/src/gpt2_ft.py saves {"model_state_dict":
lora_state_dict(model)} of a wrapped model, loralib's MergedLinear stacks query and value.
"""

import copy
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from scripts.checks.lora_release import attach_release
from solo.standin.demo_data import write_demo_data
from tests.conftest import make_model

ROOT = Path(__file__).resolve().parent.parent.parent
D, RANK, ALPHA = 16, 3, 6.0
KEY = "module.transformer.h.{}.attn.c_attn.lora_{}"


def release(n_layer: int = 6, key: str = KEY) -> dict[str, torch.Tensor]:
    """Random A (2r, d) and B (2d, r) of every block, under the file's names."""
    draws, state = torch.Generator().manual_seed(3), {}
    for block in range(n_layer):
        # Small, so that attention stays soft: a hard softmax magnifies rounding.
        state[key.format(block, "A")] = 0.3 * torch.randn(2 * RANK, D, generator=draws)
        state[key.format(block, "B")] = 0.3 * torch.randn(2 * D, RANK, generator=draws)
    return state


def write(path: Path, state: dict) -> Path:
    torch.save({"model_state_dict": state}, path)
    return path


@pytest.mark.parametrize("key", [KEY, KEY.removeprefix("module."), "h.{}.attn.c_attn.lora_{}"])
def test_logits_are_those_of_the_update_folded_into_the_weights(tmp_path, model, ids, key):
    """W + alpha / r B A on the query and value thirds, as MergedLinear's grouped conv gives it."""
    state, folded = release(key=key), copy.deepcopy(model)
    attach_release(model, write(tmp_path / "e2e.pt", state), RANK, ALPHA)
    plain = make_model()(ids).logits
    for block, layer in enumerate(folded.transformer.h):
        a, b = (state[key.format(block, kind)] for kind in "AB")
        delta = F.conv1d(a[None], b[..., None], groups=2)[0] * 2.0  # (2d, d); alpha / r = 2
        with torch.no_grad():
            weight = layer.attn.c_attn.weight  # (in, out): query, key, value side by side
            weight[:, :D] += delta[:D].T
            weight[:, 2 * D :] += delta[D:].T
        by_hand = 2.0 * sum(b[D:, k, None] * a[RANK + k, None] for k in range(RANK))
        torch.testing.assert_close(delta[D:], by_hand)
    with torch.no_grad():
        logits = model(ids).logits
        torch.testing.assert_close(logits, folded(ids).logits, rtol=1e-4, atol=1e-4)
    assert (logits - plain).abs().max() > 0.1


def test_the_command_decodes_and_scores(tmp_path, checkpoint_dir, run_script):
    write_demo_data(tmp_path / "data", train_rows=4, valid_rows=4, test_mrs=3)
    command = [
        "scripts/checks/lora_release.py", write(tmp_path / "e2e.pt", release()),
        "--model", checkpoint_dir, "--rank", str(RANK), "--alpha", str(ALPHA), "--beam", "2",
        "--test", tmp_path / "data/lora_format/test.txt", "--out", tmp_path / "out",
    ]  # fmt: skip
    result = run_script(*command)
    assert result.code == 0, result.err[-2000:]
    scores = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert scores["details"]["n_segments"] == 3
    assert f"METEOR   {scores['METEOR']:.4f}" in result.out
    assert "published" not in result.out  # this is not GPT-2 M


def without(state, key):
    return {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s | {"h.0.attn.c_attn.weight": torch.zeros(2)}, "unexpected tensor 'h.0.attn.c"),
        (lambda s: without(s, KEY.format(2, "A")), r"lacks tensor '2.q_a' \(2 in all\)"),
        (lambda s: s | {"h.6.attn.c_attn.lora_A": torch.zeros(6, 16)}, "unexpected tensor '6.q_a'"),
        (
            lambda s: s | {KEY.format(1, "A"): torch.zeros(8, 16)},
            r"h.1.attn.c_attn.lora_A has shape \(8, 16\), for rank 3 on a width of 16 it is "
            r"\(6, 16\); the file's rank looks like 4",
        ),
        (
            lambda s: s | {KEY.format(1, "B"): torch.zeros(64, 3)},
            r"lora_B has shape \(64, 3\), for rank 3 on a width of 16 it is \(32, 3\)",
        ),
        (lambda s: {"a": 1}, "holds no dictionary of tensors"),
    ],
)
def test_files_that_do_not_fit(tmp_path, model, ids, change, text):
    before = model(ids).logits
    with pytest.raises(ValueError, match=text):
        attach_release(model, write(tmp_path / "e2e.pt", change(release())), RANK, ALPHA)
    assert torch.equal(model(ids).logits, before)


class Outside:
    """Something that is not a tensor."""


def test_what_is_not_a_file_of_tensors(tmp_path, model):
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    torch.save(Outside(), tmp_path / "code.pt")
    for name in ("page.pt", "code.pt"):
        with pytest.raises(ValueError, match=f"{name} is no PyTorch file of tensors"):
            attach_release(model, tmp_path / name, RANK, ALPHA)
    with pytest.raises(FileNotFoundError, match="none.pt not found; download gpt2_md_lora_e2e.pt"):
        attach_release(model, tmp_path / "none.pt", RANK, ALPHA)
