"""Downloads against a server of our own on 127.0.0.1; checksums computed by hashlib here."""

import hashlib
import os
import re
import runpy
import subprocess
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from solo.datasets import download as dl
from solo.standin.demo_data import write_demo_data

BODY = bytes((i * i + i // 7) % 251 for i in range(300_000))
SUM = hashlib.sha256(BODY).hexdigest()
ROOT = Path(dl.__file__).resolve().parents[2]


@pytest.fixture
def server(monkeypatch):
    """Serves BODY. `plan` holds one entry a request: how many bytes until it breaks."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    state = types.SimpleNamespace(seen=[], plan=[])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.seen.append(self.path)
            if self.path.startswith("/gone"):
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY[: state.plan.pop(0)] if state.plan else BODY)

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def get(server, path, sha256=SUM, where="/file", **kwargs):
    dl.download(server.url + where, path, sha256, **kwargs)


def only_file(folder):
    return [path.name for path in folder.iterdir()]


def test_a_download_leaves_one_file_that_all_may_read(server, tmp_path, capfd):
    path = tmp_path / "deep" / "a.csv"
    get(server, path, progress=True)
    assert path.read_bytes() == BODY and only_file(tmp_path / "deep") == ["a.csv"]
    (tmp_path / "mine").touch()
    assert path.stat().st_mode == (tmp_path / "mine").stat().st_mode
    assert "100%" in capfd.readouterr().err
    get(server, path.with_name("b.csv"))
    assert capfd.readouterr() == ("", "")


def test_present_and_right_file_is_not_fetched(server, tmp_path):
    (tmp_path / "a.csv").write_bytes(BODY)
    get(server, tmp_path / "a.csv")
    assert server.seen == []


def test_present_but_wrong_file_is_an_error_and_is_kept(server, tmp_path):
    (tmp_path / "a.csv").write_bytes(BODY[:100])
    with pytest.raises(ValueError, match=r"a\.csv \(100 bytes\) is not the pub.*move it away"):
        get(server, tmp_path / "a.csv")
    assert server.seen == [] and (tmp_path / "a.csv").read_bytes() == BODY[:100]


def test_a_broken_connection_is_tried_again(server, tmp_path):
    server.plan = [123_456, 0]
    get(server, tmp_path / "a.csv")
    assert len(server.seen) == 3 and (tmp_path / "a.csv").read_bytes() == BODY
    server.plan = [1000, 1000]
    with pytest.raises(ConnectionError, match=r"/file cannot be had .*put the file at .*b\.csv"):
        get(server, tmp_path / "b.csv", retries=1)
    assert only_file(tmp_path) == ["a.csv"]


def test_wrong_checksum_names_both_and_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError) as error:
        get(server, tmp_path / "a.csv", sha256="0" * 64)
    text = str(error.value)
    assert "a.csv" in text and "0" * 64 in text and SUM in text and "run again" in text
    assert "\n" not in text and only_file(tmp_path) == []


def test_not_found_is_told(server, tmp_path):
    with pytest.raises(ConnectionError, match=r"/gone.*404.*put the file at .*a\.csv"):
        get(server, tmp_path / "a.csv", where="/gone")
    assert only_file(tmp_path) == []


def test_prepare_downloads_all_and_writes_sums(server, tmp_path, monkeypatch):
    monkeypatch.delenv("E2E_DATA_DIR", raising=False)
    files = {
        "x.csv": (server.url + "/file", SUM),
        "lora_format/a.txt": (server.url + "/file?2", SUM),
    }
    assert dl.prepare_e2e(tmp_path, files=files) == tmp_path and len(server.seen) == 2
    dl.verify(tmp_path, {name: SUM for name in files})
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert lines == [f"{SUM}  x.csv", f"{SUM}  lora_format/a.txt"]


def test_the_cleaned_files_alike(server, tmp_path, monkeypatch):
    monkeypatch.delenv("E2E_CLEAN_DIR", raising=False)
    assert dl.e2e_clean_dir() == ROOT / "data" / "e2e-clean"
    files = {name: (server.url + "/file", SUM) for name in dl.E2E_CLEAN_FILES}
    assert sorted(files) == ["devel-fixed.no-ol.csv", "test-fixed.csv", "train-fixed.no-ol.csv"]
    assert dl.prepare_e2e_clean(tmp_path, files=files) == tmp_path and len(server.seen) == 3
    monkeypatch.setenv("E2E_CLEAN_DIR", str(tmp_path))
    assert dl.prepare_e2e_clean(files=files) == tmp_path and len(server.seen) == 3
    (tmp_path / "train-fixed.no-ol.csv").unlink()
    with pytest.raises(
        FileNotFoundError, match="is missing.* e2e_clean` downloads the files .with"
    ):
        dl.prepare_e2e_clean(files=files)


def made_folder(folder):
    sums = {}
    for name in dl.E2E_FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode() * 40)
        sums[name] = hashlib.sha256(name.encode() * 40).hexdigest()
    return {name: ("http://127.0.0.1:9/never-asked", sha256) for name, sha256 in sums.items()}


def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("asked the network")

    monkeypatch.setattr(requests.Session, "request", refuse)


def test_environment_folder_is_used_without_network(tmp_path, monkeypatch):
    no_network(monkeypatch)
    monkeypatch.setenv("E2E_DATA_DIR", str(tmp_path))
    files = made_folder(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert dl.e2e_dir() == tmp_path
    assert dl.prepare_e2e(files=files) == tmp_path
    assert sorted(tmp_path.rglob("*")) == before  # nothing written there: it may be read-only


@pytest.mark.parametrize("name", ["trainset.csv", "lora_format/valid.txt"])
def test_truncated_or_missing_file_in_environment_folder(tmp_path, monkeypatch, name):
    no_network(monkeypatch)
    monkeypatch.setenv("E2E_DATA_DIR", str(tmp_path))
    files = made_folder(tmp_path)
    os.truncate(tmp_path / name, 17)
    with pytest.raises(ValueError, match=f"{re.escape(name)} .17 bytes.*{files[name][1]}"):
        dl.prepare_e2e(files=files)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{re.escape(name)} is missing"):
        dl.prepare_e2e(files=files)


def test_default_folder(monkeypatch):
    monkeypatch.delenv("E2E_DATA_DIR", raising=False)
    assert dl.e2e_dir() == ROOT / "data" / "e2e"


def test_addresses_are_pinned_to_commits():
    for name, (url, sha256) in {**dl.E2E_FILES, **dl.E2E_CLEAN_FILES}.items():
        pinned = r"https://raw\.githubusercontent\.com/[\w-]+/[\w-]+/[0-9a-f]{40}/.+"
        assert re.fullmatch(pinned, url) and url.endswith("/" + name.split("/")[-1])
        assert re.fullmatch("[0-9a-f]{64}", sha256)


def run_script(*args, **env):
    command = [sys.executable, str(ROOT / "scripts" / "prepare_data.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})


def test_script_tells_the_error_in_one_line(tmp_path):
    done = run_script("e2e", E2E_DATA_DIR=str(tmp_path))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'devset.csv'} is missing")


def test_script_help_has_examples():
    done = run_script("--help")
    assert done.returncode == 0 and "python scripts/prepare_data.py demo --dir" in done.stdout


@pytest.mark.skipif("E2E_DATA_DIR" not in os.environ, reason="needs E2E_DATA_DIR")
def test_real_data_counts():
    done = run_script("e2e")
    assert done.returncode == 0, done.stderr
    rows = [line.replace(",", "").split() for line in done.stdout.splitlines()[1:]]
    assert {name: (int(n), int(mrs)) for name, n, mrs in rows} == {
        "devset.csv": (4672, 547),  # the counts of the E2E papers and of LoRA's files
        "testset_w_refs.csv": (4693, 630),
        "trainset.csv": (42061, 4862),
        "lora_format/test.txt": (4693, 630),
        "lora_format/train.txt": (42061, 4862),
        "lora_format/valid.txt": (4672, 547),
    }


def test_a_wrong_cleaned_file_is_told_how_they_are_had(tmp_path):
    (tmp_path / "a.csv").write_text("other")
    with pytest.raises(ValueError, match="is not the published file.* e2e_clean` downloads the"):
        dl.prepare_e2e_clean(tmp_path, files={"a.csv": ("http://x", "0" * 64)})


def test_another_seed_and_place_of_the_demo_data_are_heeded(tmp_path, monkeypatch, capsys):
    for seed in (0, 1):
        given = ["demo", "--dir", str(tmp_path / str(seed)), "--seed", str(seed)]
        monkeypatch.setattr("sys.argv", ["prepare_data.py", *given])
        runpy.run_path(str(ROOT / "scripts/prepare_data.py"), run_name="__main__")
        following = f"next: python scripts/reproduce.py demo data.dir={tmp_path}/{seed}\n"
        assert capsys.readouterr().err.endswith(following)
    first, second = (tmp_path / f"{seed}/lora_format/train.txt" for seed in (0, 1))
    assert first.read_bytes() != second.read_bytes()


def test_checksums_of_the_user_s_own_files_are_kept(tmp_path):
    """Told before anything is downloaded, or written."""
    mine = "0" * 64 + "  mine.csv\n"
    (tmp_path / "SHA256SUMS").write_text(mine)
    with pytest.raises(ValueError, match="has checksums of other files .mine.csv., and is not re"):
        dl.prepare_e2e(tmp_path, files={"a.csv": ("http://no.where", "0" * 64)})
    with pytest.raises(ValueError, match="has checksums of other files .mine.csv., and is not re"):
        write_demo_data(tmp_path, 1, train_rows=4, valid_rows=2, test_mrs=3)
    assert [path.name for path in tmp_path.iterdir()] == ["SHA256SUMS"]
    assert (tmp_path / "SHA256SUMS").read_text() == mine
