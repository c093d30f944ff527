"""Pretraining of a backbone from plain text, for machines that have no pretrained GPT-2.

One recipe for the demo's tiny model and for larger stand-ins: documents separated by a line
`<|endoftext|>`, packed into one token stream, random windows of `context` tokens, AdamW with
linear warm-up and cosine decay to a tenth, gradient clipping at 1 (the usual GPT-2 recipe).
"""

import json
import lzma
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from solo import backbone
from solo.record import atomic, config_hash, file_sha256

END_OF_TEXT = "<|endoftext|>"
CHUNK_DOCUMENTS = 256


def find_files(root: Path, patterns: list[str]) -> list[Path]:
    """The files under `root` that match, in order. FileNotFoundError: a pattern has none."""
    files = []
    for pattern in patterns:
        found = sorted(Path(root).glob(pattern))
        if not found:
            raise FileNotFoundError(f"no file matches {pattern!r} in {root}")
        files += found
    return files


def documents(files: list[Path]) -> Iterator[str]:
    """The documents of UTF-8 text files (.xz or plain), one string each."""
    for path in files:
        opener = lzma.open if path.suffix == ".xz" else open
        lines: list[str] = []
        with opener(path, "rt", encoding="utf-8") as file:
            for line in file:
                if line.strip() == END_OF_TEXT:
                    yield "".join(lines)
                    lines = []
                else:
                    lines.append(line)
        if lines:
            yield "".join(lines)


def train_tokenizer(files: list[Path], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of GPT-2's kind, trained on `files` with `vocab_size` entries."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        documents(files), vocab_size, special_tokens=[END_OF_TEXT], show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT
    )


def token_stream(files: list[Path], tokenizer, cache_dir: Path) -> np.ndarray:
    """All documents as one array of token ids (uint16 or uint32), each ended by the end token.

    Cached under `cache_dir` by the content of the files and of the tokenizer, read back as a
    memory map, so that a corpus larger than memory costs nothing.
    """
    key = [file_sha256(path) for path in files] + [tokenizer.backend_tokenizer.to_str()]
    path = Path(cache_dir) / f"tokens-{config_hash(key)}.npy"
    if not path.exists():
        dtype = np.uint16 if len(tokenizer) < 2**16 else np.uint32
        parts, batch = [], []
        for text in documents(files):
            batch.append(text)
            if len(batch) == CHUNK_DOCUMENTS:
                parts.append(_encode(batch, tokenizer, dtype))
                batch = []
        parts.append(_encode(batch, tokenizer, dtype))
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.save(file, np.concatenate(parts))
    return np.load(path, mmap_mode="r")


def _encode(texts: list[str], tokenizer, dtype) -> np.ndarray:
    encoded = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    ids = [token for e in encoded for token in (*e.ids, tokenizer.eos_token_id)]
    return np.array(ids, dtype=dtype)


def windows(stream: np.ndarray, count: int, context: int, seed: list[int]) -> torch.Tensor:
    """`count` random windows of context + 1 tokens, (count, context + 1), a function of `seed`."""
    starts = np.random.default_rng(seed).integers(0, len(stream) - context, size=count)
    rows = np.stack([stream[start : start + context + 1] for start in starts])
    return torch.from_numpy(rows.astype(np.int64))


def learning_rate(step: int, config: dict) -> float:
    """Linear warm-up, then a cosine down to a tenth of `config['lr']`."""
    if step < config["warmup_steps"]:
        return config["lr"] * (step + 1) / config["warmup_steps"]
    done = (step - config["warmup_steps"]) / max(1, config["steps"] - config["warmup_steps"])
    return config["lr"] * (0.55 + 0.45 * math.cos(math.pi * done))


def loss_of(model: GPT2LMHeadModel, rows: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy (nats) of windows (B, context + 1)."""
    hidden = model.transformer(rows[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden.flatten(0, 1))  # (B * context, vocabulary)
    return F.cross_entropy(logits.float(), rows[:, 1:].flatten())


def new_model(shape: dict, tokenizer, seed: int, stand_in: str) -> GPT2LMHeadModel:
    """A randomly initialised GPT-2 of the given shape whose config says what it stands in for."""
    torch.manual_seed(seed)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        **shape,
        **backbone.NO_DROPOUT,
        vocab_size=len(tokenizer),
        bos_token_id=end,
        eos_token_id=end,
    )
    config.stand_in = stand_in
    config.activation_function = backbone.FUSED[config.activation_function]
    return GPT2LMHeadModel(config)


def pretrain(
    model: GPT2LMHeadModel,
    train_stream: np.ndarray,
    valid_stream: np.ndarray,
    config: dict,
    log_path: Path,
    on_progress: Callable[[int, int, dict], None] = lambda done, total, info: None,
) -> float:
    """Train `model` in place by `config` (configs/pretrain); returns the validation loss in nats.

    Writes a JSON line per `log_every` steps to `log_path`. Raises ValueError if a stream is
    shorter than one window, FloatingPointError if the loss stops being finite.
    """
    for name, stream in (("training", train_stream), ("validation", valid_stream)):
        if len(stream) <= config["context"]:
            raise ValueError(
                f"the {name} text has {len(stream)} tokens; one window needs "
                f"pretrain.context + 1 = {config['context'] + 1}"
            )
    device = backbone.device()
    model.to(device).train()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config["lr"], betas=(0.9, 0.95), fused=True)
    forward = torch.compile(loss_of) if config["compile"] else loss_of
    size, context, start = config["batch_size"], config["context"], time.monotonic()
    low_precision = config["precision"] == "bf16"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with open(log_path, "w", encoding="utf-8") as log:
        for step in range(config["steps"]):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            rows = windows(train_stream, size, context, [config["seed"], step]).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
                loss = forward(model, rows)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if (step + 1) % config["log_every"] == 0 or step + 1 == config["steps"]:
                entry = {"step": step + 1, "loss": loss.item()}
                if not math.isfinite(entry["loss"]):
                    raise FloatingPointError(
                        f"pretraining loss is {entry['loss']} at step {step + 1}; lower pretrain.lr"
                    )
                entry["tokens"] = (step + 1) * size * context
                entry["tokens_per_s"] = round(entry["tokens"] / (time.monotonic() - start))
                log.write(json.dumps(entry) + "\n")
                log.flush()
                on_progress(step + 1, config["steps"], {"loss": f"{entry['loss']:.3f}"})
        valid = validation_loss(model, valid_stream, config)
        entry = {"step": config["steps"], "valid_loss": valid, "valid_ppl": math.exp(valid)}
        log.write(json.dumps(entry) + "\n")
    return valid


@torch.no_grad()
def validation_loss(model: GPT2LMHeadModel, stream: np.ndarray, config: dict) -> float:
    """Mean loss over at most `valid_windows` consecutive windows of the stream."""
    model.eval()
    context = config["context"]
    count = min(config["valid_windows"], (len(stream) - 1) // context)
    total = 0.0
    for i in range(count):
        row = stream[i * context : (i + 1) * context + 1].astype(np.int64)
        total += loss_of(model, torch.from_numpy(row)[None].to(model.device)).item()
    return total / count
