"""The model card of an exported run: scores with their signature, recipe, licences."""

from typing import Any

from solo.datasets import DATASETS
from solo.files import to_yaml
from solo.runs import record
from solo.runs.config import to_values
from solo.runs.run import Run

PEFT = """\
```python
import solo

model = solo.load("{name}")  # peft's PeftModel
```

`PeftModel.from_pretrained` loads it, too{after}.
"""
WHOLE = """\
```python
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("{name}")
```

The method's weights are folded into the backbone's: this is a whole model.
"""


def model_card(run: Run, scores: dict[str, Any] | None, whole: bool, folder: str) -> str:
    """The card's text. scores: of a metrics.json; None for a run that was not scored. whole: the
    folder, by its name, holds a whole model, not an adapter."""
    config, method = run.config, run.config.method_class
    trained = record.stage_record(run.directory, "train") or {}
    stand_in = trained.get("backbone", {}).get("stand_in")
    head = {
        "base_model": config.model.path,
        "library_name": "transformers" if whole else "peft",
        "pipeline_tag": "text-generation",
        "language": "en",
        "tags": ["solo-connection", config.method],
        "license": "other",
        "license_name": "see-the-section-licences",
    }
    recipe = {key: to_values(config)[key] for key in ("adapter", "train", "data", "decode", "seed")}
    source = f" ({method.source})" if method.source else ""
    parts = [
        f"---\n{to_yaml(head)}---\n",
        f"# {method.label} on {config.model.path}\n",
        f"{method.label}{source}, trained by the reproduction of Solo Connection (arXiv "
        f"2507.14353).\n{f'The backbone is no released one: {stand_in}.' if stand_in else ''}",
        f"## Use\n\n{_use(run, whole, folder)}",
        f"## Scores\n\n{_scores(scores)}\n",
        f"## Recipe\n\nRun {run.name}: {trained.get('n_params', 0):,} trained parameters, "
        f"{trained.get('steps', 0):,} steps, validation loss {trained.get('valid_loss', '–')}.\n",
        f"```yaml\n{to_yaml(recipe)}```\n",
        "## Licences\n",
        "- the code that trained it: MIT",
        f"- the training data: {DATASETS[config.data.name].licence}",
        f"- the backbone, {config.model.path}: its own",
    ]
    return "\n".join(parts) + "\n"


def _use(run: Run, whole: bool, name: str) -> str:
    if whole:
        return WHOLE.format(name=name)
    is_solo = run.config.method == "solo"
    after = ", after `import solo.peft`, which makes the method known to peft" if is_solo else ""
    return PEFT.format(name=name, after=after)


def _scores(scores: dict[str, Any] | None) -> str:
    if scores is None:
        return "It was not scored."
    numbers = {name: value for name, value in scores.items() if isinstance(value, float)}
    return "\n".join(
        [
            f"| {' | '.join(numbers)} |",
            "|" + "---|" * len(numbers),
            f"| {' | '.join(f'{value:.4f}' for value in numbers.values())} |",
            "",
            "As the official script gives them, on the test set of the recipe below. Signature:",
            "",
            f"    {scores.get('signature', 'unknown')}",
        ]
    )
