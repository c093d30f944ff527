"""Pretraining of a backbone from plain text, for machines that have no pretrained GPT-2.

One recipe for the demo's tiny model and for larger stand-ins: documents packed into one token
stream, random windows of `context` tokens, AdamW, gradient clipping at 1 (the usual GPT-2 recipe).
It ends after `steps` or after `max_seconds` of training, whichever comes first; its learning rate
follows what is done of that. A run that was killed goes on from its last state.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from solo import files
from solo.adapters.base import Method, check
from solo.backbones import gpt2
from solo.backbones import loading as backbone
from solo.runs import record
from solo.standin import corpus
from solo.standin.chunked_loss import head_cross_entropy
from solo.training import state as training_state

LOG, SUMMARY = "pretrain_log.jsonl", "pretraining.json"
NO_EFFECT = ("log_every", "save_seconds", "valid_windows")  # on the weights
SCHEDULES = ("cosine", "wsd")
Progress = Callable[[int, int, dict], None]


@dataclass(frozen=True)
class Recipe:
    """configs/pretrain says what each is for. Raises ValueError for what cannot be.

    It ends after `steps` or after `max_seconds`, whichever comes first; either may be None.
    """

    output_dir: str
    stand_in: str
    shape: dict[str, int]
    tokenizer: str | None
    vocab_size: int | None
    corpus_dir: str
    train_files: list[str]
    valid_files: list[str]
    steps: int | None
    max_seconds: float | None
    batch_size: int
    context: int
    lr: float
    warmup_steps: int
    schedule: str
    decay: float
    precision: str
    compile: bool
    log_every: int
    save_seconds: float
    valid_windows: int
    seed: int

    def __post_init__(self):
        check(
            self.steps is not None or self.max_seconds is not None,
            "pretrain.steps and pretrain.max_seconds are both null; set one, or both",
        )
        for name in ("steps", "max_seconds", "batch_size", "context", "log_every", "valid_windows"):
            value = getattr(self, name)
            check(value is None or value > 0, f"pretrain.{name} is {value}; it must be above 0")
        check(
            self.schedule in SCHEDULES,
            f"pretrain.schedule is {self.schedule!r}; known: {', '.join(SCHEDULES)}",
        )
        check(
            0 < self.decay <= 1,
            f"pretrain.decay is {self.decay}; the last share of training, above 0 and at most 1",
        )
        check(
            self.precision in ("fp32", "bf16"),
            f"pretrain.precision is {self.precision!r}; known: fp32, bf16",
        )
        positions = self.shape["n_positions"]
        check(
            self.context <= positions,
            f"pretrain.context is {self.context}; the shape has {positions} positions "
            "(n_positions)",
        )

    def done_share(self, step: int, seconds: float) -> float:
        """How much of the training lies behind step number `step` (from 0) at `seconds`, 0 to 1."""
        shares = [step / self.steps] if self.steps else []
        shares += [seconds / self.max_seconds] if self.max_seconds else []
        return min(1.0, max(shares))

    def learning_rate(self, step: int, done: float) -> float:
        """Linear warm-up over `warmup_steps`; then, by the share that is done of the training,

        cosine: down to a tenth of `lr`;
        wsd: `lr` (warm-up, stable, decay) until the last `decay` of it, there linearly down to 0.
        """
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.schedule == "cosine":
            return self.lr * warmup * (0.55 + 0.45 * math.cos(math.pi * done))
        return self.lr * warmup * min(1.0, (1 - done) / self.decay)


def new_model(shape: dict, tokenizer, seed: int, stand_in: str) -> GPT2LMHeadModel:
    """A randomly initialised GPT-2 of the given shape whose config says what it stands in for."""
    torch.manual_seed(seed)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        **shape,
        vocab_size=len(tokenizer),
        bos_token_id=end,
        eos_token_id=end,
    )
    config.stand_in = stand_in
    return GPT2LMHeadModel(gpt2.as_adapted(config))


def make_backbone(recipe: Recipe, cache_dir: Path, on_progress: Progress) -> dict:
    """Pretrain by `recipe` (configs/pretrain) into `output_dir`; returns what its summary says.

    The directory is in the hub's format, with SUMMARY (what it was trained on, validation loss,
    checksums) and LOG beside the weights. A finished one is left alone. Raises ValueError for a
    bad recipe, and if the directory holds a backbone of another.
    """
    out = Path(recipe.output_dir)
    if (out / SUMMARY).exists():
        summary = files.read_json(out / SUMMARY)
        check(
            summary["config"] == asdict(recipe),
            f"{out} holds a backbone of another recipe; set pretrain.output_dir=DIR",
        )
        return summary
    began = time.monotonic()
    folder = Path(recipe.corpus_dir)
    texts = [
        corpus.find_files(folder, getattr(recipe, f"{kind}_files")) for kind in ("train", "valid")
    ]
    if recipe.tokenizer:
        tokenizer = backbone.load_tokenizer(backbone.resolve(recipe.tokenizer))
    else:
        tokenizer = corpus.train_tokenizer(texts[0], recipe.vocab_size)
    streams = [corpus.token_stream(some, tokenizer, cache_dir) for some in texts]
    summary = {"config": asdict(recipe), "corpus_tokens": len(streams[0])}
    summary |= {"preparation_seconds": round(time.monotonic() - began, 1)}
    model = new_model(recipe.shape, tokenizer, recipe.seed, recipe.stand_in)
    summary |= pretrain(model, *streams, recipe, out, on_progress)
    model.cpu().save_pretrained(out)
    tokenizer.save_pretrained(out)
    summary |= {"sha256": backbone.fingerprint(model)}
    summary |= {"corpus": {path.name: files.file_sha256(path) for path in texts[0] + texts[1]}}
    files.write_json(out / SUMMARY, summary | record.environment())
    (out / training_state.STATE).unlink(missing_ok=True)
    return summary


def in_words(summary: dict) -> str:
    """What a summary says, in a line."""
    return (
        f"{summary['config']['output_dir']}: {summary['tokens_seen']:,} tokens seen in "
        f"{summary['seconds']:,.0f} s, validation loss {summary['valid_loss']:.3f} "
        f"(perplexity {math.exp(summary['valid_loss']):.1f})"
    )


def pretrain(
    model: GPT2LMHeadModel,
    train_stream: np.ndarray,
    valid_stream: np.ndarray,
    recipe: Recipe,
    directory: Path,
    on_progress: Progress = lambda done, total, info: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict:
    """Train `model` in place; returns {"steps", "tokens_seen", "seconds", "valid_loss"} (nats).

    Writes LOG in `directory`, a line per `log_every` steps and per validation, and every
    `save_seconds` a validation and the state from which a later call goes on, bit for bit; what a
    kill cost is not counted. Progress is reported in steps where they end the training, else in
    seconds. Raises ValueError if a stream is shorter than one window or the state is of another
    recipe, FloatingPointError if the loss stops being finite.
    """
    for name, stream in (("training", train_stream), ("validation", valid_stream)):
        check(
            len(stream) > recipe.context,
            f"the {name} text has {len(stream)} tokens; one window needs "
            f"pretrain.context + 1 = {recipe.context + 1}",
        )
    model.to(backbone.device()).train()
    optimizer = _optimizer(model, recipe)
    decides = {k: v for k, v in asdict(recipe).items() if k not in NO_EFFECT}
    identity = files.config_hash([decides, len(train_stream)])
    state = directory / training_state.STATE
    step, before = _resume(state, model, optimizer, identity)
    log = files.Log(directory / LOG)
    log.keep_until(step)
    advance = _step(model, optimizer, recipe)
    per_step = recipe.batch_size * recipe.context
    began = saved = now = clock()
    logged = (step, time.monotonic())  # where tokens_per_s counts from

    def write(**entry) -> None:
        name, value = next(iter(entry.items()))
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value} at step {step}; lower pretrain.lr")
        log.write({"step": step, "tokens": step * per_step, "seconds": round(seconds, 1)} | entry)

    while True:
        seconds = before + now - began
        done = recipe.done_share(step, seconds)
        if now - saved >= recipe.save_seconds or done >= 1:
            valid = validation_loss(model, valid_stream, recipe)
            write(valid_loss=valid, valid_ppl=math.exp(valid))
            if done >= 1:
                break
            counters = {"step": step, "seconds": seconds, "identity": identity}
            _save(state, model, optimizer, counters)
            saved = now
        rate = recipe.learning_rate(step, done)
        rows = corpus.windows(train_stream, recipe.batch_size, recipe.context, [recipe.seed, step])
        loss = advance(rows, rate)
        step += 1
        if step % recipe.log_every == 0 or step == recipe.steps:
            value, passed = loss.item(), time.monotonic() - logged[1]  # item waits for the device
            speed = round((step - logged[0]) * per_step / passed)
            logged = (step, time.monotonic())
            write(loss=value, lr=rate, tokens_per_s=speed)
            total = (step, recipe.steps) if recipe.steps else (seconds, recipe.max_seconds)
            on_progress(*map(int, total), {"loss": f"{value:.3f}", "tokens/s": speed})
        now = clock()
    return {
        "steps": step,
        "tokens_seen": step * per_step,
        "seconds": round(seconds, 1),
        "valid_loss": valid,
    }


def _step(model: GPT2LMHeadModel, optimizer, recipe: Recipe) -> Callable:
    """A function (windows (B, context + 1), rate) -> loss that makes one step.

    The trunk alone is compiled: the head is a few large products, whose loss goes chunk by chunk.
    """

    def trunk(ids: torch.Tensor) -> torch.Tensor:
        return model.transformer(ids, use_cache=False).last_hidden_state  # (B, context, d)

    forward = torch.compile(trunk) if recipe.compile else trunk
    low = recipe.precision == "bf16"
    dtype = torch.bfloat16 if low else torch.float32

    def advance(rows: torch.Tensor, rate: float) -> torch.Tensor:
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = rows.to(model.device, non_blocking=True)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=low):
            hidden = forward(rows[:, :-1])
        loss = head_cross_entropy(
            hidden.flatten(0, 1), model.lm_head.weight, rows[:, 1:].flatten(), dtype
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return advance


def _optimizer(model: GPT2LMHeadModel, recipe: Recipe) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.95), fused=True)


def _whole(model: GPT2LMHeadModel) -> Method:
    """The whole model as something that is trained: its state is saved as any other's."""
    return Method(dict(model.named_parameters()))


def _save(path: Path, model, optimizer, counters: dict) -> None:
    random = {kind: state[None] for kind, state in training_state.random_state().items()}
    training_state.save_state(path, _whole(model), optimizer, counters, random)


def _resume(path: Path, model, optimizer, identity: str) -> tuple[int, float]:
    """(steps, seconds) behind the saved state, which is loaded; zeros where there is none."""
    if not path.exists():
        return 0, 0.0
    counters = training_state.read_counters(path)
    check(
        counters["identity"] == identity,
        f"{path} is the state of another recipe or corpus; delete it, or set "
        "pretrain.output_dir=DIR",
    )
    training_state.load_state(path, _whole(model), optimizer)
    return counters["step"], counters["seconds"]


@torch.no_grad()
def validation_loss(model: GPT2LMHeadModel, stream: np.ndarray, recipe: Recipe) -> float:
    """Mean loss (nats, fp32) over at most `valid_windows` windows spread over the stream."""
    model.eval()
    rows = corpus.spread_windows(stream, recipe.valid_windows, recipe.context)
    total = 0.0
    for some in rows.split(recipe.batch_size):
        some = some.to(model.device)
        hidden = model.transformer(some[:, :-1], use_cache=False).last_hidden_state
        targets, weight = some[:, 1:].flatten(), model.lm_head.weight
        mean = head_cross_entropy(hidden.flatten(0, 1), weight, targets, torch.float32)
        total += mean.item() * len(some)
    model.train()
    return total / len(rows)
