"""Downloads against a server of our own on 127.0.0.1; checksums computed by hashlib here."""

import hashlib
import os
import re
import subprocess
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from solo.datasets import download as dl

BODY = bytes((i * i + i // 7) % 251 for i in range(300_000))
SUM = hashlib.sha256(BODY).hexdigest()
ROOT = Path(dl.__file__).resolve().parents[2]


@pytest.fixture
def server(monkeypatch):
    """Serves BODY at /file. `plan` holds one entry a request: how many bytes until it breaks."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = types.SimpleNamespace(
        seen=[], sent=[], plan=[], honours_range=True, body=BODY, announces=True
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.seen.append((self.path, asked))
            if self.path.startswith("/gone"):
                return self.send_error(404)
            if self.path.startswith("/busy") and len(state.seen) < 3:
                return self.send_error(503)
            start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1)) if asked else 0
            if not state.honours_range:
                start = 0
            elif start >= len(state.body):
                return self.send_error(416)
            rest = state.body[start:]
            self.send_response(206 if start else 200)
            if start:
                whole = len(state.body)
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            if state.announces:
                self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            sent = rest[: state.plan.pop(0)] if state.plan else rest
            state.sent.append(len(sent))  # before the write: the client may be done at once
            self.wfile.write(sent)

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
    dl.download(server.url + where, path, sha256, wait_s=0, **kwargs)


def only_file(folder):
    return [path.name for path in folder.iterdir()]


def test_full_download_reports_progress_and_leaves_one_file(server, tmp_path):
    calls = []
    get(server, tmp_path / "deep" / "a.csv", on_progress=lambda *call: calls.append(call))
    assert (tmp_path / "deep" / "a.csv").read_bytes() == BODY
    assert only_file(tmp_path / "deep") == ["a.csv"]
    assert calls[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_present_and_right_file_is_not_fetched(server, tmp_path):
    (tmp_path / "a.csv").write_bytes(BODY)
    get(server, tmp_path / "a.csv")
    assert server.seen == []


def test_present_but_wrong_file_is_an_error_and_is_kept(server, tmp_path):
    (tmp_path / "a.csv").write_bytes(BODY[:100])
    with pytest.raises(ValueError, match=r"a\.csv \(100 bytes\) is not the pub.*move it away"):
        get(server, tmp_path / "a.csv")
    assert server.seen == [] and (tmp_path / "a.csv").read_bytes() == BODY[:100]


def test_broken_connection_is_resumed_with_the_rest_only(server, tmp_path):
    server.plan = [123_456]
    calls = []
    get(server, tmp_path / "a.csv", on_progress=lambda *call: calls.append(call))
    assert server.seen == [("/file", None), ("/file", "bytes=123456-")]
    assert server.sent == [123_456, len(BODY) - 123_456]
    assert (tmp_path / "a.csv").read_bytes() == BODY
    assert calls[-1] == (len(BODY), len(BODY))


def test_part_of_an_earlier_run_is_resumed(server, tmp_path):
    server.plan = [1000]
    with pytest.raises(ConnectionError, match="broke after 1000 of 300000 bytes.*run again"):
        get(server, tmp_path / "a.csv", attempts=1)
    assert only_file(tmp_path) == ["a.csv.part"]
    get(server, tmp_path / "a.csv")
    assert server.seen[-1] == ("/file", "bytes=1000-") and server.sent[-1] == len(BODY) - 1000
    assert (tmp_path / "a.csv").read_bytes() == BODY


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("have", [0, 1000])
def test_what_is_larger_than_any_file_is_refused_and_leaves_nothing(
    server, tmp_path, monkeypatch, announced, have
):
    """Before its first byte, or where the server does not say how long it is, at the limit."""
    monkeypatch.setattr(dl, "LARGEST", len(BODY) - 1)
    server.announces = announced
    calls = []
    (tmp_path / "a.csv.part").write_bytes(BODY[:have])
    with pytest.raises(ValueError, match="/file is larger than 299,999 bytes, which no file"):
        get(server, tmp_path / "a.csv", on_progress=lambda *call: calls.append(call))
    assert only_file(tmp_path) == [] and len(server.seen) == 1
    assert not calls if announced else calls[-1][0] < len(BODY)
    monkeypatch.setattr(dl, "LARGEST", len(BODY))
    get(server, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == BODY


def test_no_published_file_is_larger_than_the_limit(real):
    sizes = [(real("E2E_DATA_DIR") / name).stat().st_size for name in dl.E2E_FILES]
    assert 2 * max(sizes) < dl.LARGEST


def test_server_without_range_starts_again(server, tmp_path):
    server.honours_range = False
    server.plan = [50_000]
    get(server, tmp_path / "a.csv")
    assert server.seen[1] == ("/file", "bytes=50000-") and server.sent[1] == len(BODY)
    assert (tmp_path / "a.csv").read_bytes() == BODY


def test_whole_part_needs_no_request_and_too_long_a_part_starts_again(server, tmp_path):
    (tmp_path / "a.csv.part").write_bytes(BODY)
    get(server, tmp_path / "a.csv")
    assert server.seen == [] and (tmp_path / "a.csv").read_bytes() == BODY
    (tmp_path / "b.csv.part").write_bytes(BODY + b"more")
    get(server, tmp_path / "b.csv")
    assert [asked for _, asked in server.seen] == [f"bytes={len(BODY) + 4}-", None]
    assert (tmp_path / "b.csv").read_bytes() == BODY


def test_wrong_checksum_names_both_and_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError) as error:
        get(server, tmp_path / "a.csv", sha256="0" * 64)
    text = str(error.value)
    assert "a.csv" in text and "0" * 64 in text and SUM in text and "run again" in text
    assert "\n" not in text and only_file(tmp_path) == []


def test_not_found_is_told_at_once(server, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"/gone.*404.*put the file at .*a\.csv"):
        get(server, tmp_path / "a.csv", where="/gone")
    assert len(server.seen) == 1 and only_file(tmp_path) == []


def test_busy_server_is_asked_again_with_growing_pauses(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(dl.time, "sleep", pauses.append)
    dl.download(server.url + "/busy", tmp_path / "a.csv", SUM, wait_s=1.5)
    assert pauses == [1.5, 3.0] and (tmp_path / "a.csv").read_bytes() == BODY


def test_attempts_run_out(server, tmp_path):
    server.plan = [0, 0, 0, 0]
    with pytest.raises(ConnectionError, match="in 3 attempts"):
        get(server, tmp_path / "a.csv", attempts=3)
    assert len(server.seen) == 3


def test_a_bad_line_that_brings_something_each_time_is_not_given_up(server, tmp_path):
    server.plan = [50_000] * 5
    get(server, tmp_path / "a.csv", attempts=2)
    assert (tmp_path / "a.csv").read_bytes() == BODY and len(server.seen) == 6


def test_prepare_downloads_all_and_writes_sums(server, tmp_path, monkeypatch):
    monkeypatch.delenv("E2E_DATA_DIR", raising=False)
    files = {
        "x.csv": (server.url + "/file", SUM),
        "lora_format/a.txt": (server.url + "/file?2", SUM),
    }
    names = []
    found = dl.prepare_e2e(tmp_path, lambda name: names.append(name) or print, files)
    assert found == tmp_path and names == list(files) and len(server.seen) == 2
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

    monkeypatch.setattr(dl.urllib.request, "urlopen", refuse)


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


def test_two_downloads_at_once_both_end_with_the_file_and_ask_once(server, tmp_path):
    failures = []

    def fetch():
        try:
            get(server, tmp_path / "a.csv")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and server.seen == [("/file", None)]
    assert (tmp_path / "a.csv").read_bytes() == BODY and only_file(tmp_path) == ["a.csv"]
