"""The door: what the entry points share.

It needs this project's package eval/, whatever else on the path has that name: a script of a
user's own may lie beside an eval.py.
"""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

sys.path.insert(0, str(ROOT))
try:
    origin = importlib.import_module("eval").__file__
finally:
    sys.path.remove(str(ROOT))
if Path(origin or "").parent != ROOT / "eval":
    raise ImportError(f"{origin} hides the package eval/ of {ROOT}; import solo.cli before it")
