"""The tables and the picture of scripts/bench/main.py, from its JSON file alone."""

from pathlib import Path

from eval.markdown import table
from scripts.bench.growth import picture
from scripts.bench.train import LORA_FLOOR, OF_LORA
from solo import files
from solo.cli.file_quotes import spread

EPOCHS = 5  # of a whole run, the recipe's
SLOWER = 0.9  # of the figure before: less is told; on one day, runs of one commit differ by less


def write(path: Path) -> None:
    """NAME.md, and NAME_growth.png if growth was measured, beside NAME.json."""
    found = files.read_json(path)
    files.write_text(path.with_suffix(".md"), page(found))
    if "growth" in found:
        entry, image = found["growth"]["found"], path.with_name(f"{path.stem}_growth.png")
        title = f"Solo r=128, GPT-2 S, batch 4, {entry['precision']}: {_hardware(found['growth'])}"
        picture(entry["growth"], title, image)


def page(found: dict, before: dict | None = None) -> str:
    """The page of what was found, without the picture.

    before: what NAME.json was, if the page is to compare with it.
    """
    writers = {
        "whole": _whole,
        "compiled": _compiled,
        "train": _train,
        "sweep": _train,
        "small": _train,
        "decode": _decode,
        "growth": _growth,
        "profile": _profile,
    }
    machines = list(dict.fromkeys(map(_hardware, found.values())))
    parts = [f"# Speed on {' and '.join(machines)}\n\n{NOTE}"]
    for name, writer in writers.items():
        if name in found:
            entry = found[name]
            context = f"{TITLES[name]} Data: {entry['data']}; commit {str(entry['commit'])[:7]}, "
            context += f"torch {entry['versions']['torch']}, measured in {entry['seconds']:.0f} s."
            if len(machines) > 1:  # parts may be measured anew one by one, each where there is time
                context = f"{context[:-1]}, on {_hardware(entry)}."
            parts.append(f"## {name.capitalize()}\n\n{context}\n\n{writer(entry['found'])}")
    if rows := compared(found, before or {}):
        head = ["program", "figure", "before", "now", "now / before", ""]
        parts.insert(1, f"## Against {_commits(before)}\n\n{COMPARED}\n\n{_table(head, rows)}")
    return "\n\n".join(parts) + "\n"


NOTE = (
    "Made by `make bench`. Random weights; programs of a table took turns in one run. A figure is "
    "the median of the rounds (lowest to highest). Tokens are those of real text, padding left out."
)
COMPARED = (
    "Only what is relative to a program that ran in turn with ours: a machine that others use is "
    "slower for both. `slower`: less than nine tenths of the figure before."
)
TITLES = {
    "whole": (
        "Five epochs of E2E, batch 4, recording of the steps' graphs included. A run that was cut "
        "off is estimated to its end, with the validations (one an epoch) that it did not reach by "
        "the time of one, where one was timed apart. Allocated is the most that tensors held on "
        "the device, reserved what torch kept for them; the driver's own part comes on top."
    ),
    "compiled": (
        "GPT-2 S with compiled blocks (`train.compile=true`) and without. Whole runs have their "
        "compilation in them, steps do not; `slower`: than the same uncompiled."
    ),
    "train": (
        "Batch 4, Solo r=128 s=0.4 unless said. *ours, lora*, *peft + Trainer* and *LoRA's recipe* "
        "train LoRA r=8. `slower`: how many times longer than *ours*, which is Solo, in the lower "
        "precision, round by round. `of floor`: the rate over that of the step's matrix products "
        "alone, in the same precision. `MFU`: flops that the mathematics needs over the best rate "
        "of a large product here. Neither is told of LoRA where only Solo's products were timed: "
        "its gradients go through every block. LoRA's recipe, which pads every example to 512 "
        "tokens, is timed for one step a round: compare its `ms per step`."
    ),
    "sweep": "The ten Solo rows of Table 2 on GPT-2 S; a step is one step of each.",
    "small": "standin12, 12 x 192; `slower`: than the same method's runs together.",
    "decode": (
        "Test contexts, beam 10, at most 64 tokens, fp32. `batch`: contexts a call. `slower`: by "
        "the time of a context, so a smaller batch than ours counts too. `same`: share of our "
        "outputs."
    ),
    "growth": (
        "Seconds per step and peak memory (on a device what tensors held); on a CPU every point in "
        "a process of its own."
    ),
    "profile": "Where a fast step's time goes: operations by the time spent in them alone.",
}


def compared(found: dict, before: dict) -> list[list[str]]:
    """A row for each figure that both have, of the parts measured anew on the same hardware."""
    rows = []
    for part in ("train", "sweep", "small", "decode"):
        now, then = found.get(part), before.get(part)
        if not now or not then or now["hardware"] != then["hardware"] or now == then:
            continue
        figures = [_figures(entry["found"]) for entry in (then, now)]
        for name in figures[0].keys() & figures[1].keys():
            old, new = (of[name] for of in figures)
            told = "slower" if new / old < SLOWER else ""
            rows.append([*name, f"{old:.3g}", f"{new:.3g}", f"{new / old:.2f}", told])
    return sorted(rows)


def _figures(found) -> dict[tuple[str, str], float]:
    """(program, figure): its value, the more the better, relative to what ran in turn with it."""
    figures = {}
    if isinstance(found, dict):  # decoding, by model: a peer's time over ours
        for model, programs in found.items():
            for one in programs:
                if one["program"] != "ours":
                    key = f"ours, {model}", f"times as fast as {one['program']}"
                    figures[key] = one["ratio"][0]
        return figures
    for one in found:
        name = ", ".join(filter(None, [one["program"], one["precision"], one.get("backbone")]))
        if _on_its_floor(one, found) and one["program"].startswith("ours"):
            figures[name, "of the floor"] = one["of_floor"][0]
        elif not one["program"].startswith("products") and set(one["slower"]) != {1}:
            figures["ours", f"times as fast as {name}"] = one["slower"][0]
    return figures


def _commits(before: dict) -> str:
    return ", ".join(sorted({str(part["commit"])[:7] for part in before.values()}))


def _hardware(part: dict) -> str:
    hardware = part["hardware"]
    return hardware["gpu"] or f"{hardware['cpu']}, {hardware['threads']} threads"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(table(head, rows))


def _spread(values, digits: int) -> str:
    return "" if values is None else spread(values, f".{digits}f")


def _on_its_floor(one: dict, found: list[dict]) -> bool:
    """Whether a row's floor is its own: older files hold LoRA's rows against Solo's products."""
    known = any(other["program"] == LORA_FLOOR for other in found)
    return bool(one["of_floor"]) and (known or one["program"] not in OF_LORA)


def _train(found: list[dict]) -> str:
    rows = [
        [
            f"{one['program']}" + (f", {one['backbone']}" if one.get("backbone") else ""),
            one["precision"],
            _spread([1000 * value for value in one["s_per_step"]], 1),
            _spread(one["tokens_per_s"], 0),
            _spread(one["slower"], 2),
            _spread(one["of_floor"], 2) if _on_its_floor(one, found) else "",
            f"{one['mfu']:.2f}" if "mfu" in one and _on_its_floor(one, found) else "",
        ]
        for one in found
    ]
    head = ["program", "precision", "ms per step", "real tokens/s", "slower", "of floor", "MFU"]
    return _table(head, rows)


def _whole(found: list[dict]) -> str:
    rows, notes = [], []
    for one in found:
        name, validation = f"GPT-2 {one['backbone']}", one.get("validation_seconds")
        seen, needed = _validations(one)
        rows.append(
            [name, f"{one['steps']} of {one['of']}", f"{one['seconds']:.0f}",
             f"{one['estimated_whole']:.0f}", f"{seen} of {needed}",
             f"{validation:.1f}" if validation else "", f"{one['first_step']:.1f}",
             *(f"{one[key]:.2f}" if one.get(key) else ""
               for key in ("device_gib", "device_reserved_gib"))]
        )  # fmt: skip
        told = [*one.get("notes", ())]
        if seen < needed and not validation:
            # Such an estimate went on at the mean of the later half of what the run had done.
            told.append(
                "the validations left are in the estimate as a part of its later steps' mean."
                if seen
                else "validation not included, since the run was cut off before the first one."
            )
        notes += [f"\n\n{name}: {note}" for note in told]
    head = ["backbone", "steps", "seconds", "whole run, seconds", "validations", "one, s",
            "first step, s", "allocated, GiB", "reserved, GiB"]  # fmt: skip
    return _table(head, rows) + "".join(notes)


def _compiled(found: list[dict]) -> str:
    return _train(found) if "program" in found[0] else _whole(found)


def _validations(one: dict) -> tuple[int, int]:
    """(how many a run made before it was cut off, how many a whole one makes).

    An older file has only the steps, of which one after an epoch's end tells that it was validated.
    """
    if "validations" in one:
        return one["validations"], one["validations_of"]
    if one["steps"] == one["of"]:
        return EPOCHS, EPOCHS
    return (one["steps"] - 1) // (one["of"] // EPOCHS), EPOCHS


def _decode(found: dict[str, list[dict]]) -> str:
    rows = []
    for model, programs in found.items():
        for one in programs:
            times = [one["seconds_per_context"], min(one["seconds"]), max(one["seconds"])]
            rows.append(
                [model, one["program"], str(one["contexts"]), str(one["batch_size"]),
                 _spread(times, 3), f"{630 * one['seconds_per_context']:.0f}",
                 _spread(one["ratio"], 1), f"{one['same_outputs']:.2f}"]
            )  # fmt: skip
    head = ["model", "program", "contexts", "batch", "s per context", "s for 630", "slower", "same"]
    return _table(head, rows)


def _growth(found: dict) -> str:
    parts = []
    for title, points in (*found["growth"].items(), ("configuration", found["memory"])):
        rows = []
        for one in points:
            name = str(one.get("value", one["name"]))
            if "error" in one:
                rows.append([name, one["error"], "", ""])
                continue
            device = one["device_gib"]
            rows.append([name, f"{one['s_per_step']:.3f}", f"{one['host_gib']:.2f}",
                         "" if device is None else f"{device:.2f}"])  # fmt: skip
        parts.append(_table([title, "s per step", "host, GiB", "device, GiB"], rows))
    return "\n\n".join(parts)


def _profile(found: list[list]) -> str:
    return _table(["operation", "share"], [[f"`{n}`", f"{share:.1%}"] for n, share in found])
