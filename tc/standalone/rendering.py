"""Rendering the kernels of a model on all cores at once.

A kernel's text depends on the kernel and its name alone, so that it is the same whichever process
makes it. This module must not name a kernel.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Final

from tc.beside import Beside, spare_cores
from tc.codegen.c.kernel import CKernel, render_kernel
from tc.device.artifact import KernelInfo
from tc.frozen import frozen
from tc.ir.loop import Func
from tc.ir.parser import parse_func
from tc.ir.passes import place_scratch, run_passes
from tc.target import Target

_WORTH: Final = 10_000  # characters of scheduled loops whose rendering is worth a process


@frozen
class Job:
    """A kernel that is to be rendered as the function of this name."""

    info: KernelInfo
    name: str


def flat(info: KernelInfo, target: Target) -> Func:
    """The kernel after the last pass, from its scheduled loops."""
    return _flat(info.name, info.text, target.fuses)


@lru_cache(512)
def _flat(_name: str, text: str, fused: bool) -> Func:
    return place_scratch(run_passes(parse_func(text), fused))[0]


def render(job: Job, target: Target) -> CKernel:
    """One kernel."""
    return render_kernel(flat(job.info, target), target, job.name)


def render_all(jobs: Sequence[Job], target: Target) -> list[CKernel]:
    """All of them in their order; no two have one name."""
    sizes = [len(job.info.text) for job in jobs]
    own, *others = shares(sizes, min(1 + spare_cores(), max(1, sum(sizes) // _WORTH)))
    with contextlib.ExitStack() as started:
        beside = []
        for share in others:
            with contextlib.suppress(OSError):  # no room for one more process
                process = Beside(partial(_rendered, [jobs[n] for n in share], target))
                started.callback(process.close)
                beside.append(process)
        found = {jobs[n].name: render(jobs[n], target) for n in own}
        for process in beside:
            if (data := process.result()) is not None:
                found |= {name: _kernel(each) for name, each in json.loads(data).items()}
    return [found.get(job.name) or render(job, target) for job in jobs]


def shares(sizes: Sequence[int], count: int) -> list[list[int]]:
    """The numbers of things of these sizes in so many parts of about the same size."""
    parts: list[list[int]] = [[] for _ in range(count)]
    held = [0] * count
    for n in sorted(range(len(sizes)), key=lambda n: -sizes[n]):
        least = held.index(min(held))
        parts[least].append(n)
        held[least] += sizes[n]
    return parts


def _rendered(jobs: Sequence[Job], target: Target) -> bytes:
    found = {job.name: asdict(render(job, target)) for job in jobs}
    return json.dumps(found).encode()


def _kernel(found: Mapping[str, object]) -> CKernel:
    read = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
    return CKernel(**read)  # type: ignore[arg-type]  # what `asdict` has made of one
