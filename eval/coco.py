"""METEOR, ROUGE-L and CIDEr as the E2E challenge's official script computes them.

Source: tuetschek/e2e-metrics (commit 1b9c4d8), whose pycocoevalcap folder is the code of the pip
package of that name, jars included. Texts go through the package's PTB tokeniser (lower-cased,
punctuation dropped); its Rouge and Cider classes are used as they are, its METEOR jar is driven
from here, since the package's wrapper needs a Java on the PATH and writes beside its own code.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

from eval.java import Meteor, meteor_process, run_tokenizer

Corpus = tuple[Sequence[str], Sequence[Sequence[str]]]  # hypotheses, their references

# What the tokeniser takes for an end of line, beside \n.
_LINE_ENDS = str.maketrans(dict.fromkeys("\n\r\v\f\x85\u2028\u2029", " "))


def tokenize(texts: Sequence[str]) -> list[str]:
    """PTB tokens of each text, joined by single spaces, without punctuation."""
    lines = run_tokenizer("\n".join(text.translate(_LINE_ENDS) for text in texts)).split("\n")
    if len(lines) != len(texts):
        # A token that spans two lines, such as a < here and its > there, shifts the rest. The
        # official script scores such texts against each other's references; here the culprit is
        # cornered by halving.
        if len(texts) == 1:
            lines = [" ".join(lines)]
        else:
            half = len(texts) // 2
            return tokenize(texts[:half]) + tokenize(texts[half:])
    return [
        " ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATIONS)
        for line in lines
    ]


def _tokenize_corpora(corpora: Sequence[Corpus], pool: ThreadPoolExecutor) -> list[Corpus]:
    """Tokenise hypotheses and references as two files each, as the official script does.

    Texts that several corpora share, such as the references, are tokenised once.
    """
    flat = [[text for group in references for text in group] for _, references in corpora]
    jobs = {}
    for texts in [*(hypotheses for hypotheses, _ in corpora), *flat]:
        if tuple(texts) not in jobs:
            jobs[tuple(texts)] = pool.submit(tokenize, texts)
    result = []
    for (hypotheses, references), texts in zip(corpora, flat, strict=True):
        tokens = iter(jobs[tuple(texts)].result())
        grouped = [[next(tokens) for _ in group] for group in references]
        result.append((jobs[tuple(hypotheses)].result(), grouped))
    return result


def _score_line(hypothesis: str, references: Sequence[str]) -> str:
    # ||| separates the fields of METEOR's protocol. As in the official script it is cut out of
    # the hypothesis, with double spaces; in a reference it makes two references of one.
    hypothesis = hypothesis.replace("|||", "").replace("  ", " ")
    return " ||| ".join(["SCORE", *references, hypothesis])


def meteor(process: Meteor, corpus: Corpus) -> tuple[float, list[float]]:
    """METEOR of a tokenised corpus, and of each segment."""
    lines = [_score_line(*segment) for segment in zip(*corpus, strict=True)]
    # All lines go out at once, from a thread of their own: the answers would fill the pipe.
    writer = Thread(target=process.write, args=(lines,), daemon=True)
    writer.start()
    statistics = [process.read() for _ in lines]
    writer.join()
    process.write([" ||| ".join(["EVAL", *statistics])])
    scores = [float(process.read()) for _ in lines]
    return float(process.read()), scores


def rouge_and_cider(corpus: Corpus) -> dict[str, tuple[float, list[float]]]:
    """ROUGE-L and CIDEr of a tokenised corpus, each with its segments' scores."""
    hypotheses = {i: [hypothesis] for i, hypothesis in enumerate(corpus[0])}
    references = {i: list(group) for i, group in enumerate(corpus[1])}
    if not any(text.strip() for group in references.values() for text in group):
        raise ValueError("no reference has a word in it; check the references")
    result = {}
    for name, scorer in (("ROUGE_L", Rouge()), ("CIDEr", Cider())):
        score, scores = scorer.compute_score(references, hypotheses)
        result[name] = (float(score), [float(value) for value in scores])
    return result


def coco_scores(corpora: Sequence[Corpus]) -> list[dict[str, float]]:
    """METEOR, ROUGE_L and CIDEr of each corpus of texts (not tokens), with one METEOR process.

    METEOR loads its tables and scores while the rest is computed here.
    Raises RuntimeError if a Java process fails, FileNotFoundError without runtime or jars,
    ValueError if no reference has a word.
    """
    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(1) as meteor_pool:
        with meteor_process() as process:  # closed first, so that no thread waits for it
            tokenized = _tokenize_corpora(corpora, pool)
            waiting = [meteor_pool.submit(meteor, process, corpus) for corpus in tokenized]
            others = [rouge_and_cider(corpus) for corpus in tokenized]
            scores = [
                {"METEOR": job.result()[0]} | {name: value[0] for name, value in other.items()}
                for job, other in zip(waiting, others, strict=True)
            ]
    return scores
