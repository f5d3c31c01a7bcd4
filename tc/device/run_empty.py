"""Calls with a size of 0 where kernels were made for 1 or more: none of them runs.

The results of such a call are known where they have no element, but whatever else the kernels
would have done is left out, so there must not be anything: no write to an input that has elements,
no look at data that may be refused. This module must not run anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from tc.device.artifact import Artifact, FallbackCall, KernelCall, Place, touched
from tc.errors import TcError, describe

Shape = tuple[int, ...]
_CONSTANT = (Place.PARAM, Place.PREPARED)


class EmptySizesError(TcError):
    """A call with a size of 0 that is more than results without elements."""


def require_idle(
    artifact: Artifact, below: Sequence[str], outputs: Sequence[Shape], shapes: Sequence[Shape]
) -> None:
    """Refuse a call of which more would be left out than results without elements.

    Args:
        below: the symbols that are 0.
        outputs: the shapes of the results.
        shapes: of all storages.

    Raises:
        EmptySizesError: naming the dims, and what would be left out.
    """
    if any(0 not in shape for shape in outputs):
        why = "not all results are empty"
    elif _writes(artifact, shapes):
        why = "an input that is not empty is written to"
    elif _checks(artifact, shapes):
        why = "data would go unchecked"
    else:
        return
    places = [
        f"dim {axis} of {info.name}"
        for info in artifact.inputs
        for axis, dim in enumerate(info.shape)
        if dim in below
    ]
    raise EmptySizesError(
        describe(
            f"inputs of size 0 ({', '.join(places)})",
            why=f"the program was compiled for 1 or more, and {why}",
            way_out="run the model eagerly for empty inputs",
        )
    )


def _writes(artifact: Artifact, shapes: Sequence[Shape]) -> bool:
    return any(
        storage.place is Place.INPUT and storage.number in artifact.mutated and 0 not in shape
        for storage, shape in zip(artifact.storages, shapes, strict=True)
    )


def _checks(artifact: Artifact, shapes: Sequence[Shape]) -> bool:
    """Whether a step looks at data of the call and may refuse it."""
    return any(
        isinstance(step, FallbackCall) or _refuses(artifact, step, shapes)
        for step in artifact.main
        if not all(0 in shapes[s] for s in touched(step))
    )


def _refuses(artifact: Artifact, call: KernelCall, shapes: Sequence[Shape]) -> bool:
    """Whether a kernel makes anything of the call's data and may refuse that."""
    # Hardly any process asks, and those of saved programs do without what reads kernels.
    from tc.codegen.func import messages_of
    from tc.ir.parser import parse_func

    func = parse_func(artifact.kernels[call.kernel].text)
    if not messages_of((func,)):
        return False
    pairs = list(zip(call.buffers, func.params, strict=True))
    made = [s for s, param in pairs if param.name in func.outputs]
    read = [s for s, param in pairs if param.name not in func.outputs]
    return any(0 not in shapes[s] for s in made) and any(
        artifact.storages[s].place not in _CONSTANT for s in read
    )
