"""The training state: everything that the rest of a run depends on, in one safetensors file.

Parameters, optimizer moments and a schedule's tensors; the counters (step, identity of the run,
...) are JSON in the header. It is replaced atomically.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from solo.adapters.base import OTHER_DRAWS, Method
from solo.errors import damaged
from solo.options import check
from solo.run_files import NEXT, STATE
from solo.tensors import copy_strictly, save_tensors, tensors_sha256
from solo.training.progress import Diverged
from solo.training.recipe import follow


def save_state(
    path: Path,
    attached: Method,
    optimizer: torch.optim.Optimizer,
    counters: dict,
) -> None:
    """Write a state. `counters` is JSON-like and has the key step.

    Raises FloatingPointError, leaving the last good state, if a parameter is not finite.
    """
    tensors = {}
    for name, parameter in attached.parameters.items():
        if not torch.isfinite(parameter).all():
            raise FloatingPointError(
                f"{name} is not finite after step {counters['step']}; the state before is kept: "
                "lower train.lr"
            )
        tensors[f"parameter/{name}"] = parameter
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value
    tensors |= {f"schedule/{name}": tensor for name, tensor in attached.state.items()}
    counters = counters | {"events": attached.events}
    save_tensors(path, tensors, {"counters": json.dumps(counters)})


def read_counters(path: Path) -> dict:
    """The counters of a state, without reading its tensors. ValueError for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            counters = json.loads(file.metadata()["counters"])
        return {"step": int(counters["step"]), "events": list(counters["events"])} | counters
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return damaged(path, error, "move it away, and its run begins again")


def load_state(path: Path, attached: Method, optimizer: torch.optim.Optimizer) -> None:
    """Put a state back: what a schedule has done, parameters, and optimizer moments. ValueError for
    a damaged file, and for a tensor that is missing, unexpected or misshapen."""
    events = read_counters(path)["events"]
    try:
        _load(path, events, attached, optimizer)
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, RuntimeError, TypeError, LookupError) as error:
        raise _damaged(path, error) from error


def _load(path: Path, events: list, attached: Method, optimizer: torch.optim.Optimizer) -> None:
    tensors = load_file(path)
    attached.replay(events)
    for prefix, into in (("parameter/", attached.parameters), ("schedule/", attached.state)):
        saved = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        copy_strictly(saved, into, path)
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, slot, name = key.split("/", 2)
            parameter = attached.parameters[name]
            check(
                slot == "step" or value.shape == parameter.shape,
                f"{path}: {key} has shape {tuple(value.shape)}, not {tuple(parameter.shape)}",
            )
            optimizer.state[parameter][slot] = value.to(parameter.device)  # fused: the step, too


def resume(path: Path, attached: Method, optimizer: torch.optim.Optimizer, identity: str) -> dict:
    """Load the state at `path`, if there is one; returns its counters, or those of a new run.

    Raises ValueError for a damaged state, and for one of another identity or of other drawn tensors
    (Method.fixed).
    """
    start = {"step": 0, "loss_sum": 0.0, "loss_count": 0, "given_up": []}
    if not path.exists():
        return start
    counters = start | read_counters(path)
    check(
        counters.get("identity") == identity,
        f"{path} is the state of another configuration ({counters.get('identity')}, this one is "
        f"{identity}); choose another output_dir, or move the file away",
    )
    drawn = tensors_sha256(attached.fixed)
    check(counters.get("fixed_sha256") == drawn, f"{path}: {OTHER_DRAWS}")
    load_state(path, attached, optimizer)
    if attached.events:
        follow(optimizer, attached, counters["step"])
    return counters


def save(
    path: Path,
    attached: Method,
    optimizer: torch.optim.Optimizer,
    identity: str,
    counters: dict,
) -> None:
    """Write what `resume` loads."""
    known = {"identity": identity, "fixed_sha256": tensors_sha256(attached.fixed)}
    save_state(path, attached, optimizer, known | counters)


def save_together(members: Sequence[tuple], counters: list[dict]) -> None:
    """Write the states of runs so that they take effect all at once, with that of the first one.

    members: (run, its optimizer, its log) of each. Before the first one the others are written as
    NEXT, and after it they take their place: after a kill `settle` does what is left of that.
    Raises Diverged for a parameter that is not finite.
    """
    leader = members[0][0].run_dir
    for (run, optimizer, log), own in reversed(list(zip(members, counters, strict=True))):
        name = STATE
        if run.run_dir != leader:
            name, own = NEXT, own | {"leader": os.path.relpath(leader, run.run_dir)}
        log.sync()
        try:
            save(run.run_dir / name, run.attached, optimizer, run.identity, own)
        except FloatingPointError as error:
            raise Diverged(run.run_dir, str(error)) from error
    for run, _, _ in members[1:]:
        os.replace(run.run_dir / NEXT, run.run_dir / STATE)


def settle(run_dir: Path) -> None:
    """After a kill within `save_together`: the state NEXT takes its place if its
    leader's is of the same step, and is dropped otherwise."""
    waiting = Path(run_dir) / NEXT
    if waiting.exists():
        counters = read_counters(waiting)
        if not isinstance(counters.get("leader"), str):
            raise _damaged(waiting, ValueError("it names no leader"))
        leader = run_dir / counters["leader"] / STATE
        if leader.exists() and read_counters(leader)["step"] == counters["step"]:
            os.replace(waiting, run_dir / STATE)
        else:
            waiting.unlink()


def remove(run_dir: Path) -> None:
    """Remove what the training of a run needed; it is finished."""
    for name in (STATE, NEXT):
        (run_dir / name).unlink(missing_ok=True)
