"""A finished run packed to be kept: NAME.json has all that tables and pictures need.

The JSON maps the names of a run's files to what they hold, a part a line, those of the training and
of the decoding as one. The predictions lie beside it, as they were scored. The weights stay out.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from solo.files import check_output, write_output
from solo.run_files import CONFIG, ENVIRONMENT, IDENTITY, LOG, ROWS, SCORES, STATISTICS
from solo.triples import content_sha256

from .. import records
from ..compare import decoding_of
from ..formats import read_hypotheses
from ..metrics import SETS
from ..metrics.statistics import content_of
from ..score import not_measured, score_files
from .runs import read_run, reason

HASHES = re.compile(
    "([0-9a-f]{8})(-[0-9a-f]{8})?$"
)  # of a run, and of its decoding where it has several


def pack(run: Path, out: Path, reported: dict, force: bool = False, hide_mrs: bool = False) -> Path:
    """Write a finished run's two files into `out`; returns the path of the JSON.

    run: its directory if it was decoded once, otherwise DIR/decode/HASH, which gives the packed run
    the name DIR-HASH; a run that `out` has already keeps its name there. reported:
    eval/tables/paper.yaml. hide_mrs: in place of each MR the packed predictions have twelve digits
    of its sha256, for data that must not be passed on. Raises ValueError with the reason for a run
    that the tables would leave out, or that has no statistics, and what check_output raises.
    """
    decoding = decoding_of(run)
    directory = decoding.parent.parent if decoding.parent.name == "decode" else decoding
    try:
        name = read_run(directory, decoding, reported).name.replace("/decode/", "-")
        parts = _parts(directory, decoding)
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{run} cannot be packed: {reason(error)}") from error
    target = _kept(Path(out), name) or Path(out) / f"{name}.json"
    if target.exists() and _is_another(target, parts[IDENTITY]):
        target = target.with_name(f"{target.stem}-{decoding.name}.json")
    predictions = records.predictions_of(decoding)
    for path in (target, records.predictions_of(target)):
        check_output(path, [directory], force)
    if hide_mrs:
        text = _without_mrs(predictions)
        write_output(records.predictions_of(target), text)
        # The checksum that the decoding and the scoring have of the predictions is now this one.
        before, now = content_sha256(predictions), content_sha256(records.predictions_of(target))
        parts = json.loads(json.dumps(parts).replace(before, now))
    else:
        write_output(
            records.predictions_of(target), lambda path: shutil.copyfile(predictions, path)
        )
    _write(target, parts)
    return target


def _without_mrs(predictions: Path) -> str:
    """A file of predictions with a digest in place of each MR: still the same for the same MR."""
    sources = read_hypotheses(predictions, []).sources
    head, *lines = predictions.read_text(encoding="utf-8").splitlines()
    digests = (hashlib.sha256(source.encode()).hexdigest()[:12] for source in sources)
    hidden = [
        f"{digest}\t{line.partition(chr(9))[2]}"
        for digest, line in zip(digests, lines, strict=True)
    ]
    return "\n".join([head, *hidden]) + "\n"


def _is_another(target: Path, identity: dict) -> bool:
    """Whether another decoding lies packed there, under the name of the training of both."""
    if not records.holds_run(target):
        return False
    there = records.read(target, IDENTITY)
    return any(there.get(key) != identity.get(key) for key in ("decode", "test"))


def _kept(out: Path, name: str) -> Path | None:
    """Where the same run lies packed already, perhaps under other words: its hashes come last."""
    hashes = HASHES.search(name)
    same = out.glob(f"*{hashes[0]}.json") if hashes else ()
    return next((path for path in sorted(same) if path.name[0] != "."), None)


def lacks_scores(run: Path) -> bool:
    """Whether a packed run was scored before a metric came that its MRs are made for."""
    scores = records.read(run, SCORES)
    known = scores.keys() | not_measured(scores.get("signature", ""))
    of_set = next(registry for registry in SETS.values() if registry.keys() & known)
    return not {name for name, metric in of_set.items() if not metric.part} <= known


def hides_mrs(run: Path) -> bool:
    """Whether a packed run has digests in the place of its MRs."""
    return records.hidden(read_hypotheses(records.predictions_of(run), []).sources)


def score_again(runs: Sequence[Path], references: Path) -> None:
    """Give packed runs the scores and statistics of today's metrics, from their predictions.

    Raises ValueError, before any work, for a run that was scored against other references.
    """
    kept = [json.loads(run.read_text(encoding="utf-8")) for run in runs]
    sha256 = content_sha256(references)
    for run, parts in zip(runs, kept, strict=True):
        if parts[STATISTICS]["inputs"]["references"] != sha256:
            raise ValueError(
                f"{run} was scored against other references than {references}; score it where "
                "those are, and pack it again"
            )
    predictions = [records.predictions_of(run) for run in runs]
    results = score_files(references, predictions, partial=None)
    for run, parts, result in zip(runs, kept, results, strict=True):
        parts[SCORES] = result.scores
        parts[STATISTICS] = content_of(result.statistics, parts[STATISTICS]["inputs"])
        _shorten(parts[STATISTICS])
        parts[ENVIRONMENT]["evaluate"].pop("sha256", None)  # of the scores that were there
        _write(run, parts)


def _write(target: Path, parts: dict) -> None:
    written = (f"{json.dumps(key)}:{_compact(value)}" for key, value in parts.items())
    write_output(target, "{" + ",\n".join(written) + "}\n")


def _parts(directory: Path, decoding: Path) -> dict:
    both = {
        name: records.read(directory, name) | records.read(decoding, name)
        for name in (IDENTITY, ENVIRONMENT)
    }
    statistics = records.read(decoding, STATISTICS)
    predictions = read_hypotheses(records.predictions_of(decoding), [])
    if statistics.pop("sources") != predictions.sources:  # a packed run has them there alone
        raise ValueError(f"{STATISTICS} is of other MRs than the predictions; evaluate it again")
    _shorten(statistics)
    return {
        CONFIG: records.read(directory, CONFIG),
        **both,
        ROWS: records.read_rows(directory),
        SCORES: records.read(decoding, SCORES),
        LOG: records.read_log(directory),
        STATISTICS: statistics,
    }


def _shorten(statistics: dict) -> None:
    statistics["rows"] = {
        metric: [[_short(value) for value in row] for row in rows]
        for metric, rows in statistics["rows"].items()
    }


def _short(value: float) -> float | int:
    """A count without its ".0"; JSON gives every other float back to the bit."""
    return int(value) if float(value).is_integer() else value


def _compact(value) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
