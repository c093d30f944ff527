"""Run directories made by hand, with everything that a finished run leaves behind."""

import hashlib
import json
from pathlib import Path

import numpy as np
import yaml

from eval.compare import decoding_of
from eval.metrics.statistics import save
from solo.adapters import make_config
from solo.backbones.loading import sizes_of
from solo.backbones.shapes import gpt2_shapes
from solo.cli.rows import settings_of
from solo.triples import content_sha256

SCORES = {"BLEU": 0.6764, "NIST": 8.64, "METEOR": 0.457, "ROUGE_L": 0.6832, "CIDEr": 2.31}
DECODED = "decode/0a1b2c3d"  # of a made run's directory
STEPS = {4: 52_580, 8: 26_290}  # five epochs of 42,061 examples, by batch size


def make_run(
    root, name, row="table1/solo_s", seed=1, lr=2e-4, scores=None, steps=None, mrs=630,
    stand_in=None, path=None, file_sha256="0", n_params=None, adapter=None, train=None,
    decode=None, data=None, references=None,
) -> Path:  # fmt: skip
    """A finished run of `row`; adapter, train, decode and data say what differs from it."""
    directory = Path(root) / name
    (directory / DECODED).mkdir(parents=True)
    settings = settings_of(row)
    options = settings["adapter"] | (adapter or {})
    recipe = settings["train"] | {"lr": lr} | (train or {})
    small, *_ = gpt2_shapes().values()
    shape = gpt2_shapes().get(path or settings["model"]["path"], small)
    if n_params is None:
        method, config = make_config(options)
        n_params = method.n_params(shape, config)
    planned = STEPS[recipe["batch_size"]]
    sums = {split: sha256 or "made" for split, sha256 in settings["data"]["sha256"].items()}
    sums |= data or {}
    test = sums.pop("test")
    backbone = {"path": path or settings["model"]["path"], "file_sha256": file_sha256}
    backbone |= {"sha256": f"weights of {backbone['path']}", "stand_in": stand_in}
    backbone["shape"] = sizes_of(shape)
    lines = [f"name : A{i or ''}\t{name}\n" for i in range(mrs)]
    predictions = "".join(["MR\toutput\n", *lines])
    digest = hashlib.sha256(predictions.encode()).hexdigest()
    training = {"model": {"path": backbone["path"]}, "data": sums, "adapter": options,
                "train": recipe, "seed": seed}  # fmt: skip
    beam = {k: v for k, v in settings["decode"].items() if k not in ("batch_size", "output")}
    trained = {"steps": planned if steps is None else steps, "planned_steps": planned,
               "n_params": n_params, "backbone": backbone}  # fmt: skip
    content = json.dumps(SCORES | (scores or {}))
    later = {
        "decode": {"n_predictions": mrs, "sha256": digest},
        "evaluate": {"inputs": {"predictions.tsv": digest, "test.txt": references or test},
                     "sha256": hashlib.sha256(content.encode()).hexdigest()},
    }  # fmt: skip
    log = [{"step": s, "loss": 3.0 - s, "lambda/2": 0.01 * s} for s in (1, 2)]
    log.append({"step": 2, "valid_loss": 0.8})
    decoded = {
        "version": 1,
        "decode": beam | (decode or {}),
        "test": test,
        "test_kind": settings["data"]["name"],
    }
    files = {
        "environment.json": json.dumps({"train": trained}),
        "identity.json": json.dumps({"version": 1, "training": training}),
        "rows.json": json.dumps([row]),
        "config.yaml": yaml.safe_dump({"adapter": options}),
        "train_log.jsonl": "".join(json.dumps(entry) + "\n" for entry in log),
        f"{DECODED}/environment.json": json.dumps(later),
        f"{DECODED}/identity.json": json.dumps(decoded),
        f"{DECODED}/metrics.json": content,
        f"{DECODED}/predictions.tsv": predictions,
    }
    for file, content in files.items():
        (directory / file).write_text(content)
    return directory


def rescore(directory: Path, scores: dict[str, float]) -> None:
    """Leave other scores in a made run, as evaluation would have recorded them."""
    decoding = decoding_of(directory)
    (decoding / "metrics.json").write_text(json.dumps(scores))
    environment = json.loads((decoding / "environment.json").read_text())
    environment["evaluate"]["sha256"] = content_sha256(decoding / "metrics.json")
    (decoding / "environment.json").write_text(json.dumps(environment))


def keep_statistics(directory: Path, statistics: dict[str, np.ndarray], sources: list[str]) -> None:
    """Leave segment statistics in a made run as evaluation does."""
    decoding = decoding_of(directory)
    environment = json.loads((decoding / "environment.json").read_text())
    predictions, references = environment["evaluate"]["inputs"].values()
    inputs = {"predictions": predictions, "references": references}
    save(decoding / "statistics.json", statistics, sources, inputs)
