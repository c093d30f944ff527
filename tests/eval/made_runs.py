"""Run directories made by hand, with everything that a finished run leaves behind."""

import hashlib
import json
from pathlib import Path

import yaml

from solo.cli.rows import row_settings

SCORES = {"BLEU": 0.6764, "NIST": 8.64, "METEOR": 0.457, "ROUGE_L": 0.6832, "CIDEr": 2.31}
STEPS = {4: 52_580, 8: 26_290}  # five epochs of 42,061 examples, by batch size


def make_run(
    root, name, row="table1/solo_s", seed=1, lr=2e-4, scores=None, steps=None, mrs=630,
    stand_in=None, path=None, file_sha256="0", n_params=122_449, adapter=None, train=None,
    decode=None, data=None, references=None,
) -> Path:  # fmt: skip
    """A finished run of `row`; adapter, train, decode and data say what differs from it."""
    directory = Path(root) / name
    directory.mkdir(parents=True)
    [settings] = row_settings([row]).values()
    options = settings["adapter"] | (adapter or {})
    recipe = settings["train"] | {"lr": lr} | (train or {})
    planned = STEPS[recipe["batch_size"]]
    sums = {split: sha256 or "made" for split, sha256 in settings["data"]["sha256"].items()}
    sums |= data or {}
    test = sums.pop("test")
    backbone = {"path": path or settings["model"]["path"], "file_sha256": file_sha256}
    backbone |= {"sha256": f"weights of {backbone['path']}", "stand_in": stand_in}
    predictions = f"MR\toutput\nname : A\t{name}\n"
    digest = hashlib.sha256(predictions.encode()).hexdigest()
    identity = {
        "training": {"model": {"path": backbone["path"]}, "data": sums, "adapter": options,
                     "train": recipe, "seed": seed},
    }  # fmt: skip
    beam = {k: v for k, v in settings["decode"].items() if k not in ("batch_size", "output")}
    decoding = {"decode": beam | (decode or {}), "test": test}
    environment = {
        "train": {"steps": planned if steps is None else steps, "planned_steps": planned,
                  "n_params": n_params, "backbone": backbone},
        "decode": {"n_predictions": mrs, "sha256": digest, "settings": decoding},
        "evaluate": {"inputs": {"predictions.tsv": digest, "test.txt": references or test}},
    }  # fmt: skip
    log = [{"step": s, "loss": 3.0 - s, "lambda/2": 0.01 * s} for s in (1, 2)]
    log.append({"step": 2, "valid_loss": 0.8})
    files = {
        "environment.json": json.dumps(environment),
        "identity.json": json.dumps(identity | decoding),
        "rows.json": json.dumps([row]),
        "metrics.json": json.dumps(SCORES | (scores or {})),
        "config.yaml": yaml.safe_dump({"adapter": options}),
        "predictions.tsv": predictions,
        "train_log.jsonl": "".join(json.dumps(entry) + "\n" for entry in log),
    }
    for file, content in files.items():
        (directory / file).write_text(content)
    return directory


def decoded_apart(directory: Path, name: str = "0a1b2c3d") -> Path:
    """Bring a made run into the layout of a training with decodings; returns decode/NAME."""
    decoding = directory / "decode" / name
    decoding.mkdir(parents=True)
    stages = json.loads((directory / "environment.json").read_text())
    identity = json.loads((directory / "identity.json").read_text())
    stages["decode"].pop("settings")
    decoded = {"version": 1, "decode": identity["decode"], "test": identity["test"]}
    training = {"version": 1, "training": identity["training"]}
    later = {stage: stages.pop(stage) for stage in ("decode", "evaluate")}
    for path, content in (
        (directory / "environment.json", stages),
        (directory / "identity.json", training),
        (decoding / "environment.json", later),
        (decoding / "identity.json", decoded),
    ):
        path.write_text(json.dumps(content))
    for file in ("metrics.json", "predictions.tsv", "statistics.json"):
        if (directory / file).exists():
            (directory / file).rename(decoding / file)
    return decoding
