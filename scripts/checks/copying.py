"""Does a run copy? What of the MR its outputs have, and tokens that its model has just seen.

  python scripts/checks/copying.py RUN_DIRECTORY ... [--out FILE]

Per run: of the MRs with a name (a place nearby), how many outputs have it to the letter; different
outputs; and, for random tokens given twice in a row, the mean loss in nats the first and the second
time, and how often the likeliest token is the right one the second time. A model whose attention
copies (induction heads) has a second loss near 0, one that does not the first loss again.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from eval.command import ending
from eval.formats import read_hypotheses
from eval.markdown import table
from solo import files
from solo.cli.command import one_line_errors, plain_parser
from solo.run_files import PREDICTIONS
from solo.runs.run import open_run
from solo.runs.stages import load_model

SLOTS = ("name", "near")
SEQUENCES, LENGTH, SEED = 16, 64, 0  # random tokens, each sequence given twice


def copied(outputs: list[tuple[str, str]], slot: str) -> tuple[int, int]:
    """(outputs with the slot's value in them, MRs that have it); an MR is `slot : value | ...`."""
    values = []
    for mr, output in outputs:
        parts = dict(part.strip().split(" : ", 1) for part in mr.split(" | "))
        values += [(parts[slot], output)] if slot in parts else []
    return sum(value in output for value, output in values), len(values)


@torch.no_grad()
def repeat_losses(model, ids: torch.Tensor) -> tuple[float, float, float]:
    """(loss the first time, the second, share of right likeliest tokens the second time).

    ids: (sequences, length), given to the model twice in a row. The first token of either time is
    not counted: nothing in front of it tells which it is.
    """
    length = ids.shape[1]
    twice = torch.cat([ids, ids], 1)
    log_p = model(twice).logits[:, :-1].float().log_softmax(-1)
    losses = -log_p.gather(-1, twice[:, 1:, None])[..., 0]
    right = (log_p.argmax(-1) == twice[:, 1:])[:, length:].double().mean()
    return losses[:, : length - 1].mean().item(), losses[:, length:].mean().item(), right.item()


def line(run_dir: Path) -> list[str]:
    """The table line of a run. Raises what reading a run raises."""
    run = open_run(run_dir)
    read = read_hypotheses(run.decoding / PREDICTIONS, [])
    outputs = list(zip(read.sources, read.texts, strict=True))
    model, _, _ = load_model(run.config.model, run_dir)
    random = torch.Generator().manual_seed(SEED)
    ids = torch.randint(model.config.vocab_size, (SEQUENCES, LENGTH), generator=random)
    first, second, right = repeat_losses(model, ids.to(model.device))
    shares = [f"{100 * n / total:.1f} %" for n, total in (copied(outputs, s) for s in SLOTS)]
    cells = [run_dir.name, *shares, f"{len({text for _, text in outputs})} of {len(outputs)}"]
    cells += [f"{first:.2f}", f"{second:.2f}", f"{100 * right:.1f} %"]
    return cells


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, help="write the table here (default: print only)")
    parser.add_argument("--force", action="store_true", help="replace any file there")
    args = parser.parse_args()
    head = ["run", *(f"{slot} copied" for slot in SLOTS), "different outputs"]
    head += ["loss, first time", "second time", "right, second time"]
    with one_line_errors():
        if args.out:
            files.check_output(args.out, args.runs, args.force)
        lines = table(head, map(line, args.runs), "l" + "r" * (len(head) - 1))
        if args.out:
            files.write_output(args.out, "\n".join(lines) + "\n")
    print("\n".join(lines))
    ending(filter(None, [args.out]))


if __name__ == "__main__":
    main()
