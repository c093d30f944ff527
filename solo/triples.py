"""Sets of triples, WebNLG's XML, read in one way by the scorer and by training.

A document type declaration is refused: it could define entities that grow without bound, or read
other files. This file needs nothing but Python.
"""

import hashlib
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from solo.files import file_sha256

NO_XML = "has no XML files, as a folder of WebNLG's has"


@dataclass
class Entry:
    """A set of triples of WebNLG.

    place: its file and identifier; mr: the triples as LoRA's recipe writes them; texts: its good
    lexicalisations, in order.
    """

    place: str
    category: str
    mr: str
    texts: list[str]


class _Builder(ElementTree.TreeBuilder):
    def doctype(self, name: str, *rest: str | None) -> None:
        raise ValueError(f"it declares a document type ({name}), which WebNLG's files do not")


def triple_files(path: Path) -> list[Path]:
    """`path` itself, or the XML files below a folder in the order of their paths.

    Raises FileNotFoundError where there is none.
    """
    path = Path(path)
    files = sorted(path.rglob("*.xml")) if path.is_dir() else [path]
    if not files or not path.exists():
        raise FileNotFoundError(f"{path} {NO_XML if path.exists() else 'is missing'}")
    return files


def content_sha256(path: Path) -> str:
    """The checksum of a file or, of a folder, that of the XML files below it and of their names."""
    path = Path(path)
    return folder_sha256(path) if path.is_dir() else file_sha256(path)


def folder_sha256(path: Path) -> str:
    """A checksum of the XML files below a folder and of their names, in hex."""
    whole = hashlib.sha256()
    for file in triple_files(path):
        name = file.relative_to(path).as_posix()
        whole.update(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {name}\n".encode())
    return whole.hexdigest()


def read_triples(path: Path) -> list[Entry]:
    """The entries of a WebNLG file, or of all files below a folder in the order of their paths.

    Raises FileNotFoundError, or ValueError, with file and entry, for what is no such XML, and for a
    category none of whose entries has a good text although others' have.
    """
    entries = [entry for file in triple_files(path) for entry in _entries(file)]
    with_texts = {entry.category for entry in entries if entry.texts}
    for entry in entries:
        if with_texts and entry.category not in with_texts:
            raise ValueError(
                f"{path}: no entry of category {entry.category!r} has a lexicalisation marked "
                f'"good" (the first is {entry.place}); restore its texts, or take the category out'
            )
    return entries


def _entries(path: Path) -> list[Entry]:
    try:
        root = ElementTree.parse(path, ElementTree.XMLParser(target=_Builder())).getroot()
        if root.tag != "benchmark" or root.find("entries") is None:
            raise ValueError(f"its root is <{root.tag}>, not a <benchmark> with <entries>")
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{path} is no WebNLG XML: {error}; fetch the file again") from None
    entries = []
    for element in root.find("entries"):
        place = f"{path}, entry {element.get('eid') or len(entries) + 1}"
        category = element.get("category")
        if element.tag != "entry" or not category:
            raise ValueError(f"{place}: <{element.tag}> is no <entry> with a category")
        triples = [_triple(place, t.text or "") for t in element.iterfind("modifiedtripleset/*")]
        if not triples:
            raise ValueError(f"{place} has no <modifiedtripleset> with triples; fetch it again")
        good = [lex for lex in element.iterfind("lex") if lex.get("comment") == "good"]
        texts = [text for lex in good if (text := (lex.text or "").strip())]
        entries.append(Entry(place, category, " | ".join(triples), texts))
    return entries


def _triple(place: str, text: str) -> str:
    """`subject | property | object` as `subject : property : object`."""
    parts = [part.strip() for part in text.split("|")]
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{place}: {text[:60]!r} is no triple; write subject | property | object")
    return " : ".join(parts)
