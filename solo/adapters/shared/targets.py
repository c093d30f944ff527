"""Targets: the projections of a block that an option names, and their sizes."""

from collections.abc import Iterable

from solo.backbones import LAYOUTS, backbone_of
from solo.options import check


class ProjectionTargets:
    """A Config whose `targets` are projections; without fields, so that they may come last."""

    def __post_init__(self):
        object.__setattr__(self, "targets", check_targets(self.targets))


def check_targets(targets: Iterable[str], parts: bool = False) -> tuple[str, ...]:
    """`targets` as a tuple; ValueError if it is empty, has a name twice or one of no backbone.

    parts: whether parts of fused projections are targets, too; not one beside its whole.
    """
    names = (targets,) if isinstance(targets, str) else tuple(targets)
    targets_of = {backbone.TITLE: _targets(backbone, parts) for backbone in LAYOUTS}
    listed = {title: ", ".join(targets) for title, targets in targets_of.items()}
    allowed = "; ".join(f"a block of {title} has: {targets}" for title, targets in listed.items())
    for name in names:
        check(
            any(name in t for t in targets_of.values()), f"adapter.targets has {name!r}; {allowed}"
        )
        check(names.count(name) == 1, f"adapter.targets has {name!r} twice; {allowed}")
    check(bool(names), f"adapter.targets is empty; {allowed}")
    for backbone in LAYOUTS:
        for whole, of_whole in backbone.PARTS.items():
            check(
                whole not in names or not set(names) & set(of_whole),
                f"adapter.targets has {whole} and a part of it; choose {whole}, or "
                f"{', '.join(of_whole)}",
            )
    return names


def _targets(backbone, parts: bool) -> tuple[str, ...]:
    of_wholes = [part for each in backbone.PARTS.values() for part in each] if parts else []
    return (*of_wholes, *backbone.PROJECTIONS)


def check_has(shape, targets: Iterable[str], parts: bool = False) -> None:
    """Raise ValueError for a target that a backbone of this config lacks."""
    backbone = backbone_of(shape)
    of_block = _targets(backbone, parts)
    for target in targets:
        check(
            target in of_block,
            f"adapter.targets has {target!r}; a block of {backbone.TITLE} has: "
            f"{', '.join(of_block)}",
        )


def whole_of(backbone, target: str) -> str:
    """The projection that a target is, or is a part of."""
    return next((whole for whole, parts in backbone.PARTS.items() if target in parts), target)


def target_shape(shape, target: str) -> tuple[int, int]:
    """(n_in, n_out) of a projection, or of a part of one. ValueError if the backbone lacks it."""
    backbone = backbone_of(shape)
    check_has(shape, [target], parts=True)
    whole = whole_of(backbone, target)
    n_in, n_out = backbone.projection_shape(shape, whole)
    return (n_in, n_out) if target == whole else (n_in, n_out // len(backbone.PARTS[whole]))
