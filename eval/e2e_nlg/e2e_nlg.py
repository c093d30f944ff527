"""The E2E scores as a metric of Hugging Face's evaluate: evaluate.load("eval/e2e_nlg"), or, where
the package is installed, evaluate.load(e2e_score.METRIC).

predictions: texts. references: for each prediction a list of texts (or one text). compute()
returns BLEU, NIST, METEOR, ROUGE_L and CIDEr on the official script's scale, and chrF (chrF++);
compute(mrs=[...]) with the E2E MR of each prediction also the slot error rate, SER, and its parts.
"""

import importlib
import json
import sys
from pathlib import Path

import datasets
import evaluate


def _score():
    """The function `score` of the package that this file belongs to, in a checkout or installed.

    evaluate runs a copy of this file and leaves the original's path in a JSON file beside it.
    """
    package = Path(__file__).resolve().parent.parent
    origin = Path(__file__).with_suffix(".json")
    if origin.is_file():
        path = json.loads(origin.read_text(encoding="utf-8"))["original file path"]
        package = Path(path).resolve().parent.parent
    if str(package.parent) not in sys.path:
        sys.path.append(str(package.parent))
    return importlib.import_module(f"{package.name}.score").score


class E2ENLG(evaluate.Metric):
    """BLEU, NIST, METEOR, ROUGE-L and CIDEr as the E2E challenge computes them, and chrF++."""

    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description=__doc__,
            features=[
                datasets.Features({"predictions": text, "references": datasets.List(text)}),
                datasets.Features({"predictions": text, "references": text}),
            ],
        )

    def _compute(self, predictions, references, mrs=None):
        groups = [[group] if isinstance(group, str) else group for group in references]
        return _score()(predictions, groups, mrs)
