"""What the prepare steps of a program make, computed on this machine for whichever target.

Loops mean the same everywhere: they are compiled for this machine, in the order that the target's
schedule fixes, so the bytes do not depend on where a model is exported. This module must not write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tc.device.arrays import Arrays
from tc.device.artifact import Artifact, KernelCall, entries
from tc.device.run import Program
from tc.device.run_code import load_functions, make_code
from tc.standalone.rendering import flat
from tc.standalone.spec import Memory
from tc.target import host


def constants(
    artifact: Artifact, weights: Sequence[Any], arrays: Arrays, cache_dir: Path | None
) -> dict[int, Memory]:
    """The memory of every storage that is a parameter, or was prepared.

    Args:
        weights: an array for each of the artifact's params, of the kind that `arrays` knows.
    """
    here = host()
    used = sorted({s.kernel for s in artifact.prepare if isinstance(s, KernelCall)})
    place = {kernel: n for n, kernel in enumerate(used)}
    prepare = tuple(
        replace(s, kernel=place[s.kernel]) if isinstance(s, KernelCall) else s
        for s in artifact.prepare
    )
    kernels = tuple(artifact.kernels[k] for k in used)
    found = entries(len(artifact.storages), prepare, ())
    made = make_code([flat(k, here) for k in kernels], found, here, cache_dir)
    part = replace(
        artifact, target=str(here), prepare=prepare, main=(), kernels=kernels, code=made.code
    )
    return memory_of(Program(part, load_functions(part), arrays, weights, threads=here.cores))


def memory_of(program: Program) -> dict[int, Memory]:
    """The memory of the constants of a program that is loaded; it is kept alive."""
    return {
        storage: Memory(address, size, program)
        for storage, (address, size) in program.constant_memory().items()
    }
