"""What a finished run's files say, held against each other: a table believes none of them alone."""

from pathlib import Path

from solo.run_files import CONFIG, ENVIRONMENT, IDENTITY, PREDICTIONS, SCORES, STATISTICS
from solo.triples import content_sha256

from .. import records
from ..compare import kept
from ..formats import read_hypotheses
from ..records import NUMBER, word


def checked_scores(decoding: Path, scored: dict) -> tuple[dict[str, float], str, list[str]]:
    """(scores, sha256 of the references, marks) of a finished run, held against its other files.

    scored: its record of decoding and scoring. Raises ValueError for what does not fit together.
    """
    scores, references = records.read_scores(decoding), _scored_references(decoding, scored)
    return scores, references, _check_scores(decoding, scored, scores)


def _scored_references(decoding: Path, scored: dict) -> str:
    """The sha256 of the references; ValueError unless the predictions are those that were decoded
    and scored."""
    inputs = dict(scored["evaluate"]["inputs"])
    predictions = records.predictions_of(decoding)
    sha256 = content_sha256(predictions)
    if scored["decode"]["sha256"] != sha256:
        raise ValueError(f"{predictions.name} was changed since it was decoded; decode it again")
    if inputs.pop(PREDICTIONS) != sha256:
        raise ValueError(f"{predictions.name} is not the file that was scored; evaluate it again")
    if len(inputs) != 1:
        raise ValueError(f"{ENVIRONMENT} names {len(inputs)} files of references, not one")
    [references] = inputs.values()
    return references


def check_adapter(given: dict, trained: dict) -> None:
    """The options as given and as trained with, where the variant's are filled in, agree."""
    for key, value in given.items():
        if isinstance(value, (str, *NUMBER)) and trained.get(key) != value:
            raise ValueError(
                f"{CONFIG} says adapter.{key}={word(value)}, {IDENTITY} "
                f"{word(trained.get(key))}; they are not of one run"
            )


def _check_scores(decoding: Path, scored: dict, scores: dict[str, float]) -> list[str]:
    """A mark where nothing shows where the scores come from.

    ValueError for another number of predictions than recorded, and for scores that are not those
    of the record or, in a packed run or one without that record, of the segments' statistics.
    """
    predictions, outputs = records.predictions_of(decoding), None
    sha256 = scored["evaluate"].get("sha256")
    by_record = sha256 and not records.is_packed(decoding)
    if not by_record:
        outputs = kept(decoding)
    read = outputs.sources if outputs else read_hypotheses(predictions, []).texts
    recorded = scored["decode"]["n_predictions"]
    if len(read) != recorded:
        raise ValueError(
            f"{predictions.name} has {len(read)} outputs, {ENVIRONMENT} says {recorded}"
        )
    if by_record:
        if sha256 != content_sha256(decoding / SCORES):
            raise ValueError(f"{SCORES} was changed since it was written; evaluate it again")
        return []
    if outputs is None:
        return [f"scores without their {STATISTICS}"]
    if words := records.contradiction(scores, outputs.statistics):
        raise ValueError(f"{words}; evaluate it again")
    return []
