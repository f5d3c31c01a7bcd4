"""From the shapes of a call's inputs to the values of the program's symbols, checked in full.

A program reads and writes as far as its symbols say, so nothing may pass here that contradicts
them. This module must not look at values or memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from tc.device.artifact import Artifact, TensorInfo
from tc.device.dims import Evaluate, compile_dim
from tc.errors import TcError, describe

Shape = tuple[int, ...]


class Binder:
    """Binds the symbols of one artifact."""

    def __init__(self, artifact: Artifact) -> None:
        self._inputs = artifact.inputs
        self._symbols = artifact.symbols
        names = artifact.symbol_names
        self._sizes: list[tuple[Evaluate, ...]] = [
            tuple(compile_dim(dim, names) for dim in info.shape) for info in artifact.inputs
        ]
        # Where each symbol's value is read: the first dim that is the symbol itself.
        self._whence: list[tuple[int, int] | None] = [
            _place_of(name, artifact.inputs) for name in names
        ]

    def bind(self, shapes: Sequence[Shape]) -> tuple[int, ...]:
        """The value of every symbol, in the artifact's order.

        A symbol that no input has as a dim gets its lower bound: nothing depends on it then.

        Raises:
            TcError: too few or too many inputs, a rank or a size that does not fit.
        """
        if len(shapes) != len(self._inputs):
            names = ", ".join(info.name for info in self._inputs)
            raise TcError(
                describe(
                    f"{len(shapes)} inputs",
                    why=f"the program takes {len(self._inputs)}",
                    way_out=f"pass {names}" if names else "pass none",
                )
            )
        for info, shape in zip(self._inputs, shapes, strict=True):
            if len(shape) != len(info.shape):
                raise _misfit(info, f"has rank {len(shape)}, the program takes {_text(info)}")
        values = []
        for symbol, whence in zip(self._symbols, self._whence, strict=True):
            value = symbol.low if whence is None else shapes[whence[0]][whence[1]]
            least = 0 if symbol.low == 1 else symbol.low  # an empty call runs no kernel
            if not least <= value <= symbol.high:
                where = "" if whence is None else f"dim {whence[1]} of "
                name = "" if whence is None else self._inputs[whence[0]].name
                raise TcError(
                    describe(
                        f"{where}{name}",
                        why=f"is {value}, the program takes {least} to {symbol.high}",
                        way_out="cut or pad the input",
                    )
                )
            values.append(value)
        self._check(shapes, values)
        return tuple(values)

    def _check(self, shapes: Sequence[Shape], values: Sequence[int]) -> None:
        for info, shape, sizes in zip(self._inputs, shapes, self._sizes, strict=True):
            for axis, (given, size) in enumerate(zip(shape, sizes, strict=True)):
                expected = size(values)
                if given != expected:
                    dim = info.shape[axis]
                    over = "" if isinstance(dim, int) else f" ({dim})"
                    raise _misfit(info, f"has {given} in dim {axis}, expected {expected}{over}")


def _place_of(name: str, inputs: Sequence[TensorInfo]) -> tuple[int, int] | None:
    for number, info in enumerate(inputs):
        for axis, dim in enumerate(info.shape):
            if dim == name:
                return number, axis
    return None


def _misfit(info: TensorInfo, why: str) -> TcError:
    return TcError(
        describe(f"input {info.name}", why=why, way_out="pass inputs of matching shapes")
    )


def _text(info: TensorInfo) -> str:
    return f"{info.dtype}[{', '.join(map(str, info.shape))}]"
