"""The texts of systems, and what several metrics make of them, made once."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import cached_property

from .apart import corpora_apart
from .metric import Corpus
from .mteval import Matches, matches
from .ptb import tokenize_corpora

Report = Callable[[int, int], None]  # (segments done, of how many)


class Texts:
    """Systems to measure, each a pair (hypotheses, references).

    corpora: the pairs as they came; by_segment: whether single segments are scored too;
    background: where work beside the caller's is done; report: told of progress.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        by_segment: bool,
        background: Executor,
        report: Report,
        sources: Sequence[Sequence[str]] | None = None,
    ):
        self.corpora, self.by_segment = corpora, by_segment
        self.background, self.report = background, report
        self.sources = sources or [[""] * len(hypotheses) for hypotheses, _ in corpora]

    @cached_property
    def tokens(self) -> list[Corpus]:
        """PTB tokens, for the COCO metrics. Raises ValueError if no reference has a word."""
        return _with_words(tokenize_corpora(self.corpora))

    @cached_property
    def apart(self) -> list[Corpus]:
        """Lower-cased, every sign apart, six references at most, for WebNLG. Raises ValueError if
        no reference has a word."""
        return _with_words(corpora_apart(self.corpora))

    @cached_property
    def mteval(self) -> list[Matches]:
        """The matching n-grams of each system, for BLEU and NIST."""
        cache: dict = {}
        return [matches(*corpus, cache) for corpus in self.corpora]

    @cached_property
    def mteval_by_segment(self) -> list[list[Matches]]:
        """The same of each segment as a corpus of its own; empty unless segments are scored."""
        if not self.by_segment:
            return [[] for _ in self.corpora]
        return [
            [matches([text], [group]) for text, group in zip(*corpus, strict=True)]
            for corpus in self.corpora
        ]


def _with_words(corpora: list[Corpus]) -> list[Corpus]:
    for _, references in corpora:
        if not any(text for group in references for text in group):
            raise ValueError("no reference has a word in it; check the references")
    return corpora
