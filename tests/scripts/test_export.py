"""scripts/export.py as a user types it."""

from pathlib import Path

import pytest

import solo
from solo.files import write_json
from solo.runs.run import open_run
from tests.solo.runs.conftest import config, values  # noqa: F401 (fixtures)
from tests.solo.runs.test_export import trained


def test_a_run_leaves_with_its_scores(config, tmp_path, run_script):  # noqa: F811
    run = trained(config, "solo", {"rank": 4})
    decoding = open_run(run.directory).decoding
    decoding.mkdir(parents=True)
    write_json(decoding / "metrics.json", {"BLEU": 0.125, "signature": "nrefs:1"})
    done = run_script("scripts/export.py", f"run={run.directory}", f"out={tmp_path}/out")
    assert (done.code, done.out.strip()) == (0, f"{tmp_path}/out"), done.err
    assert "| 0.1250 |" in (tmp_path / "out" / "README.md").read_text("utf-8")
    assert solo.load(tmp_path / "out").peft_config["default"].r == 4

    again = run_script("scripts/export.py", f"run={run.directory}", f"out={tmp_path}/out")
    assert again.code == 1
    assert (
        again.err.splitlines()[-1] == f"error: {tmp_path}/out is there already; name another output"
    )
    neither = run_script("scripts/export.py", f"run={run.directory}")
    assert neither.code == 1 and "error: name both: run=DIR out=DIR" in neither.err


@pytest.mark.parametrize(
    ("n_scored", "said"), [(0, "It was not scored."), (1, "| 0.1000 |"), (2, "It was not scored.")]
)
def test_a_run_leaves_without_its_data(config, tmp_path, run_script, n_scored, said):  # noqa: F811
    """With the scores of its one decoding; of several none can tell which was configured."""
    run = trained(config, "solo", {"rank": 4})
    for number in range(1, n_scored + 1):
        decoding = run.directory / "decode" / f"0a1b2c3{number}"
        decoding.mkdir(parents=True)
        write_json(decoding / "metrics.json", {"BLEU": number / 10, "signature": "nrefs:1"})
    Path(config.data.test_path).unlink()
    done = run_script("scripts/export.py", f"run={run.directory}", f"out={tmp_path}/out")
    assert (done.code, done.out.strip()) == (0, f"{tmp_path}/out"), done.err
    assert said in (tmp_path / "out" / "README.md").read_text("utf-8")
