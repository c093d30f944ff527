"""Where does "BLEU 0.0 and no recovery" of the paper's Table 6 come from?

  python scripts/checks/collapse.py --backbone standin12 --steps 500 --out results/collapse
  python scripts/checks/collapse.py --backbone random --steps 60 --out results/collapse

Solo in the development code's variant (r=128, s=0.4) trains on E2E in fp32, with lambda or without;
under the development code's mask (a permutation of 0 ... n-1, which multiplies weights) or the
paper's (zeros and ones); with v random or from zero; and with torch's LayerNorm, or one in plain
arithmetic as the development code has it. In that one the square of an activation above 1e19 is
infinite, the quotient zero, and so is every gradient behind it.

  python scripts/checks/collapse.py --summary --out results/collapse     table.md and a picture

Written for each: NAME.jsonl with, for every step, the loss, the largest activation that the last
LayerNorm sees, the share of its outputs that are only its bias, and the norm of the gradients.
`random` is a random model of GPT-2 S's width and depth, for the scale of things alone.
"""

import json
import math
import re
import sys
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from eval.command import ending
from eval.markdown import table
from eval.tables import style
from eval.tables.style import plt, save
from solo.adapters import make_config
from solo.backbones import loading
from solo.cli.command import ROOT, one_line_errors, plain_parser, progress_bar
from solo.datasets.data import load_examples
from solo.datasets.download import e2e_dir
from solo.files import read_json_lines, write_output, write_text
from solo.training.batches import batches_from
from solo.training.loss import training_loss
from solo.training.recipe import TrainConfig, learning_rate, make_optimizer, set_step

STANDIN = ROOT / "data/backbones/standin12"
SOLO = {"name": "solo", "variant": "devcode", "rank": 128, "sparsity": 0.4}
CASES = {
    "lambda": {"homotopy": True},  # Table 6, case 1
    "no-lambda": {"homotopy": False},  # case 2
}
STARTS = {"v-random": {"vector_init": "normal"}, "v-zero": {"vector_init": "zeros"}}
MASKS = {"permutation": {"mask": "permutation"}, "zeros-and-ones": {"mask": "random"}}
NORMS = ("torch", "plain")


class PlainLayerNorm(nn.Module):
    """LayerNorm by its formula, one operation after the other, in the dtype of x."""

    def __init__(self, like: nn.LayerNorm):
        super().__init__()
        self.weight, self.bias, self.eps = like.weight, like.bias, like.eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.pow(2).mean(-1, keepdim=True)  # infinite from some 1e19 on
        return self.weight * (centred / torch.sqrt(variance + self.eps)) + self.bias


def backbone(name: str, norm: str) -> GPT2LMHeadModel:
    """A frozen GPT-2 in eval mode whose LayerNorms are torch's or plain."""
    if name == "standin12":
        model = loading.load_backbone(STANDIN)
    else:
        torch.manual_seed(1)
        shape = GPT2Config.from_pretrained(STANDIN)
        shape.update({"n_embd": 768, "n_head": 12, "n_inner": None})
        model = GPT2LMHeadModel(shape).eval()
    if norm == "plain":
        for module in list(model.modules()):
            for child, part in module.named_children():
                if isinstance(part, nn.LayerNorm):
                    setattr(module, child, PlainLayerNorm(part))
    return model


def observed(model: GPT2LMHeadModel) -> dict[str, float]:
    """Filled at every pass: what the last LayerNorm saw, and what it made of it."""
    seen = {}

    def look(module, args, output) -> None:
        seen["largest_activation"] = args[0].detach().abs().max().item()
        only_bias = (output.detach() == module.bias).all(-1)
        seen["share_only_bias"] = only_bias.float().mean().item()

    model.transformer.ln_f.register_forward_hook(look)
    return seen


def trained(model, options: dict, examples: list, config: TrainConfig, report) -> list[dict]:
    """A line for each step; the loop of solo/training/loop.py without what stops it at a NaN."""
    seen = observed(model)
    method, of_method = make_config(options)
    attached = method.attach(model, of_method, 1)
    optimizer = make_optimizer(attached, config)
    total, lines = config.max_steps, []
    with training_loss(model, config, [attached], total) as summed_losses:
        for step, batch in enumerate(batches_from(examples, config.batch_size, 1, 0, total), 1):
            model.train()
            set_step(optimizer, step, learning_rate(step - 1, total, config), config)
            loss = summed_losses([batch]).sum() / sum(example.n_targets for example in batch)
            loss.backward()
            norms = [p.grad.norm() for p in attached.parameters.values() if p.grad is not None]
            gradient = torch.stack(norms).norm().item()
            lines.append({"step": step, "loss": loss.item(), "gradient": gradient} | seen)
            optimizer.step()
            attached.after_step(step)
            optimizer.zero_grad()
            report(step, total, {"loss": f"{loss.item():.3f}"})
            if not torch.isfinite(loss):
                break
    return lines


def outcome(lines: list[dict], vocab_size: int) -> str:
    """What became of a run, in words."""
    last = lines[-1]
    dead = [line["step"] for line in lines if line["share_only_bias"] == 1.0]
    words = []
    if dead:
        since = next(step for step in dead if set(range(step, dead[-1] + 1)) <= set(dead))
        words.append(
            f"from step {since} on the last LayerNorm gives its bias alone: loss "
            f"{lines[since - 1]['loss']:.3f} (ln V = {math.log(vocab_size):.3f}), gradient "
            f"{lines[since - 1]['gradient']:.3g}"
        )
    if not math.isfinite(last["loss"]):
        words.append(f"NaN at step {last['step']}")
    return "; ".join(words) or f"no collapse: loss {last['loss']:.3f} after step {last['step']}"


def summary(folder: Path) -> str:
    """A Markdown table of all runs in a folder."""
    head = ("backbone", "lambda", "v starts", "mask", "LayerNorm", "largest activation", "outcome")
    rows = []
    for path in sorted(folder.glob("*.jsonl")):
        lines, vocab_size = read_json_lines(path), GPT2Config.from_pretrained(STANDIN).vocab_size
        name, _, rest = path.stem.partition("-")
        case = "no" if rest.startswith("no-") else "yes"
        start, mask, norm = re.search(r"v-(\w+)-(.+)-(\w+)$", rest).groups()
        largest = max(x["largest_activation"] for x in lines if x["largest_activation"] < math.inf)
        cells = (name, case, start, mask, norm, f"{largest:.1e}", outcome(lines, vocab_size))
        rows.append(cells)
    return "\n".join(table(head, rows, "lllllrl")) + "\n"


def picture(folder: Path):
    """The largest activation over the steps; where its square overflows.

    A case has one look in both panels; the LayerNorm in plain arithmetic is dashed.
    """
    paths = {name: sorted(folder.glob(f"{name}-*.jsonl")) for name in ("random", "standin12")}
    names = {path: _name(path) for of_backbone in paths.values() for path in of_backbone}
    cases = sorted({case for case, _ in names.values()})
    looks = dict(zip(cases, style.looks(cases), strict=True))
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained", sharey=True)
    titles = ("random weights, 12 x 768", "standin12, 12 x 192")
    handles = {}
    for axis, title, of_backbone in zip(axes, titles, paths.values(), strict=True):
        for path in of_backbone:
            lines, (case, norm) = read_json_lines(path), names[path]
            steps = [line["step"] for line in lines]
            look = looks[case]
            [handles[f"{case}, {norm} LayerNorm"]] = axis.plot(
                steps, [line["largest_activation"] for line in lines], color=look.colour,
                linestyle="-" if norm == "torch" else (0, (4, 3)), marker=look.marker,
                markevery=(0 if norm == "torch" else 0.05, 0.1), markersize=5,
            )  # fmt: skip
        limit = torch.finfo(torch.float32).max ** 0.5
        handles["above it the square is infinite"] = axis.axhline(
            limit, color=style.INK, linestyle=":"
        )
        axis.set(title=title, xlabel="step", yscale="log")
    axes[0].set_ylabel("largest activation")
    ordered = dict(sorted(handles.items()))
    style.legend(figure, ordered.values(), ordered)
    return figure


def _name(path: Path) -> tuple[str, str]:
    """(case in words, LayerNorm) of a file such as random-no-lambda-v-zero-permutation-plain."""
    case, start, mask, norm = re.fullmatch(
        r"[^-]+-(lambda|no-lambda)-v-(\w+)-(.+)-(\w+)", path.stem
    ).groups()
    return f"{case.replace('-', ' ')}, v {start}, mask {mask.replace('-', ' ')}", norm


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--backbone", choices=["standin12", "random"], default="standin12")
    parser.add_argument("--steps", type=int, default=500, help="of the full recipe (default: 500)")
    parser.add_argument("--lr", type=float, default=2e-4, help="LoRA's, and the paper's set-up")
    parser.add_argument("--only", default="", help="names that hold this text")
    parser.add_argument("--summary", action="store_true", help="of what is there, and no more")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    args = parser.parse_args()
    if args.summary:
        write_text(args.out / "table.md", summary(args.out))
        write_output(args.out / "activations.png", lambda path: save(picture(args.out), path))
        ending([args.out / "table.md", args.out / "activations.png"])
        return
    logging.set_verbosity_error()
    torch.set_flush_denormal(True)  # numbers of 1e-40 take a hundred times as long
    with one_line_errors():
        tokenizer = loading.load_tokenizer(STANDIN)
        examples = load_examples(e2e_dir() / "trainset.csv", tokenizer, 256, "e2e", len(tokenizer))
        config = TrainConfig(lr=args.lr, max_steps=args.steps, packed=False)
        for case, start, mask, norm in product(CASES, STARTS, MASKS, NORMS):
            name = f"{args.backbone}-{case}-{start}-{mask}-{norm}"
            out = args.out / f"{name}.jsonl"
            if args.only not in name or out.exists():
                continue
            options = SOLO | CASES[case] | STARTS[start] | MASKS[mask]
            with progress_bar(name) as report:
                lines = trained(backbone(args.backbone, norm), options, examples, config, report)
            write_text(out, "".join(json.dumps(line) + "\n" for line in lines))
    ending([args.out], f"python scripts/checks/collapse.py --summary --out {args.out}")


if __name__ == "__main__":
    main()
