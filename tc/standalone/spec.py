"""What is exported: the programs of a model, what bounds their sizes, and where weights are.

Plain data that the front end fills in. This module must not read memory or write text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum

from tc.device.artifact import Artifact, FallbackCall
from tc.device.dims import Dim
from tc.errors import CompileError, UnsupportedError, describe
from tc.frozen import frozen

BATCH = "batch"


class Role(Enum):
    """What an input of a generation's program is; the names are those of `runtime.h`."""

    IDS = "ROLE_IDS"
    CACHE = "ROLE_CACHE"
    MASK = "ROLE_MASK"
    POSITIONS = "ROLE_POSITIONS"
    STATES = "ROLE_STATES"
    CROSS = "ROLE_CROSS"
    REACH = "ROLE_REACH"


@frozen
class Position:
    """`size` of dim `dim` of input number `input` must be at most `maximum`."""

    input: int
    dim: int
    maximum: int
    size: Dim


@frozen
class Memory:
    """Bytes in memory; `owner` keeps them alive."""

    address: int
    bytes: int
    owner: object


@frozen
class ProgramSpec:
    """One program.

    Attributes:
        name: a C identifier: "forward", "prompt".
        artifact: without operators that the framework would run.
        constants: the memory of every storage that is a parameter or was prepared.
        inputs, outputs: their names, for the user.
        labels: of the symbols by name: "batch", "length".
        limits: the limit that bounds each label.
        ids: of an input's number, how many rows the table has that it indexes.
        positions: sizes that the model bounds.
    """

    name: str
    artifact: Artifact
    constants: Mapping[int, Memory]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    labels: Mapping[str, str]
    limits: Mapping[str, str]
    ids: Mapping[int, int] = field(default_factory=dict)
    positions: tuple[Position, ...] = ()


@frozen
class Rules:
    """What a search may choose.

    Attributes:
        penalty: of ids that occurred before; 1: none.
        unrepeated: how long a row of ids may not occur twice; 0: any may.
        least, least_new: ids, and new ids, before one that ends.
        ends, never, not_first: ids that end a sequence, are never chosen, or not at first.
        first, last: ids that are forced after a prompt of one id, and where no more may follow.
    """

    penalty: float = 1.0
    unrepeated: int = 0
    least: int = 0
    least_new: int = 0
    ends: tuple[int, ...] = ()
    never: tuple[int, ...] = ()
    not_first: tuple[int, ...] = ()
    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()


@frozen
class GenerationSpec:
    """The programs of a generation by name, what their inputs are, with which id a decoder starts
    and what rules there are for those that follow."""

    encoder: str | None
    prompt: str
    step: str
    roles: Mapping[str, tuple[Role, ...]]
    limit: str
    encoder_limit: str | None
    vocabulary: int
    start: int
    rules: Rules


@frozen
class ModelSpec:
    """A model: `programs[0]` is the one that `model_run` runs.

    Attributes:
        name: class of the model.
        bounds: of each limit, in the order of `model_limits`.
    """

    name: str
    programs: tuple[ProgramSpec, ...]
    bounds: Mapping[str, int]
    generation: GenerationSpec | None = None

    @property
    def target(self) -> str:
        """What it was compiled for."""
        return self.programs[0].artifact.target

    def number(self, name: str | None) -> int:
        """The number of a program, -1 for none."""
        return next((n for n, p in enumerate(self.programs) if p.name == name), -1)

    def limit_number(self, name: str | None) -> int:
        """The number of a limit, -1 for none."""
        return next((n for n, known in enumerate(self.bounds) if known == name), -1)


def refuse_fallbacks(programs: Sequence[tuple[str, Artifact]]) -> None:
    """Raise UnsupportedError where an operator of a program is not compiled."""
    for _, artifact in programs:
        for step in (*artifact.prepare, *artifact.main):
            if isinstance(step, FallbackCall):
                raise UnsupportedError(
                    describe(
                        f"operator {step.op}",
                        where=step.origin,
                        why="tc cannot compile it, and a standalone model has nothing to run it "
                        "with",
                        way_out="write the model without it",
                    )
                )


def check_bound(name: str, value: object) -> int:
    """A bound that a user gave. Raises CompileError: no whole number of at least 1."""
    if type(value) is not int or not 1 <= value < 1 << 31:
        raise CompileError(
            describe(
                f"{name}={value!r}", why="not a whole number of at least 1", way_out="leave it"
            )
        )
    return value
