"""What an import costs: the core needs torch, transformers, safetensors and peft alone."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
import solo
assert "torch" not in sys.modules
import solo.peft, solo.peft.loading
others = {"eval", "hydra", "omegaconf", "datasets", "pandas", "sacrebleu", "evaluate", "matplotlib"}
rooms = {f"solo.{room}" for room in ("cli", "datasets", "decoding", "runs", "standin", "training")}
print(sorted((others | rooms) & set(sys.modules)))
"""


def test_importing_it_imports_nothing_of_the_rest():
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]", done.stderr
