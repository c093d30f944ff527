"""Files are written whole or not at all, by one writer at a time, and never over another's."""

import errno
import os
import resource
import threading
import time

import pytest
import torch

from solo import files
from solo.tensors import save_tensors


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_kill_left_is_written_over_or_cleaned_away(tmp_path):
    for left in (".tmp.a.txt", ".tmp.b.txt", ".tmpfZ3x9q"):  # the last one as safetensors has it
        (tmp_path / left).write_text("half a file, and long")
    (tmp_path / ".tmp.folder").mkdir()
    files.write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert names(tmp_path) == [".tmp.b.txt", ".tmp.folder", ".tmpfZ3x9q", "a.txt"]
    (tmp_path / ".tmp.folder" / ".tmp.c.txt").write_text("a user's")
    files.clean(tmp_path)
    assert names(tmp_path) == [".tmp.folder", "a.txt"] and names(tmp_path / ".tmp.folder")


def test_a_second_writer_of_a_file_waits_for_the_first(tmp_path):
    path, inside, order = tmp_path / "a.txt", threading.Event(), []

    def second():
        inside.wait()
        with files.atomic(path) as temporary:
            order.append("second")
            temporary.write_text("second")

    thread = threading.Thread(target=second)
    thread.start()
    with files.atomic(path) as temporary:
        temporary.write_text("first")
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and path.read_text() == "second"
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_writer_leaves_the_old_file(tmp_path):
    files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), files.atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_an_error_names_the_output_and_not_what_lies_beside_it(tmp_path):
    """Of a write that fails, as on a full disk, the system gives no name at all."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        with pytest.raises(OSError) as raised:
            files.write_text(tmp_path / "a.txt", "more than ten bytes")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert raised.value.errno == errno.EFBIG and raised.value.filename == str(tmp_path / "a.txt")
    assert names(tmp_path) == []


def test_others_may_read_what_is_written(tmp_path):
    before = os.umask(0o022)
    try:
        files.write_text(tmp_path / "a.txt", "x")
        save_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(2)}, {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/null"):
        with pytest.raises(ValueError, match="is no regular file, and is not replaced; name anot"):
            files.write_text(path, "x")
    assert names(tmp_path) == ["pipe"] and not (tmp_path / "pipe").is_file()


def test_a_link_goes_on_to_name_what_is_written(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    files.write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real.txt").read_text() == "new"


def test_an_output_replaces_only_what_the_program_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "OUTPUTS", tmp_path / "cache" / "outputs.txt")
    out, given, folder = tmp_path / "out.tsv", tmp_path / "given.txt", tmp_path / "run"
    folder.mkdir()
    for path in (given, folder / "adapter.json"):
        path.write_text("precious")

    def refused(path, text, **options):
        with pytest.raises(ValueError, match=text):
            files.check_output(path, [given, folder, tmp_path / "absent"], **options)

    files.check_output(out, [given])
    files.write_output(out, "one")
    files.check_output(out, [given])  # our own
    refused(given, "given.txt is an input of this command; name another", force=True)
    (tmp_path / "same.txt").hardlink_to(given)
    refused(tmp_path / "same.txt", "is an input of this command", force=True)
    refused(folder / "adapter.json", "a file that this command works with", force=True)
    refused(folder, "is no regular file", force=True)
    out.write_text("edited by hand")
    refused(out, "out.tsv is there already, and not as this program wrote it; name another output")
    files.check_output(out, [given], force=True)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b"[1]"])
def test_damaged_json_is_named_and_never_to_be_deleted(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match="config.json is damaged .*; restore it, or move it away"):
        files.read_json(tmp_path / "config.json")
    with pytest.raises(ValueError, match="config.json is damaged .it has no 'b'.; restore it"):
        (tmp_path / "config.json").write_text('{"a": 1}')
        files.read_json(tmp_path / "config.json", ["a", "b"])
    (tmp_path / "log.jsonl").write_bytes(b"{")
    with pytest.raises(ValueError, match="log.jsonl is damaged"):
        files.read_json_lines(tmp_path / "log.jsonl")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 99_999, "it has more than 50 levels"),  # a minute to read, then too deep for Python
        ("- " * 49_999, "it has more than 50 levels"),
        ("{a: " * 24_999, "it has more than 50 levels"),
        ("- a\n" * 30_000, "it has 120,000 characters; at most 100,000"),
        ("a: &a [x]\nb: *a", "it has aliases"),
    ],
)
def test_yaml_that_no_run_writes_is_refused_soon(tmp_path, text, words):
    (tmp_path / "config.yaml").write_text(text)
    began = time.process_time()
    with pytest.raises(ValueError, match=f"config.yaml is damaged .{words}"):
        files.read_yaml(tmp_path / "config.yaml")
    assert time.process_time() - began < 10


def test_a_file_whose_name_only_begins_as_a_writers_is_kept(tmp_path):
    for name in (".tmp.a.json", ".tmpAb12Cd", ".tmpAb12Cd-mine"):
        (tmp_path / name).write_text("x")
    files.clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".tmpAb12Cd-mine"]


def test_the_order_of_keys_makes_no_other_hash():
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert files.config_hash(one) == files.config_hash(other) != files.config_hash({"a": 1})


def test_a_file_that_was_changed_in_place_is_read_again_whatever_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SETTLED_NS", 0)
    path, sums = tmp_path / "x", []
    for text in ("aa", "bb"):
        path.write_text(text)
        sums.append(files.file_sha256(path))
        time.sleep(0.1)
    assert sums[0] != sums[1]
