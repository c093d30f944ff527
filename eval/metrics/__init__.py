"""The registry of metrics, in the order in which they are printed.

A new metric is a file here with its METRIC, and a line in the list below: the scorer, the kept
statistics, the bootstrap, the tables and the pictures all read it.
"""

from . import bleu, chrf, cider, meteor, nist, rouge_l, slot_errors
from .metric import Metric

# The five of the official E2E script in its order, then others.
METRICS: dict[str, Metric] = {
    module.METRIC.name: module.METRIC
    for module in (bleu, nist, meteor, rouge_l, cider, chrf, slot_errors)
}
