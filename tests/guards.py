"""Programs over memory that ends where a forbidden page begins: each of their buffers has its own.

Before a call all of it holds bits of 1, which is NaN for floats, and what a program may only read
cannot be written to. This module must not compile anything.
"""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from tc.autotune.guarded import Guarded
from tc.device.arena import ALIGN
from tc.device.artifact import FIRST_SLOT, SCRATCH, Artifact, Place, TensorInfo
from tc.device.run import Program
from tc.device.run_call import Arena, Frame, Weights
from tc.device.run_code import load_functions
from tc.device.run_plan import Plan, Planner
from tc.frontend.hf import dispatcher_of
from tc.frontend.tensors import TorchArrays, tensor_at
from tc.ir.types import DType


class Tight(Guarded):
    """`size` bytes that end where the page begins, or as near to it as `align` lets them."""

    def __init__(self, size: int, align: int = ALIGN) -> None:
        super().__init__(size)
        self.address = (self._end - size) // align * align
        self.fill(0xFF)


class Apart(TorchArrays):
    """Each tensor that a program is given or gives lies in a copy of its own."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__()
        self.held: list[Tight] = []
        self._written = [artifact.inputs[number] for number in artifact.mutated]

    def block(self, size: int, align: int = ALIGN) -> Tight:
        """Memory that is looked at after the next call."""
        self.held.append(Tight(size, align))
        return self.held[-1]

    def ready(self, array: Any, info: TensorInfo) -> torch.Tensor:
        """See `Arrays.ready`: an input may lie wherever its elements do."""
        dense = super().ready(array, info)
        own = self._tensor(tuple(dense.shape), info.dtype, info.dtype.bytes)
        own.copy_(dense)
        if info not in self._written and own.numel():
            self.held[-1].close()
        return own

    def maker(self, shape: tuple[int, ...], dtype: DType) -> Callable[[], torch.Tensor]:
        """See `Arrays.maker`."""
        return lambda: self._tensor(shape, dtype, ALIGN)

    def identity(self, array: Any) -> None:
        """None: nothing is shared with other programs."""

    def _tensor(self, shape: tuple[int, ...], dtype: DType, align: int) -> torch.Tensor:
        return tensor_at(self.block(math.prod(shape) * dtype.bytes, align).address, shape, dtype)


def apart(made: torch.nn.Module, patch: pytest.MonkeyPatch) -> Callable[[Sequence[Any]], Any]:
    """The last program of a compiled model over such memory, as a function from its inputs to
    copies of its outputs. It fails where anything beside a buffer was written; a read or a write
    farther away ends the process (see `in_a_child`).
    """
    dispatcher = dispatcher_of(made)
    assert dispatcher is not None
    program: Program = dispatcher.programs[-1].runner.program  # type: ignore[attr-defined]
    artifact, weights = program.artifact, program._weights.arrays
    arrays, planner = Apart(artifact), Planner(artifact, 1)

    class Spread(Arena):
        def frame(self, plan: Plan, weights: Weights, threads: int, table_size: int) -> Frame:
            self.forget()
            frame = super().frame(plan, weights, threads, table_size)
            sizes = planner.sizes(plan.values, Place.TEMP)
            places = {number: arrays.block(size).address for number, size in sizes.items()}
            for slot in plan.layout.temps:
                frame.table[slot] = places[artifact.storages[slot - FIRST_SLOT].number]
            frame.table[SCRATCH] = arrays.block(threads * plan.scratch_bytes).address
            return frame

    patch.setattr("tc.autotune.guarded.PATTERN", 0xFF)  # what is read beside them is NaN too
    patch.setattr("tc.device.run.Arena", Spread)
    patch.setattr("tc.device.run.Block", arrays.block)
    own = Program(artifact, load_functions(artifact), arrays, weights)
    for memory in arrays.held:
        assert not memory.trespassed()
    for block in own._weights.blocks.values():
        block.close()  # type: ignore[attr-defined]  # it is Tight
    lasting = len(arrays.held)

    def run(inputs: Sequence[Any]) -> list[torch.Tensor]:
        del arrays.held[lasting:]
        found = [output.clone() for output in own.run(inputs)]
        assert not any(memory.trespassed() for memory in arrays.held)
        return found

    return run


def in_a_child(work: Callable[[], object]) -> None:
    """Do it in a process of its own, which a signal may end, and see that it went well."""
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001  # told, and the child must not go on
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
