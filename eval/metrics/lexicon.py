"""The few entries of METEOR's dictionaries that can matter for given texts.

METEOR takes ten seconds and 600 MB to load 5.3 million English paraphrases, and most of its
alignment goes into sets of WordNet synsets; of both a corpus such as E2E's can use some thousands.
Leaving the others out changes no alignment:

- A pair of phrases can match only where both are made of words of the texts. The matcher looks
  phrases up in the order of the table, which is kept, and takes a word that the table lacks for
  one that matches nothing.
- Two words are synonyms if any synset is common to them or their base forms: of the synsets that
  link the same entries one is enough, and one that only one word of the texts can reach decides
  nothing. All words that METEOR may look up keep their entry, since whether a word has one decides
  which base form is taken.
"""

import re
import zipfile
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from isal import igzip

LONGEST = 7  # words of the longest phrase in the English paraphrase table
_PART = 1 << 20  # bytes searched at a time: they fit the processor's cache
SYNSETS, EXCEPTIONS = "synonym/english.synsets", "synonym/english.exceptions"

# WordNet's detachment rules, which METEOR applies to a word without an exception.
_ENDINGS = {
    **{"s": {""}, "ses": {"s"}, "xes": {"x"}, "zes": {"z"}, "ches": {"ch"}, "shes": {"sh"}},
    **{"men": {"man"}, "ies": {"y"}, "es": {"e", ""}, "ed": {"e", ""}, "ing": {"e", ""}},
    **{"er": {"", "e"}, "est": {"", "e"}},
}


def words_of(text: str) -> list[str]:
    """Words of a normalised text as METEOR's aligner splits them."""
    return [word for word in re.split("[ \t\n\r\f]", text.lower()) if word]


@dataclass(frozen=True)
class Paraphrases:
    """raw: the text of the table; phrases[i], ends[i]: where entry i's phrase begins, it ends.

    An entry is three lines: a number that METEOR does not use, a phrase, its paraphrase. They are
    sorted by the bytes of the phrase, which is what makes a binary search possible.
    """

    raw: bytes
    phrases: np.ndarray
    ends: np.ndarray


def read_paraphrases(path: str | Path) -> Paraphrases:
    """Unpack a table (about a second and 400 MB) and find its entries."""
    raw = igzip.decompress(Path(path).read_bytes())  # less than 4 GB, so that 32 bits do
    characters = np.frombuffer(raw, np.uint8)
    parts = range(0, len(raw), _PART)
    positions = [
        np.flatnonzero(characters[i : i + _PART] == ord("\n")).astype(np.uint32) + np.uint32(i)
        for i in parts
    ]
    newlines = np.concatenate(positions)
    if len(newlines) % 3:
        raise ValueError(f"{path} is not a paraphrase table: {len(newlines)} lines, not 3 an entry")
    return Paraphrases(raw, newlines[0::3] + 1, newlines[2::3] + 1)


def _entries(table: Paraphrases, texts: Iterable[list[bytes]]) -> list[tuple[int, int]]:
    """Ranges of entries whose phrase occurs in a text, in order."""
    longer: dict[bytes, tuple[int, int]] = {}  # a phrase: range of the phrases that it begins
    spans = []
    for words in texts:
        for first in range(len(words)):
            phrase, start, stop = b"", 0, len(table.phrases)
            for word in words[first : first + LONGEST]:
                phrase += word
                if phrase not in longer:
                    size = len(phrase) + 1

                    def key(offset: int, size: int = size) -> bytes:
                        return table.raw[offset : offset + size]

                    # The phrase itself (a newline follows) comes before those that it begins.
                    low = bisect_left(table.phrases, phrase + b"\n", start, stop, key=key)
                    high = bisect_right(table.phrases, phrase + b"\n", low, stop, key=key)
                    if low < high:
                        spans.append((low, high))
                    last = bisect_right(table.phrases, phrase + b" ", high, stop, key=key)
                    longer[phrase] = (high, last)
                start, stop = longer[phrase]
                if start == stop:
                    break
                phrase += b" "
    return sorted(spans)


def paraphrases(table: Paraphrases, texts: Iterable[str]) -> bytes:
    """The entries of a table that can match in `texts` (normalised)."""
    split = [[word.encode("utf-8") for word in words_of(text)] for text in texts]
    vocabulary = {word for words in split for word in words}
    kept = []
    for low, high in _entries(table, split):
        for entry in range(low, high):
            start, end = int(table.phrases[entry]), int(table.ends[entry])
            paraphrase = table.raw[start:end].split(b"\n")[1]
            if vocabulary.issuperset(paraphrase.split()):
                kept.append(b"1\n" + table.raw[start:end])
    return b"".join(kept)


def _bases(word: str) -> set[str]:
    """Words that METEOR may look up for `word` by its rules: more than it does, never fewer."""
    endings = [ending for ending in _ENDINGS if word.endswith(ending)]
    return {word} | {word[: -len(e)] + base for e in endings for base in _ENDINGS[e]}


def _enough(entries: dict[str, set[str]], words_to: dict[str, set[str]]) -> dict[str, set[str]]:
    """Entries with as few synsets as still link what all of theirs link.

    Two entries are linked by a common synset if two different words can reach them; an entry is
    linked with itself if two words reach it. Greedy: the synsets that link most come first.
    """
    members = defaultdict(list)
    for entry, own in entries.items():
        for synset in own:
            members[synset].append(entry)
    links = {
        synset: {
            pair
            for pair in combinations_with_replacement(sorted(linked), 2)
            if len(words_to[pair[0]] | words_to[pair[1]]) > 1
        }
        for synset, linked in members.items()
    }
    kept, done = {entry: set() for entry in entries}, set()
    for synset in sorted(links, key=lambda synset: (-len(links[synset]), synset)):
        if not links[synset] <= done:
            done |= links[synset]
            for entry in members[synset]:
                kept[entry].add(synset)
    return kept


def synonyms(jar: str | Path, texts: Iterable[str]) -> dict[str, str]:
    """METEOR's synonym files, by their names in the jar, cut down to what `texts` can use."""
    with zipfile.ZipFile(jar) as archive:
        exceptions = archive.read(EXCEPTIONS).decode("utf-8")
        lines = archive.read(SYNSETS).decode("utf-8").split("\n")
    synsets = dict(zip(lines[0::2], lines[1::2], strict=False))
    irregular: dict[str, set[str]] = {}
    base_lines = exceptions.split("\n")
    for base, forms in zip(base_lines[0::2], base_lines[1::2], strict=False):
        for form in forms.split():
            irregular.setdefault(form, set()).add(base)
    words_to = defaultdict(set)  # an entry: the words of the texts for which METEOR may look it up
    for word in {word for text in texts for word in words_of(text)}:
        for entry in (_bases(word) | irregular.get(word, set())) & synsets.keys():
            words_to[entry].add(word)
    kept = _enough({entry: set(synsets[entry].split()) for entry in words_to}, words_to)
    lines = [f"{entry}\n{' '.join(sorted(own))}\n" for entry, own in kept.items()]
    return {SYNSETS: "".join(lines), EXCEPTIONS: exceptions, "synonym/english.relations": ""}
