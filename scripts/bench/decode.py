"""Decoding, timed beside transformers' generate() and the script of LoRA's recipe.

Functions only, for scripts/bench/main.py. The peers' code runs in this process: generate() as
installed, LoRA's model and search (examples/NLG/src/{model,gpt2_beam}.py) from the checkout that is
given.
"""

import contextlib
import io
import json
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from scripts.bench.peers import SEQ_LEN, lora_modules
from scripts.bench.train import fresh
from solo.backbones.products import frozen_products
from solo.decoding.recipe import BeamConfig
from solo.decoding.rules import beam_search

TOY = {"n_layer": 4, "n_embd": 256, "n_head": 4}  # even so LoRA's search takes 8 s a context
Decoder = Callable[[list[list[int]]], list[list[int]]]


def toy_model() -> GPT2LMHeadModel:
    """A random GPT-2 of four blocks of width 256, GPT-2's vocabulary: its outputs never end."""
    return fresh(GPT2Config(**TOY))


def spread_out(prompts: list, count: int) -> list:
    """`count` of the prompts, evenly spaced (all if there are fewer)."""
    count = min(count, len(prompts))
    return [prompts[i * len(prompts) // count] for i in range(count)]


def generate_batch(config: BeamConfig, device: torch.device) -> int:
    """How many contexts generate() gets a call: on an accelerator, which takes little longer for a
    larger batch, as many as our search, so that the ratio is not that of the batches."""
    return 14 if device.type == "cpu" else config.contexts(device)


def our_decoder(model: GPT2LMHeadModel, config: BeamConfig, end_ids: tuple[int, ...]) -> Decoder:
    """Our search, as scripts/decode.py runs it."""

    def decode(prompts):
        with (
            torch.no_grad(),
            frozen_products(model, model.dtype, config.beam * config.contexts(model.device)),
        ):
            return beam_search(model, prompts, config, end_ids)

    return decode


def generate_decoder(
    model: GPT2LMHeadModel, config: BeamConfig, end_ids: tuple[int, ...], batch_size: int
) -> Decoder:
    """transformers' generate() with the same beam, in batches padded on the left.

    Its rules differ (the n-gram rule sees the prompt, ended beams leave a look-ahead of 2 x beam),
    so its outputs may.
    """

    def decode(prompts):
        found = []
        for start in range(0, len(prompts), batch_size):
            chosen = prompts[start : start + batch_size]
            longest = max(map(len, chosen))
            ids = torch.tensor([[end_ids[0]] * (longest - len(p)) + p for p in chosen])
            mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in chosen])
            out = model.generate(
                ids.to(model.device),
                attention_mask=mask.to(model.device),
                do_sample=False,
                num_beams=config.beam,
                max_new_tokens=config.max_new_tokens,
                length_penalty=config.length_penalty,
                no_repeat_ngram_size=config.no_repeat_ngram,
                early_stopping=False,
                eos_token_id=list(end_ids),
                pad_token_id=end_ids[0],
            )
            found += [_cut(tokens, end_ids) for tokens in out[:, longest:].tolist()]
        return found

    return decode


def lora_decoder(
    nlg: Path, model: GPT2LMHeadModel, config: BeamConfig, end_ids: tuple[int, ...]
) -> Decoder:
    """The search of LoRA's recipe with its own model, as its README runs it: one context at a time,
    padded to 512 tokens. nlg: the checkout's examples/NLG.

    Raises FileNotFoundError where the checkout lacks a file, ValueError for a GPT-2 whose weights
    do not fit. Its collective calls (one process here) are replaced, nothing else.
    """
    theirs, _ = lora_modules(nlg, "gpt2_beam", "model")
    theirs.distributed_gather = lambda args, tensor: tensor[None]
    theirs.distributed_sync = lambda args: None
    network = _lora_model(theirs, model)

    def decode(prompts):
        with tempfile.TemporaryDirectory() as folder:
            args = Namespace(
                device=str(model.device),
                rank=0,
                beam=config.beam,
                length_penalty=config.length_penalty,
                no_repeat_ngram_size=config.no_repeat_ngram,
                repetition_penalty=1.0,
                min_length=0,
                eval_len=config.max_new_tokens,
                eos_token_id=list(end_ids),
                work_dir=folder,
                output_file="predictions.jsonl",
            )
            theirs.args = args  # a part of its search reads the global
            with contextlib.redirect_stdout(io.StringIO()):
                theirs.beam(network, map(_lora_query, range(len(prompts)), prompts), args)
            lines = Path(folder, args.output_file).read_text(encoding="utf-8").splitlines()
        return [_cut(json.loads(line)["predict"], end_ids) for line in lines]

    return decode


def _lora_model(theirs, model: GPT2LMHeadModel) -> nn.Module:
    ours = model.config
    shape = {key: getattr(ours, key) for key in ("vocab_size", "n_embd", "n_layer", "n_head")}
    shape["vocab_size_or_config_json_file"] = shape.pop("vocab_size")
    network = theirs.GPT2LMModel(theirs.GPT2Config(**shape))
    weights = dict(model.transformer.state_dict())
    # A backbone with fewer positions: padding alone stands beyond them, and nothing sees it.
    beyond = 1024 - len(weights["wpe.weight"])
    weights["wpe.weight"] = nn.functional.pad(weights["wpe.weight"], (0, 0, 0, beyond))
    try:
        missing = network.transformer.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ValueError(f"LoRA's model cannot take these weights: {error}") from error
    wrong = [*missing.unexpected_keys, *(k for k in missing.missing_keys if k[-5:] != ".bias")]
    if wrong:
        raise ValueError(f"LoRA's model cannot take these weights: {wrong[0]} has no counterpart")
    network.set_tied()
    return network.to(model.device).eval()


def _lora_query(number: int, prompt: list[int]) -> dict[str, torch.Tensor]:
    """A batch of one, as its data set and loader make it."""
    padded = prompt + [0] * (SEQ_LEN - len(prompt))
    query = {"id": [number], "query": [padded], "query_len": [len(prompt)]}
    return {name: torch.tensor(values) for name, values in query.items()}


def _cut(tokens: list[int], end_ids: tuple[int, ...]) -> list[int]:
    """Up to the first end token, that included."""
    ends = [place for place, token in enumerate(tokens) if token in end_ids]
    return tokens[: ends[0] + 1] if ends else tokens


def bench_decode(
    model: GPT2LMHeadModel,
    prompts: list[list[int]],
    end_ids: tuple[int, ...],
    lora_nlg: Path | None,
    rounds: int,
    contexts: dict[str, int],
    on_progress: Callable[[int, int], None],
) -> list[dict]:
    """Time every program in turn, `rounds` times over; a row of figures for each.

    contexts: how many prompts each program gets, by its name (ours, generate, lora), evenly spaced.
    A row: program, contexts, batch_size (contexts a call, at most), seconds_per_context (median of
    the rounds), seconds (one per round, per context), ratio (its time over ours: median, lowest and
    highest of the paired rounds), same_outputs (share of its outputs that are ours for the same
    prompts), mean_length of its outputs in tokens.
    """
    config = BeamConfig()
    calls = {"ours": config.contexts(model.device), "lora": 1}
    calls["generate"] = generate_batch(config, model.device)
    programs = {"ours": our_decoder(model, config, end_ids)}
    programs["generate"] = generate_decoder(model, config, end_ids, calls["generate"])
    if lora_nlg is not None:
        programs["lora"] = lora_decoder(lora_nlg, model, config, end_ids)
    programs = {name: decode for name, decode in programs.items() if contexts[name]}
    chosen = {name: spread_out(prompts, contexts[name]) for name in programs}
    for name, decode in programs.items():  # warm up
        decode(chosen[name][: 1 if name == "lora" else 4])
    seconds, outputs = {name: [] for name in programs}, {}
    for turn in range(rounds):
        for place, (name, decode) in enumerate(programs.items()):
            start = time.perf_counter()
            found = decode(chosen[name])
            seconds[name].append((time.perf_counter() - start) / len(chosen[name]))
            outputs[name] = found
            on_progress(turn * len(programs) + place + 1, rounds * len(programs))
    rows = []
    for name in programs:
        ratios = [t / o for t, o in zip(seconds[name], seconds["ours"], strict=True)]
        same = outputs["ours"]
        if name != "ours":
            same = programs["ours"](chosen[name])
        rows.append(
            {
                "program": name,
                "contexts": len(chosen[name]),
                "batch_size": min(calls[name], len(chosen[name])),
                "seconds_per_context": median(seconds[name]),
                "seconds": seconds[name],
                "ratio": [median(ratios), min(ratios), max(ratios)],
                "same_outputs": _share(outputs[name], same),
                "mean_length": sum(map(len, outputs[name])) / len(outputs[name]),
            }
        )
    return rows


def _share(found: list, expected: list) -> float:
    return sum(a == b for a, b in zip(found, expected, strict=True)) / len(found)
