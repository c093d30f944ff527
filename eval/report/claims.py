"""The front page: each claim of the paper with a verdict, a figure and its interval.

What pretrained GPT-2 says and what a stand-in says never share a verdict.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from solo.files import read_yaml

from .. import bootstrap
from ..claims import Spread, compare, seed_spread
from ..metrics import METRICS
from ..records import lambdas_of, last_values
from ..tables.figures import PAPER_LAMBDA
from ..tables.groups import alike, why_incomparable
from ..tables.runs import Run
from .scores import ReportLine, ReportTable

LISTED = Path(__file__).parent / "claims.yaml"
BLEU = METRICS["BLEU"]
HOLDS, FAILS, UNDECIDED, OPEN = "holds", "does not hold", "not decided", "open"
COLLAPSED = 0.5  # below that share of another row's BLEU
NO_GPT2 = "no run with pretrained GPT-2 yet"
NO_STAND_IN = "no stand-in run of both yet"


@dataclass(frozen=True)
class Verdict:
    """verdict: HOLDS and the like; figure: the number behind it; interval: 95 %, as text; seeds: of
    both sides, as text; note: why there is none."""

    verdict: str
    figure: str = ""
    interval: str = ""
    seeds: str = ""
    note: str = ""


@dataclass(frozen=True)
class Judged:
    """A claim. printed: what the paper's tables print, as text; reproduction, stand_in, count: the
    verdicts, None where such a one cannot be."""

    claim: str
    where: str
    note: str
    printed: str
    reproduction: Verdict | None
    stand_in: Verdict | None
    count: Verdict | None


def judge(tables: Sequence[ReportTable], reported: dict, counts: dict[str, int]) -> list[Judged]:
    """All claims. reported: eval/tables/paper.yaml; counts: trainable parameters by row."""
    rows = {
        row["row"]: row
        for table in reported.values()
        if isinstance(table, dict)
        for row in table.get("rows", ())
    }
    judged = []
    for entry in read_yaml(LISTED):
        head = entry["claim"], entry["where"], entry.get("note", "")
        if "fewer" in entry:
            a, b, share = entry["fewer"]
            printed = f"{rows[a]['reported']} and {rows[b]['reported']}"
            judged.append(Judged(*head, printed, None, None, _fewer(counts, a, b, share)))
        elif "lambda" in entry:
            row, (low, high) = entry["lambda"], PAPER_LAMBDA
            (real, _), (stand_in, _) = (_sides(tables, [[row]], k) for k in ("ours", "stand-in"))
            verdicts = _ends(*real, NO_GPT2), _ends(*stand_in, NO_STAND_IN)
            judged.append(Judged(*head, f"{low:g} to {high:g}", *verdicts, None))
        elif "collapses" in entry:
            a, b = entry["collapses"]
            first, second = (float(rows[row]["paper"]["BLEU"]) for row in (a, b))
            (real, _), (stand_in, _) = _both(tables, entry, "collapses")
            verdicts = _collapses(*real, NO_GPT2), _collapses(*stand_in, NO_STAND_IN)
            judged.append(Judged(*head, f"{first / second:.0%} of its BLEU", *verdicts, None))
        else:
            a, b = entry["better"]
            values = [float(rows[row]["paper"]["BLEU"]) for row in (a, b)]
            printed = f"{values[0] - values[1]:+.2f} BLEU".replace("-", "−")
            printed += "" if values[0] > values[1] else ": its own table says otherwise"
            real, stand_in = _both(tables, entry, "better")
            verdicts = _better(*real, NO_GPT2), _better(*stand_in, NO_STAND_IN)
            judged.append(Judged(*head, printed, *verdicts, None))
    return judged


def _both(tables: Sequence[ReportTable], entry: dict, claim: str) -> list[tuple]:
    """Of an entry of claims.yaml, what `_sides` finds as reproductions and on a stand-in."""
    pairs = [entry[claim], *([entry["also"]] if "also" in entry else [])]
    on_stand_in = [*pairs, *([entry["standin"]] if "standin" in entry else [])]
    return [_sides(tables, pairs, "ours"), _sides(tables, on_stand_in, "stand-in")]


def _sides(
    tables: Sequence[ReportTable], alternatives: Sequence[Sequence[str]], kind: str
) -> tuple[list[list[Run]], list[ReportLine]]:
    """The runs of some rows, and all lines of the one table that has all of them.

    alternatives: names for these rows, of which the first counts that a table has. The runs are
    those with the paper's variant, the row's own options and the fewest epochs. Without such a
    table every row has none.
    """
    for table in tables:
        if kind == "stand-in" and table.name.startswith("demo"):
            continue  # a toy of 200 steps judges nothing
        for rows in alternatives:
            found = [_runs(table, row, kind) for row in rows]
            if all(found):
                return found, table.lines
    return [[] for _ in alternatives[0]], []


def _runs(table: ReportTable, row: str, kind: str) -> list[Run]:
    lines = [
        line.runs
        for line in table.lines
        if (line.row, line.kind) == (row, kind)
        and line.variant in ("", "paper")
        and line.runs
        and all(BLEU.name in run.scores for run in line.runs)
    ]
    return min(lines, key=_otherwise, default=[])


def _otherwise(runs: list[Run]) -> tuple[bool, int]:
    """Whether runs change an option of the row's method, and their epochs."""
    changed = any(mark.startswith("adapter.") for mark in runs[0].marks)
    return changed, runs[0].options["train"].get("epochs", 0)


def _better(pair: Sequence[list[Run]], lines: list[ReportLine], without: str) -> Verdict:
    """Whether the first row's BLEU is above the second's, by the bootstrap over seeds and test MRs.

    Both as `_sides` gives them; how far seeds move a difference their table's lines say.
    """
    a, b = alike(*pair)
    if not a or not b:
        return Verdict(OPEN, note=without)
    if words := why_incomparable(*a, *b):
        return Verdict(OPEN, note=f"its runs cannot be compared: {words}")
    sides = [[run.outputs for run in runs] for runs in (a, b)]
    try:  # with the draws of a study's own table, so that its intervals are the same
        alone = [[_alone(side) for side in of_row] for of_row in sides]
        claim = compare(*alone, _seed_spread(lines))[BLEU.name]
    except (ValueError, KeyError) as error:
        return Verdict(OPEN, note=f"its runs cannot be compared: {error}")
    verdict = HOLDS if claim.low > 0 else FAILS if claim.high < 0 else UNDECIDED
    interval = " to ".join(BLEU.shown(end, "+") for end in (claim.low, claim.high))
    return Verdict(verdict, f"{BLEU.shown(claim.a - claim.b, '+')} BLEU", interval, _seeds(a))


def _collapses(a: list[Run], b: list[Run], without: str) -> Verdict:
    """Whether the first row has less than half of the second's BLEU, with every seed."""
    pairs = zip(*alike(a, b), strict=True)
    shares = [x.scores[BLEU.name] / y.scores[BLEU.name] for x, y in pairs if y.scores[BLEU.name]]
    if not shares:
        return Verdict(OPEN, note=without)
    low, high = min(shares), max(shares)
    verdict = HOLDS if high < COLLAPSED else FAILS if low >= COLLAPSED else UNDECIDED
    interval, mean = f"{low:.0%} to {high:.0%} (range)", statistics.fmean(shares)
    return Verdict(verdict, f"{mean:.0%} of its BLEU", interval, _seeds(shares))


def _seed_spread(lines: Sequence[ReportLine]) -> dict[str, Spread]:
    by_seed = [{run.seed: run.scores.get(BLEU.name) for run in line.runs} for line in lines]
    found = seed_spread([of for of in by_seed if None not in of.values()])
    return {BLEU.name: found} if found else {}


def _alone(outputs: bootstrap.Outputs) -> bootstrap.Outputs:
    """With the statistics of BLEU alone. Raises KeyError without."""
    return replace(outputs, statistics={BLEU.name: outputs.statistics[BLEU.name]})


def _ends(runs: list[Run], without: str) -> Verdict:
    """Whether lambda typically (more than half of all) ends in the paper's band."""
    ends = [end for run in runs for end in lambdas_of(last_values(run.directory))]
    if not ends:
        return Verdict(OPEN, note=without.replace(" of both", ""))
    low, high = PAPER_LAMBDA
    inside = sum(low <= value <= high for value in ends)
    verdict = HOLDS if 2 * inside > len(ends) else FAILS
    figure = f"{inside} of {len(ends)} inside"
    interval = f"{min(ends):.3f} to {max(ends):.3f} (range)"
    return Verdict(verdict, figure, interval, _seeds(runs))


def _seeds(of_each: Sequence) -> str:
    return f"{len(of_each)} seed{'s' if len(of_each) > 1 else ''}"


def _fewer(counts: dict[str, int], a: str, b: str, share: float) -> Verdict:
    """Whether a trains so many per cent fewer parameters than b.

    To 0.55 per cent: the paper's 59 % are 58.5 by its own counts, and no other claim is as near.
    """
    if not {a, b} <= counts.keys():
        return Verdict(OPEN, note="not counted; run make params")
    found = 100 * (1 - counts[a] / counts[b])
    verdict = HOLDS if found >= share - 0.55 else FAILS
    return Verdict(verdict, f"{found:.1f} % fewer", f"{counts[a]:,} and {counts[b]:,}")
