"""Score the E2E adapter that LoRA's authors published: scripts/checks/lora_release.py FILE.pt

The one end-to-end check with a known answer: gpt2_md_lora_e2e.pt (1.5 MB), from
https://github.com/microsoft/LoRA/releases/tag/GPT-2, goes onto openai-community/gpt2-medium through
this project's own LoRA; the E2E test set is decoded and scored. Writes predictions.tsv and
metrics.json.

Expected of that file: BLEU 0.704 +- 0.001 (README of microsoft/LoRA, GPT-2 M; a user of the file
found the published scores once the backbone was loaded as well, issue 138 there). Users who trained
it anew by the recipe report less (issue 165):
  BLEU 0.6865 to 0.6887, NIST 8.68 to 8.69, METEOR 0.464 to 0.465, ROUGE_L 0.712 to 0.714,
  CIDEr 2.50 to 2.51

The file's layout (loralib: MergedLinear with enable_lora [True, False, True]): in every block,
attn.c_attn.lora_A (2r, d) holds the query's A above the value's, lora_B (2d, r) the two Bs alike.
"""

import argparse
import pickle
import re
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from eval.command import ending
from eval.metrics import METRICS
from eval.score import score_files
from solo import files
from solo.adapters.lora import Config, Lora
from solo.backbones import loading as backbone
from solo.cli.command import RESULTS, one_line_errors, plain_parser, progress_bar
from solo.datasets import data
from solo.datasets.download import e2e_dir
from solo.decoding.recipe import BeamConfig
from solo.run_files import PREDICTIONS
from solo.runs import stages
from solo.tensors import copy_strictly

PUBLISHED = 0.704  # BLEU
KEY = re.compile(r"(?:module\.)?(?:transformer\.)?h\.(\d+)\.attn\.c_attn\.lora_([AB])")
GPT2_M_SHAPE = (24, 1024)


def read_release(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a published file, by its own names; nothing but tensors is unpickled.

    Raises FileNotFoundError, or ValueError for a file that is not such a checkpoint.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path} not found; download gpt2_md_lora_e2e.pt from the releases of microsoft/LoRA"
        )
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is no PyTorch file of tensors ({reason}); fetch it again"
        ) from None
    saved = saved.get("model_state_dict", saved) if isinstance(saved, dict) else saved
    if not isinstance(saved, dict) or not all(torch.is_tensor(t) for t in saved.values()):
        raise ValueError(f"{path} holds no dictionary of tensors, which loralib's files do")
    return saved


def our_parameters(saved: dict[str, torch.Tensor], d: int, rank: int) -> dict[str, torch.Tensor]:
    """A published file's tensors under the names of solo/adapters/lora.py: query and value apart.

    saved: A (2r, d) and B (2d, r) of each block. d: the backbone's width. Raises ValueError for a
    key or a shape that does not fit; it names both.
    """
    ours = {}
    for key, tensor in saved.items():
        match = KEY.fullmatch(key)
        if not match:
            raise ValueError(
                f"unexpected tensor {key!r}; LoRA's file has h.BLOCK.attn.c_attn.lora_A and .lora_B"
            )
        block, kind = match[1], match[2].lower()
        wanted = (2 * rank, d) if kind == "a" else (2 * d, rank)
        if tuple(tensor.shape) != wanted:
            found = tensor.shape[0] // 2 if kind == "a" else tensor.shape[-1]
            raise ValueError(
                f"{key} has shape {tuple(tensor.shape)}, for rank {rank} on a width of {d} it is "
                f"{wanted}; the file's rank looks like {found}: set --rank and --model to its own"
            )
        query, value = tensor.float().chunk(2)
        ours |= {f"{int(block)}.q_{kind}": query, f"{int(block)}.v_{kind}": value}
    return ours


def attach_release(model, path: Path, rank: int, alpha: float) -> None:
    """Put a published file onto `model` with LoRA's own scale, alpha / rank."""
    ours = our_parameters(read_release(path), model.config.n_embd, rank)
    config = Config(rank=rank, alpha=alpha, dropout=0.0)
    attached = Lora.attach(model, config, seed=0)
    try:
        copy_strictly(ours, attached.parameters, path)
    except ValueError:
        attached.detach()
        raise


def load(args: argparse.Namespace):
    """(model, tokenizer) with the adapter on; the file is read before the backbone."""
    read_release(args.checkpoint)
    directory = backbone.resolve(args.model)
    model = backbone.load_backbone(directory)
    attach_release(model, args.checkpoint, args.rank, args.alpha)
    return model.to(backbone.device()).eval(), backbone.load_tokenizer(directory)


def main() -> None:
    parser = plain_parser(__doc__)
    default = e2e_dir() / "lora_format/test.txt"
    parser.add_argument("checkpoint", type=Path, help="gpt2_md_lora_e2e.pt")
    parser.add_argument("--model", default="openai-community/gpt2-medium", help="hub name or DIR")
    parser.add_argument("--rank", type=int, default=4, help="its rank (default: 4)")
    parser.add_argument("--alpha", type=float, default=32.0, help="its alpha (default: 32)")
    parser.add_argument("--test", type=Path, default=default, help="test set (default: E2E's)")
    parser.add_argument("--beam", type=int, default=10, help="beam (default: 10, the recipe's)")
    parser.add_argument("--out", type=Path, default=RESULTS / "lora_release", help="where to")
    args = parser.parse_args()
    with one_line_errors():
        settings = BeamConfig(beam=args.beam)
        prompts = data.read_prompts(args.test)
        model, tokenizer = load(args)
        with progress_bar("decode", "MR") as report:
            contexts = [context for _, context in prompts]
            texts = stages.generate(model, tokenizer, contexts, settings, report)
        output = args.out / PREDICTIONS
        stages.write_predictions(output, list(zip([mr for mr, _ in prompts], texts, strict=True)))
        scores = score_files(args.test, [output])[0].scores
        source = {"checkpoint_sha256": files.file_sha256(args.checkpoint), "model": args.model}
        files.write_json(args.out / "metrics.json", scores | {"source": source})
    for name in METRICS:
        if name in scores:  # a test set of one's own need not have MRs of E2E
            print(f"{name:8} {scores[name]:.4f}")
    if (model.config.n_layer, model.config.n_embd) == GPT2_M_SHAPE:
        print(f"published: BLEU {PUBLISHED}, difference {scores['BLEU'] - PUBLISHED:+.4f}")
    ending([args.out])


if __name__ == "__main__":
    main()
