"""The scores of WebNLG, all, seen and unseen categories, as LoRA's recipe has them by
GenerationEval (WebNLG/GenerationEval, commit 8067849; eval.py -nr 6 -m bleu,meteor,chrf++,ter).

Texts are lower-cased and tokenised first (eval/metrics/apart.py), with six references at most.
BLEU is that of its multi-bleu-detok.perl, which tokenises as mteval-v13a; METEOR 1.5 is that of the
E2E scores on other tokens; TER is pyter3's; chrF++ is the mean of the F-scores of the orders, not
the F-score of their means.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from . import chrf, meteor
from .apart import nltk_words
from .metric import Corpus, Measured, Metric, Part
from .mteval import matches, tokenize
from .ter import edits
from .texts import Texts

ORDER = 4
SEEN = frozenset(  # the categories of the training set
    "Airport Astronaut Building City ComicsCharacter Food Monument SportsTeam University "
    "WrittenWork".split()
)
TOKENS = "lc,nrefs:6,tok:lora"


def _words(texts: Texts) -> list[Corpus]:
    return [
        (list(map(nltk_words, hypotheses)), [list(map(nltk_words, group)) for group in references])
        for hypotheses, references in texts.apart
    ]


def measure_bleu(texts: Texts) -> list[Measured]:
    cache: dict = {}
    measured = []
    for hypotheses, references in texts.apart:
        counted = matches(hypotheses, references, cache)
        empty = np.array([not text for text in hypotheses])  # mteval takes it for one word
        length = np.where(empty, 0, counted.length)
        closest = _closest(length, counted.closest, references)
        totals = np.maximum(length[:, None] - np.arange(ORDER), 0)
        hits = np.where(empty[:, None], 0, counted.hits[:, :ORDER])
        measured.append(_measured("BLEU", np.column_stack([length, closest, totals, hits]), bleu))
    return measured


def _closest(
    length: np.ndarray, of_mteval: np.ndarray, references: Sequence[Sequence[str]]
) -> np.ndarray:
    """The length of the closest reference, an empty one having none, in mteval one word."""
    closest = of_mteval.copy()
    for i, group in enumerate(references):
        if not all(group):
            lengths = [len(tokenize(text)) if text else 0 for text in group]
            closest[i] = min(lengths, key=lambda words: (abs(words - length[i]), words))
    return closest


def bleu(sums: np.ndarray, segments: np.ndarray) -> np.ndarray:
    length, closest, totals, hits = sums[:, 0], sums[:, 1], sums[:, 2 : 2 + ORDER], sums[:, -ORDER:]
    with np.errstate(divide="ignore", invalid="ignore"):
        penalty = np.minimum(1.0, np.exp(1 - closest / length))
        precision = np.where(hits > 0, hits / totals, 0)  # without a match of some order it is 0
        return np.nan_to_num(penalty * np.exp(np.log(precision).mean(1)))


def measure_ter(texts: Texts) -> list[Measured]:
    """The mean over segments of the least edits per word of a reference."""
    corpora = _words(texts)
    splits = {t: t.split() for h, groups in corpora for part in (h, *groups) for t in part}
    pairs = list(
        dict.fromkeys(
            (text, reference)
            for corpus in corpora
            for text, group in zip(*corpus, strict=True)
            for reference in group
            if splits[reference]
        )
    )
    counted = edits([(splits[text], splits[reference]) for text, reference in pairs])
    rate = {
        pair: count / len(splits[pair[1]])
        for pair, count in zip(pairs, counted.tolist(), strict=True)
    }
    measured = []
    for corpus in corpora:
        # an empty reference counts as wholly wrong, as in GenerationEval
        rates = [
            min(rate.get((text, reference), 1.0) for reference in group)
            for text, group in zip(*corpus, strict=True)
        ]
        measured.append(_measured("TER", np.column_stack([np.ones(len(rates)), rates]), ter))
    return measured


def ter(sums: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """The mean over the segments that count, which the first column counts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(sums[:, 1] / sums[:, 0])


def measure_chrf(texts: Texts) -> list[Measured]:
    return chrf.measured(texts.apart, chrf.EPSILON_SCORER, chrf.mean_of_f)


def _measured(name: str, rows: np.ndarray, from_sums: Callable) -> Measured:
    rows = rows.astype(float)
    ones = np.ones(len(rows))
    return Measured(
        float(from_sums(rows.sum(0)[None], ones)[0]), rows, {name: from_sums(rows, ones)}
    )


def _of_part(metric: Metric, name: str, takes: Callable[[str], bool]) -> Metric:
    return replace(
        metric,
        name=metric.name.replace("all", name),
        title=metric.title.replace("all", name),
        part=Part(metric.name, name, takes),
    )


def _metric(name: str, title: str, **fields) -> Metric:
    return Metric(name=f"{name} all", title=f"{title} (all)", scale=100, digits=2, **fields)


_COUNTS = ("words", "reference words", *(f"{n}-grams" for n in range(1, ORDER + 1)))
WHOLE = (
    _metric(
        "BLEU",
        "BLEU",
        limits=(0, 1),
        signature=f"4-gram,{TOKENS}+13a,smooth:none",
        columns=(*_COUNTS, *(f"{n}-gram matches" for n in range(1, ORDER + 1))),
        from_sums=bleu,
        measure=measure_bleu,
        optional=False,
    ),
    _metric(
        "METEOR",
        "METEOR",
        limits=(0, 1),
        signature=f"1.5,en,norm,{TOKENS}+nltk",
        columns=meteor.METRIC.columns,
        from_sums=meteor.from_sums,
        measure=meteor.measure,
        prepare=lambda texts: meteor.begin(_words(texts), texts.background),
        packages=meteor.METRIC.packages,
        optional=False,
    ),
    _metric(
        "TER",
        "TER",
        limits=(0, float("inf")),
        signature=f"pyter3-0.3,{TOKENS}+nltk",
        columns=("segments", "edits per word"),
        from_sums=ter,
        measure=measure_ter,
        optional=False,
        lower_is_better=True,
    ),
    _metric(
        "chrF",
        "chrF++",
        limits=(0, 1),
        signature=f"nc:6,nw:2,eps:yes,space:no,{TOKENS}",
        columns=chrf.METRIC.columns,
        from_sums=lambda sums, segments: chrf.mean_of_f(sums),
        measure=measure_chrf,
        packages=("sacrebleu",),
        optional=False,
    ),
)


def is_seen(category: str) -> bool:
    return category in SEEN


def is_unseen(category: str) -> bool:
    return category not in SEEN


def _with_parts(metrics: Sequence[Metric]) -> list[Metric]:
    """Each for all categories, for the seen and for the unseen ones."""
    return [
        of
        for metric in metrics
        for of in (
            metric,
            _of_part(metric, "seen", is_seen),
            _of_part(metric, "unseen", is_unseen),
        )
    ]


METRICS = _with_parts(WHOLE)
