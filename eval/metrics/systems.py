"""The five E2E scores of systems: lists of texts in, numbers out.

Equal to the official script, ``measure_scores.py -p`` of tuetschek/e2e-metrics.
"""

import gc
import gzip
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from eval.metrics.captions import rouge_and_cider
from eval.metrics.java import jar
from eval.metrics.lexicon import paraphrases, read_paraphrases
from eval.metrics.meteor import PARAPHRASES, Corpus, Scores, meteor, prepare
from eval.metrics.mteval import bleu, corpus_of, nist, segment_scores
from eval.metrics.ptb import tokenize_corpora
from eval.metrics.statistics import fill, mteval_rows

METRICS = ("BLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr")
SEGMENT_METRICS = ("BLEU", "sentBLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr")

Report = Callable[[int, int], None]  # (systems done, of how many)


@dataclass(frozen=True)
class Result:
    """scores: METRICS of a system; segments: SEGMENT_METRICS of each of its segments, if asked;
    statistics: what the scores are made of, a row a segment (:mod:`eval.metrics.statistics`)."""

    scores: dict[str, float]
    segments: list[dict[str, float]]
    statistics: np.ndarray


@contextmanager
def _without_collector() -> Iterator[None]:
    """A million n-grams and no cycles: the garbage collector would take half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
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


def score_systems(
    corpora: Sequence[Corpus],
    by_segment: bool = False,
    report: Report = lambda done, total: None,
) -> list[Result]:
    """The scores of any number of systems, each a pair (hypotheses, references).

    What systems share, such as references and the Java processes, is paid once. Arguments and
    errors of each as in :func:`score`.
    """
    for corpus in corpora:
        _check(*corpus)
    path, (cache, caption_cache) = jar(PARAPHRASES), ({}, {})
    # One thread does everything beside METEOR in this order, so that METEOR waits least.
    with _without_collector(), ThreadPoolExecutor(1) as background:
        table = background.submit(read_paraphrases, path)

        def pick(texts: set[str]) -> Callable[[], bytes]:
            def picked() -> bytes:
                return gzip.compress(paraphrases(table.result(), texts), 1)

            return background.submit(picked).result

        tokenized = tokenize_corpora(corpora)
        for _, references in tokenized:
            if not any(text for group in references for text in group):
                raise ValueError("no reference has a word in it; check the references")
        job = prepare(tokenized, pick)
        # METEOR takes longest. It runs in this thread, so that an interrupt ends it at once.
        jobs = [
            (
                background.submit(_mteval, *corpus, by_segment, cache),
                background.submit(rouge_and_cider, *tokens, caption_cache),
            )
            for corpus, tokens in zip(corpora, tokenized, strict=True)
        ]
        return [
            _result(of_meteor, mteval.result(), captions.result())
            for of_meteor, (mteval, captions) in zip(meteor(job, report), jobs, strict=True)
        ]


def _mteval(hypotheses, references, by_segment: bool, cache: dict) -> tuple:
    corpus = corpus_of(hypotheses, references, cache)
    scores = {"BLEU": bleu(corpus), "NIST": nist(corpus)}
    rows = segment_scores(hypotheses, references) if by_segment else []
    return scores, rows, mteval_rows(corpus)


def _result(of_meteor: Scores, mteval: tuple, captions: dict) -> Result:
    scores, rows, numbers = mteval
    (rouge, of_rouge), (cider, of_cider) = captions["ROUGE_L"], captions["CIDEr"]
    scores |= {"METEOR": of_meteor.score, "ROUGE_L": rouge, "CIDEr": cider}
    for row, *values in zip(rows, of_meteor.segments, of_rouge, of_cider, strict=False):
        row |= zip(("METEOR", "ROUGE_L", "CIDEr"), values, strict=True)
    fill(numbers, of_meteor.statistics, of_rouge, of_cider)
    return Result({name: scores[name] for name in METRICS}, rows, numbers)


def score(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU, NIST, METEOR, ROUGE_L and CIDEr, in this order, on the official script's scale.

    hypotheses[i] (untokenised text, may be empty) is compared with every text of references[i].
    All but NIST (0 upwards) and CIDEr (0 to 10) lie in [0, 1].

    Raises ValueError if the two differ in length, are empty, or a segment has no reference;
    RuntimeError or FileNotFoundError if a Java program fails or is missing.
    """
    return score_systems([(hypotheses, references)])[0].scores
