"""The PTB tokeniser of the COCO metrics (METEOR, ROUGE-L, CIDEr), as the official script runs it.

Source: ``pycocoevalcap/tokenizer`` of tuetschek/e2e-metrics (commit 1b9c4d8), the same code and
jar as in the pip package of that name. Lower-cased, punctuation dropped.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

from .java import jar, run_filter
from .metric import Corpus

JAR = "tokenizer/stanford-corenlp-3.4.1.jar"

# What the tokeniser takes for an end of line, beside \n.
_LINE_ENDS = str.maketrans(dict.fromkeys("\n\r\v\f\x85\u2028\u2029", " "))


def tokenize(texts: Sequence[str]) -> list[str]:
    """PTB tokens of each text, joined by single spaces, without punctuation."""
    arguments = ["-cp", jar(JAR), "edu.stanford.nlp.process.PTBTokenizer"]
    arguments += ["-preserveLines", "-lowerCase"]
    text = "\n".join(text.translate(_LINE_ENDS) for text in texts)
    lines = run_filter("the PTB tokeniser", arguments, text).split("\n")
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


def tokenize_corpora(corpora: Sequence[Corpus]) -> list[Corpus]:
    """Tokenise hypotheses and references as two files each, as the official script does.

    The tokeniser looks across line ends, so a file is the unit; the same file is tokenised once.
    """
    flat = [[text for group in references for text in group] for _, references in corpora]
    files = dict.fromkeys(map(tuple, [*flat, *(hypotheses for hypotheses, _ in corpora)]))
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        tokens = dict(zip(files, pool.map(tokenize, files), strict=True))
    result = []
    for (hypotheses, references), texts in zip(corpora, flat, strict=True):
        rest = iter(tokens[tuple(texts)])
        grouped = [[next(rest) for _ in group] for group in references]
        result.append((tokens[tuple(hypotheses)], grouped))
    return result
