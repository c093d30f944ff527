"""Texts as LoRA's recipe gives them to GenerationEval, for WebNLG and DART.

Sources: microsoft/LoRA, examples/NLG/src/gpt2_decode.py (--tokenize --lower --ref_num 6), and
WebNLG/GenerationEval, eval.py, which then takes nltk's word_tokenize for METEOR and TER.
"""

import re
from collections.abc import Sequence

from .metric import Corpus

MOST_REFERENCES = 6  # of a segment, the first ones
_SIGN = re.compile(r"(\W)")
_JOINED = re.compile(r"\b(?:(can)(not)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)|(wan)(na))\b")


def apart(text: str) -> str:
    """A text in small letters, with a space around each character that is in no word."""
    return " ".join(_SIGN.sub(r" \1 ", text.lower()).split())


def nltk_words(text: str) -> str:
    """What nltk's word_tokenize makes of a text that `apart` gave, joined by spaces.

    Signs are apart already, so of all its rules two are left: a double quote becomes two
    backquotes, and cannot, gonna and their like are taken apart. Where sentences end does not
    matter. Of 43,042 texts (WebNLG's, ten systems', made-up ones) nltk 3.5 makes the same.
    """
    return _JOINED.sub(_in_two, text).replace('"', "``")


def _in_two(match: re.Match) -> str:
    return " ".join(filter(None, match.groups()))


def corpora_apart(corpora: Sequence[Corpus]) -> list[Corpus]:
    """The corpora with `apart` texts, each of them made once."""
    made: dict[str, str] = {}

    def once(text: str) -> str:
        if text not in made:
            made[text] = apart(text)
        return made[text]

    return [
        (
            [once(text) for text in hypotheses],
            [[once(text) for text in group[:MOST_REFERENCES]] for group in references],
        )
        for hypotheses, references in corpora
    ]
