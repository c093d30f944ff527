"""The wheel, installed into a fresh environment and used from another folder."""

import importlib.metadata
import json
import os
import re
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

import solo
from eval.score import score

ROOT = Path(__file__).resolve().parent.parent
OUTPUTS = ["The Eagle is a cheap pub .", "Alimentum is in the riverside area ."]
REFERENCES = [["The Eagle is a cheap pub.", "The Eagle: a pub, cheap."], ["Alimentum, riverside."]]


def run(command: list, folder: Path, **environment: str) -> str:
    surroundings = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=surroundings | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bin_of_fresh(wheel, tmp_path_factory) -> Path:
    """An environment that has the wheel, and for the rest looks where this one does."""
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home, with_pip=False)
    binaries = home / "bin"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    run([*pip, "--python", binaries / "python", "install", "--no-deps", wheel], home)
    where = "import site; print(site.getsitepackages()[0])"
    packages = Path(run([binaries / "python", "-c", where], home).strip())
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    return binaries


def test_the_library_works_without_what_only_the_scripts_need(bin_of_fresh, tmp_path):
    """Every module imports, and Solo attaches to a model; nothing comes from the checkout."""
    code = """
import importlib, pkgutil, sys
import e2e_score, solo, torch
from transformers import GPT2Config, GPT2LMHeadModel
for module in pkgutil.walk_packages(solo.__path__, "solo."):
    importlib.import_module(module.name)
from solo.adapters import METHODS
sizes = dict(n_embd=16, n_layer=4, n_head=2, vocab_size=20, bos_token_id=0, eos_token_id=0)
model = GPT2LMHeadModel(GPT2Config(**sizes)).eval()
ids = torch.arange(6)[None]
before = model(ids).logits
solo_method = METHODS["solo"]
method = solo_method.attach(model, solo_method.Config(rank=4, lambda_init=0.0), seed=0)
assert torch.equal(model(ids).logits, before) and method.n_trained > 0
assert not {"hydra", "omegaconf", "datasets", "evaluate", "nltk", "pandas"} & set(sys.modules)
print(solo.__file__, e2e_score.__file__, solo.__version__)
"""
    *files, version = run([bin_of_fresh / "python", "-c", code], tmp_path).split()
    assert all(Path(file).is_relative_to(bin_of_fresh.parent) for file in files)
    assert version == solo.__version__


def test_the_scorer_works_without_torch(bin_of_fresh, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    references = ["\n".join(group) + "\n" for group in REFERENCES]
    (tmp_path / "refs.txt").write_text("\n".join(references))
    (tmp_path / "hyps.txt").write_text("\n".join(OUTPUTS) + "\n")
    command = [bin_of_fresh / "e2e-score", "--refs", "refs.txt", "--hyps", "hyps.txt"]
    printed = run(command, tmp_path, PYTHONPATH=str(tmp_path))
    shown = dict(re.findall(r"^(\w+): ([\d.]+)$", printed, re.MULTILINE))
    ours = score(OUTPUTS, REFERENCES)
    assert {name: f"{ours[name]:.4f}" for name in shown} == shown and len(shown) >= 6
    home = {"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    run([*command, "--json", "scores.json"], tmp_path, **home)
    assert (tmp_path / ".cache/solo-connection/outputs.txt").is_file()
    assert not list(bin_of_fresh.parent.rglob("site-packages/data"))
    usage = run([bin_of_fresh / "e2e-compare", "--help"], tmp_path, PYTHONPATH=str(tmp_path))
    assert usage.startswith("usage: e2e-compare") and "python -m" not in usage


@pytest.mark.parametrize("name", ["score", "compare"])
@pytest.mark.parametrize("missing", ["numpy", "sacrebleu", "tqdm"])
def test_a_command_without_its_extra_says_what_to_install(name, missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from eval.entry import {name} as main; "
    command = [sys.executable, "-c", f"{code}sys.argv = ['e2e-{name}', '--help']; sys.exit(main())"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {missing} is not installed, which scoring needs: "
        "pip install 'solo-connection[score]'\n"
    )


def test_evaluate_loads_the_metric_from_the_package_and_from_the_checkout(bin_of_fresh, tmp_path):
    """From a folder that is neither; references in both forms."""
    firsts = [group[0] for group in REFERENCES]
    places = (("e2e_score.METRIC", REFERENCES), (repr(str(ROOT / "eval/e2e_nlg")), firsts))
    code = "import e2e_score, evaluate, json\n" + "\n".join(
        f"metric = evaluate.load({place}, experiment_id='test')\n"
        f"print(json.dumps(metric.compute(predictions={OUTPUTS}, references={references})))"
        for place, references in places
    )
    cache = {"HF_HOME": str(tmp_path), "HF_EVALUATE_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    printed = run([bin_of_fresh / "python", "-c", code], tmp_path, **cache)
    wanted = [score(OUTPUTS, REFERENCES), score(OUTPUTS, [[text] for text in firsts])]
    assert [*map(json.loads, printed.splitlines())] == wanted


def test_the_wheel_asks_for_packages_that_this_project_pins(wheel):
    """Five for the library; what an extra names, requirements.txt pins."""
    wheels = importlib.metadata.distributions(path=[str(wheel)])
    needed = next(iter(wheels)).requires
    core = {re.match(r"[\w-]+", line)[0] for line in needed if "extra ==" not in line}
    assert core == {"torch", "transformers", "safetensors", "peft", "accelerate"}
    pins = "".join(path.read_text() for path in ROOT.glob("requirements*.txt")).replace("_", "-")
    pinned = {name.lower() for name in re.findall(r"^([\w-]+)==", pins, re.MULTILINE)}
    named = {re.match(r"[\w-]+", line)[0].lower() for line in needed}
    assert named - {"solo-connection"} <= pinned
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == solo.__version__
