"""What a captured program takes and gives: names, dtypes, shapes over symbols, result structure.

Plain data that converts to JSON, so that a saved program runs where there is no torch. This module
must not import torch or transformers: dtypes are their names ("float32"), and a shape is a tuple
of ints and of text over symbol names ("s0", "s0 + s1").
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tc.errors import CompileError
from tc.frozen import frozen

Size = int | str


@frozen
class Symbol:
    """A symbolic dim: every value from `low` to `high` is served (`high` None: unbounded).

    `label` is what the dim means ("batch", "length", "past"), or the name itself if not known.
    """

    name: str
    label: str
    low: int
    high: int | None


@frozen
class TensorSpec:
    """A flat input or output: its dotted name ("past_key_values.0.keys"), dtype and shape."""

    name: str
    dtype: str
    shape: tuple[Size, ...]


@frozen
class SizeCheck:
    """`size` must be at most `maximum`, the positions of the model; `input`, `dim` name it."""

    input: str
    dim: int
    maximum: int
    size: str


@frozen
class IdCheck:
    """The integers in `input` must lie in [0, `count`): they index a table of `count` rows."""

    input: str
    count: int


@frozen
class Branch:
    """`condition` must hold of the sizes of a call: the model's Python asked, and went that way.

    `dims` has (name in the condition, input, dim) of each of them.
    """

    condition: str
    dims: tuple[tuple[str, str, int], ...]


@frozen
class Signature:
    """Everything about a program's call but its code.

    `outputs` are the flat outputs in order. `names` maps each name of the result ("logits",
    "hidden_states.0") to the number of a flat output, or to -1 - i for input number i that the
    result hands back; it is the whole result for a caller without torch.
    `mutated` are the numbers of the inputs that the program writes to, as eager does.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    names: tuple[tuple[str, int], ...]
    symbols: tuple[Symbol, ...]
    checks: tuple[SizeCheck | IdCheck, ...]
    mutated: tuple[int, ...]
    branches: tuple[Branch, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The signature as dicts, lists, strings and ints."""
        sizes = [check for check in self.checks if isinstance(check, SizeCheck)]
        ids = [check for check in self.checks if isinstance(check, IdCheck)]
        return {
            "inputs": [_spec_to_json(spec) for spec in self.inputs],
            "outputs": [_spec_to_json(spec) for spec in self.outputs],
            "names": [list(pair) for pair in self.names],
            "symbols": [asdict(symbol) for symbol in self.symbols],
            "size_checks": [asdict(check) for check in sizes],
            "id_checks": [asdict(check) for check in ids],
            "mutated": list(self.mutated),
            "branches": [[branch.condition, *map(list, branch.dims)] for branch in self.branches],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Signature:
        """The signature that `to_json` wrote.

        Raises:
            CompileError: where a field is missing or of the wrong type (a damaged file).
        """
        try:
            sizes = tuple(SizeCheck(**check) for check in data["size_checks"])
            ids = tuple(IdCheck(**check) for check in data["id_checks"])
            return Signature(
                tuple(_spec_from_json(spec) for spec in data["inputs"]),
                tuple(_spec_from_json(spec) for spec in data["outputs"]),
                tuple((str(name), int(index)) for name, index in data["names"]),
                tuple(Symbol(**symbol) for symbol in data["symbols"]),
                ids + sizes,
                tuple(int(index) for index in data["mutated"]),
                tuple(_branch_from_json(*branch) for branch in data["branches"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CompileError(
                f"program signature: malformed ({error}); save the program again"
            ) from error


def _branch_from_json(condition: str, *dims: tuple[str, str, int]) -> Branch:
    return Branch(str(condition), tuple((str(s), str(name), int(n)) for s, name, n in dims))


def _spec_to_json(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


def _spec_from_json(data: dict[str, Any]) -> TensorSpec:
    shape = tuple(data["shape"])
    if not all(isinstance(size, (int, str)) for size in shape):
        raise TypeError(f"shape {shape} holds other than ints and symbol text")
    return TensorSpec(str(data["name"]), str(data["dtype"]), shape)
