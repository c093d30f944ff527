"""The registries of metrics, in the order in which they are printed.

A new metric is a file here with its METRIC, and a line in the list below: the scorer, the kept
statistics, the bootstrap, the tables and the pictures all read it. Data sets with other scores have
a registry of their own; SETS names all, and a data set says which is its.
"""

from collections import ChainMap
from collections.abc import Mapping

from . import bleu, chrf, cider, meteor, nist, rouge_l, slot_errors, webnlg
from .metric import Metric

# The five of the official E2E script in its order, then others.
METRICS: dict[str, Metric] = {
    module.METRIC.name: module.METRIC
    for module in (bleu, nist, meteor, rouge_l, cider, chrf, slot_errors)
}
SETS: dict[str, dict[str, Metric]] = {
    "e2e": METRICS,
    "webnlg": {metric.name: metric for metric in webnlg.METRICS},
}
# By name, whatever the set: names are unique.
ALL: Mapping[str, Metric] = ChainMap(*reversed(SETS.values()))
