"""What the scorer tells beside scores and errors: a better file, and figures that mislead."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

FEW = 4  # words; BLEU counts sequences of four, of which a shorter text has none
SPELLINGS = {  # of MRs: where the test set with such MRs lies in the E2E data
    "E2E's own (name[Blue Spice])": ("testset_w_refs.csv",),
    "LoRA's (name : Blue Spice)": ("lora_format/test.txt", "test.txt"),
}


def spelling(sources: Iterable[str]) -> str | None:
    """How MRs are spelt, by the first of them; None where it is neither way."""
    first = next(iter(sources), "")
    own, loras = SPELLINGS
    if "[" in first and first.endswith("]"):
        return own
    return loras if " : " in first else None


def other_references(hypotheses: Sequence[str], references: Iterable[str], path: Path) -> str:
    """What to say after an MR is not found: the file of references whose MRs are spelt as those of
    the hypotheses, beside `path` if it is there; "" where the spelling is the same."""
    ours, theirs = spelling(hypotheses), spelling(references)
    if None in (ours, theirs) or ours == theirs:
        return ""
    names = SPELLINGS[ours]
    folders = (path.parent, path.parent.parent)
    there = [folder / name for folder in folders for name in names if (folder / name).is_file()]
    file = there[0] if there else f"E2E's {names[0]}"
    return f": they are spelt as {ours}, the references' as {theirs}; score with --refs {file}"


def odd_scores(path: Path, texts: Sequence[str], scores: Mapping[str, float]) -> list[str]:
    """A note if most of the outputs have fewer words than BLEU's longest sequences, or if enough
    have for a score that cannot be."""
    if "BLEU" not in scores:  # the official one, by sequences of four words
        return []
    short = sum(len(text.split()) < FEW for text in texts)
    possible = scores["BLEU"] <= 1 and scores.get("NIST", 0) >= 0
    if 2 * short <= len(texts) and possible:
        return []
    return [
        f"{path}: {short:,} of {len(texts):,} outputs have under four words; BLEU and NIST of such "
        "are odd by the official rule (BLEU can be above 1), so do not compare them"
    ]
