"""Does it copy? What pretraining measures of a stand-in backbone, beside its loss on each kind."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers

from solo.options import check
from solo.standin import corpus
from solo.standin.mixture import Mixture
from solo.standin.names import SEPARATOR, Line, parse, with_made_up_values
from solo.standin.recipe import MEASURED

LENGTHS = (16, 32, 64)  # of random sequences given twice


def held_out_lines(lines: Sequence[Line], count: int, words: list[str], seed: int) -> list[Line]:
    """`count` of `lines` that carry made-up values, in every place where a value recurs."""
    rng = random.Random(f"held out {seed}")
    made = (with_made_up_values(line, rng, words, 1.0) for line in rng.sample(lines, len(lines)))
    return [line for line in made if line.names][:count]


@torch.no_grad()
def repeated_tokens(model: transformers.GPT2LMHeadModel, length: int, count: int = 32) -> float:
    """Share of right guesses, 0 to 1, when `length` random tokens come a second time.

    The first of them is left out: nothing says that the sequence starts again.
    """
    draw = torch.Generator().manual_seed(length)
    ids = torch.randint(model.config.vocab_size, (count, length), generator=draw).repeat(1, 2)
    ids = ids.to(model.device)
    guesses = model(ids).logits.argmax(-1)  # (count, 2 * length)
    return (guesses[:, length:-1] == ids[:, length + 1 :]).float().mean().item()


@torch.no_grad()
def text_loss(model: transformers.GPT2LMHeadModel, rows: torch.Tensor) -> float:
    """Mean loss (nats a token) of rows (count, context + 1)."""
    total = 0.0
    for row in rows.split(8):
        row = row.to(model.device)
        logits = model(row[:, :-1]).logits.float()
        total += F.cross_entropy(logits.flatten(0, 1), row[:, 1:].flatten()).item() * len(row)
    return total / len(rows)


@torch.no_grad()
def lines_read(
    model: transformers.GPT2LMHeadModel, tokenizer, lines: Sequence[Line]
) -> dict[str, float]:
    """What the model makes of the texts of `lines`, given their data and the text so far.

    data_loss: mean loss of the text's tokens. name_first, name_later: share of right guesses, 0 to
    1, for a made-up name's first token in the text and for its others; name_rest: share of names
    whose others are all right, which greedy decoding would write whole from its first token on.
    """
    loss, n = 0.0, 0
    right = {"first": 0, "later": 0, "rest": 0}
    seen = {"first": 0, "later": 0, "rest": 0}
    for line in lines:
        whole = line.data + SEPARATOR + line.text
        encoding = tokenizer(whole, return_offsets_mapping=True)
        ids = torch.tensor([encoding["input_ids"] + [tokenizer.eos_token_id]], device=model.device)
        offsets = encoding["offset_mapping"]
        logits = model(ids).logits[0, :-1].float()  # (T - 1, V)
        text = len(line.data + SEPARATOR)
        begin = next(i for i, (_, stop) in enumerate(offsets) if stop > text)
        loss += F.cross_entropy(logits[begin - 1 :], ids[0, begin:], reduction="sum").item()
        n += ids.shape[1] - begin
        hit = (logits.argmax(-1) == ids[0, 1:]).tolist()  # hit[i - 1]: token i was foretold
        for value in line.names:
            at = whole.find(value, text)
            covered = [i for i, (a, b) in enumerate(offsets) if a < at + len(value) and b > at]
            hits = [hit[i - 1] for i in covered]
            for place, some in (("first", hits[:1]), ("later", hits[1:])):
                right[place] += sum(some)
                seen[place] += len(some)
            right["rest"] += len(hits) > 1 and all(hits[1:])
            seen["rest"] += len(hits) > 1
    shares = {place: right[place] / max(1, seen[place]) for place in right}
    return {"data_loss": loss / n} | {f"name_{place}": share for place, share in shares.items()}


@torch.no_grad()
def names_copied(
    model: transformers.GPT2LMHeadModel, tokenizer, lines: Sequence[Line]
) -> dict[str, float]:
    """What the greedy texts of `lines` have of the made-up names, as shares from 0 to 1.

    names_copied: lines whose text has every name whole; names_whole: names that their text has.
    """
    prompts = [(line.data + SEPARATOR.rstrip(), line) for line in lines]
    prompts.sort(key=lambda prompt: len(prompt[0]))  # little padding
    # A copy: padding stays turned on in a tokenizer, and this one makes the training's rows, too.
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side, end = "left", tokenizer.eos_token_id
    tokenizer.pad_token_id = end
    lines_right = names_right = 0
    for start in range(0, len(prompts), 32):
        some = prompts[start : start + 32]
        batch = tokenizer([prompt for prompt, _ in some], return_tensors="pt", padding=True)
        out = model.generate(
            input_ids=batch["input_ids"].to(model.device),
            attention_mask=batch["attention_mask"].to(model.device),
            max_new_tokens=64,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
        )
        texts = tokenizer.batch_decode(
            out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
        )
        for text, (_, line) in zip(texts, some, strict=True):
            there = [name in text for name in line.names]
            lines_right += all(there)
            names_right += sum(there)
    n_names = sum(len(line.names) for line in lines)
    return {"names_copied": lines_right / len(lines), "names_whole": names_right / n_names}


class Measures:
    """What is measured of a model while it learns, on texts that it never sees.

    Raises ValueError for files that lack dialogue, prose or data-to-text lines.
    """

    def __init__(self, mixture: Mixture, valid_files: list[Path], seed: int):
        self.tokenizer = mixture.tokenizer
        documents = list(corpus.documents(valid_files))
        lines = [line for line in map(parse, corpus.lines(valid_files)) if line]
        self.lines = held_out_lines(lines, 300, mixture.words, seed)
        dialogue = [text for text in documents if text.startswith("User: ")]
        prose = [text for text in documents if text not in dialogue and SEPARATOR not in text]
        self.rows = {"dialogue": self._rows(dialogue), "prose": self._rows(prose)}
        sizes = {kind: len(rows) for kind, rows in self.rows.items()} | {"data": len(self.lines)}
        missing = [kind for kind, size in sizes.items() if not size]
        check(
            not missing,
            f"pretrain.valid_files hold too little {' and '.join(missing)} to measure; they need "
            "prose and dialogue of 129 tokens and a data-to-text line whose values recur",
        )

    def _rows(self, documents: list[str], context: int = MEASURED, count: int = 64) -> torch.Tensor:
        ids = [
            token
            for text in documents
            for token in [*self.tokenizer(text)["input_ids"], self.tokenizer.eos_token_id]
        ]
        return torch.tensor(ids[: len(ids) // (context + 1) * (context + 1)]).view(-1, context + 1)[
            :count
        ]

    def __call__(self, model: transformers.GPT2LMHeadModel, greedy: bool) -> dict[str, float]:
        """Losses in nats a token, shares from 0 to 1. greedy: whole names too, which takes long."""
        training = model.training
        model.eval()
        measured = {f"{kind}_loss": text_loss(model, rows) for kind, rows in self.rows.items()}
        measured |= lines_read(model, self.tokenizer, self.lines[: None if greedy else 100])
        for length in LENGTHS:
            measured[f"repeated_{length}"] = repeated_tokens(model, length)
        if greedy:
            measured |= names_copied(model, self.tokenizer, self.lines)
        model.train(training)
        return {name: round(value, 4) for name, value in measured.items()}
