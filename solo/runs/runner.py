"""Many runs: shared where they are the same, skipped where they are done, failures collected.

Tables, smoke runs, sweeps and studies are all lists of runs that are given to `run_all`.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from solo.datasets import source_of
from solo.errors import in_words
from solo.files import read_json, write_json
from solo.options import check
from solo.run_files import DIVERGED
from solo.runs import checkpoint, record, sharing, stages
from solo.runs.identity import has_defaults
from solo.runs.run import STATES, Run
from solo.training.progress import Diverged

# a label, and what is counted if not steps -> a progress callback
Report = Callable[..., AbstractContextManager[stages.Progress]]
Say = Callable[[str], None]  # what becomes of a line for the user
Evaluate = Callable[[Sequence[Run]], list[dict]]  # scores of decoded runs, by metric


@dataclass
class Outcome:
    """scores: of each evaluated run's decoding directory; failures: a line for each run that
    failed; unexpected: those of them that are no divergence, which a sweep over rates expects."""

    scores: dict[Path, dict] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


def distinct(runs: Iterable[Run]) -> dict[Path, list[Run]]:
    """The runs by what they decode to: those with the same settings share a run.

    Raises ValueError if two configurations would end in one directory.
    """
    by_decoding: dict[Path, list[Run]] = {}
    names: dict[Path, str] = {}
    for run in runs:
        first = names.setdefault(run.directory.absolute(), run.name)
        check(
            first == run.name,
            f"{run.directory} would hold several runs; leave output_dir out, or train one run",
        )
        by_decoding.setdefault(run.decoding, []).append(run)
    return by_decoding


def run_all(
    runs: Sequence[Run],
    report: Report,
    until: str = "done",
    evaluate: Evaluate | None = None,
    train_together: bool = False,
    at_once: bool = False,
    on_done: Callable[[Run, dict | None], None] = lambda run, scores: None,
    say: Say = lambda text: None,
) -> Outcome:
    """Bring every run to the state `until` (trained, decoded or done); a failure stops no other.

    evaluate: scores decoded runs, for `done`. train_together: runs that can share a pass through
    the backbone train together first. at_once: score all runs in one call in the end, which is
    cheaper; otherwise each as soon as it is decoded. on_done is called for each run that arrived,
    with its scores if there are some; `say` gets a line for each run that begins or fails. An
    interrupt and the end of the time that was allowed stop everything; the next call goes on from
    there.
    """
    check(until in STATES[2:], f"until={until!r}; known: {', '.join(STATES[2:])}")
    check(until != "done" or evaluate is not None, "until='done' needs a function, evaluate")
    outcome, shared, decoded = Outcome(), distinct(runs), []
    first = [members[0] for members in shared.values()]
    for run in first:
        with suppress(OSError, ValueError):  # its own training raises it, too
            _tell(run, say)
    together = [run for run in first if train_together and run.config.together]
    lost = _train_groups(together, report, say)
    for run, members in zip(first, shared.values(), strict=True):
        try:
            say(f"== {', '.join(dict.fromkeys(member.config.label for member in members))}")
            say(f"   {run.directory.name}")
            if run.directory in lost:
                raise lost[run.directory]
            advance(run, report, "decoded" if until == "done" else until)
            _warn(run, say)
            for row in dict.fromkeys(member.config.row for member in members):
                if row:
                    run.note_row(row)
            if until != "done":
                on_done(run, None)
            elif at_once:
                decoded.append(run)
            else:
                _evaluated(outcome, [run], evaluate, on_done)
        except Exception as error:
            _failed(outcome, members, error, say)
    try:
        if decoded:
            _evaluated(outcome, decoded, evaluate, on_done)
    except Exception:  # of one of them; which one it is shows when each is scored alone
        for run in decoded:
            try:
                _evaluated(outcome, [run], evaluate, on_done)
            except Exception as error:
                _failed(outcome, shared[run.decoding], error, say)
    return outcome


def ended(run: Run) -> bool:
    """Whether its training is over: done, or diverged, which it would do again."""
    return bool(checkpoint.trained(run.directory)) or diverged(run)


def diverged(run: Run) -> bool:
    """Whether its loss or a parameter ceased to be finite."""
    return (run.directory / DIVERGED).exists()


def advance(run: Run, report: Report, until: str) -> None:
    """Train a run, and decode with it unless `until` is `trained`; what is done is skipped.

    Raises FloatingPointError for a run that diverged, now or before.
    """
    _refuse_diverged(run)
    try:
        with report(f"train {run.config.label}") as on_progress:
            stages.train_run(run, on_progress)
    except FloatingPointError as error:
        _note_diverged(run.directory, error)
        raise
    if until == "decoded":
        with report(f"decode {run.config.label}", "MR") as on_progress:
            stages.decode_run(run, on_progress)


def _tell(run: Run, say: Say) -> None:
    """Before a training: a line if its run will have another name, and one for each of its files of
    which not all is plain (Source.note)."""
    if checkpoint.trained(run.directory):
        return
    if not has_defaults(run.config.method):
        say(
            f"note: {run.config.method} has no defaults in solo/runs/defaults.json yet, and its "
            "runs get another name then and train again; run `make methods` first"
        )
    of_data = run.config.data
    for path in dict.fromkeys([of_data.train_path, of_data.valid_path, of_data.test_path]):
        if note := source_of(path, of_data.name).note(path):
            say(f"note: {note}")


def _warn(run: Run, say: Say) -> None:
    """A line if test MRs are in the training set, too: splits that are mixed up."""
    entry = record.stage_record(run.directory, "train") or {}
    if number := entry.get("test_mrs_in_training"):
        say(f"note: {number} of the test MRs are in the training set, too")


def _note_diverged(directory: Path, error: Exception) -> None:
    write_json(directory / DIVERGED, {"error": str(error)})


def _refuse_diverged(run: Run) -> None:
    path = run.directory / DIVERGED
    if path.exists():
        error = read_json(path, ["error"])["error"]
        raise FloatingPointError(f"{error} (it would diverge again; delete {path} to try)")


def _train_groups(runs: Sequence[Run], report: Report, say: Say) -> dict[Path, Diverged]:
    """Train in groups the runs that can; returns, by directory, why one diverged."""
    lost: dict[Path, Diverged] = {}

    def tell(error: Exception) -> None:
        if isinstance(error, Diverged):
            lost[error.run_dir] = error
            _note_diverged(error.run_dir, error)
        say(f"together: {type(error.__cause__ or error).__name__}: {error}")

    todo = [run for run in runs if not diverged(run) and sharing.can_share(run)]
    for group in sharing.groups(todo):
        if len(group) > 1:
            names = ", ".join(sorted({run.config.method for run in group}))
            with report(f"train {len(group)} x {names}") as on_progress:
                sharing.train_group(group, on_progress, tell)
    return lost


def _evaluated(outcome: Outcome, runs: Sequence[Run], evaluate: Evaluate, on_done) -> None:
    for run, scores in zip(runs, evaluate(runs), strict=True):
        outcome.scores[run.decoding] = scores
        on_done(run, scores)


def _failed(outcome: Outcome, members: Sequence[Run], error: Exception, say: Say) -> None:
    for run in members:
        outcome.failures.append(f"{run.config.label}: {in_words(error)}")
        if not diverged(run):
            outcome.unexpected.append(outcome.failures[-1])
    say(f"error: {outcome.failures[-1]}")
