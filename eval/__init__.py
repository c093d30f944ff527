"""Scores, tables and reports: text in, numbers out.

The package imports neither torch nor hydra nor ``solo``, but for ``solo/rows.py``,
``solo/triples.py``, ``solo/files.py``, ``solo/run_files.py`` and ``solo/errors.py``, which need
nothing but PyYAML; it reads files that other stages wrote. Installed, it is called ``e2e_score``.
"""

from pathlib import Path

METRIC = str(Path(__file__).resolve().parent / "e2e_nlg")  # for evaluate.load
