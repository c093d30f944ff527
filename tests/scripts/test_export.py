"""scripts/export.py as a user types it."""

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
