from solo.files import read_json_lines
from solo.training.log import Log


def test_a_log_goes_on_after_a_line_that_was_cut_short(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    for step in (1, 2, 3):
        log.write({"step": step})
    with open(log.path, "ab") as file:
        file.write(b'{"step": 4, "event": "\xc3')  # in the middle of a letter
    log.keep_until(2)
    kept = log.path.read_bytes()
    assert read_json_lines(log.path) == [{"step": 1}, {"step": 2}]
    for damage in (b"null", b"[]", b"{}", b'{"step": "3"}', b"[" * 100_000):
        log.path.write_bytes(kept + damage + b"\n")
        log.keep_until(2)
        assert log.path.read_bytes() == kept
