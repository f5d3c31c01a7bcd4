"""Weights that one program reads as they are and another one packed: both read them packed.

An encoder takes rows of the table of embeddings that the decoder's product with the same weights
has in blocks. Only kernels that take rows by data are changed: others read a layout of their own.
This module must not compile or write anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tc.device.artifact import KernelCall, Place, Storage
from tc.device.dims import Dim
from tc.device.run_prepared import Key, origins
from tc.errors import ScheduleError
from tc.ir.expr import Load
from tc.ir.loop import Func
from tc.ir.parser import parse_func
from tc.ir.visit import loads_of, sub_exprs
from tc.schedule.pack import Packing, pack, packings
from tc.schedule.step import Schedule
from tc.standalone.spec import Memory, ProgramSpec

Origins = Mapping[tuple[Place, int], Key]  # what the weights of a program are made of
Weight = tuple[Key, tuple[Dim, ...]]  # that, and the shape in which it is read
Layout = tuple[Packing, Memory, Storage]  # of a weight that is packed: how, and where it lies


def share_layouts(programs: Sequence[ProgramSpec]) -> tuple[ProgramSpec, ...]:
    """The programs; rows are taken from packed weights where some program has those anyway."""
    packed: dict[Weight, Layout] = {}
    known = [(program, _origins(program)) for program in programs]
    for program, made_of in known:
        for weight, layout in _packed_weights(program, made_of):
            packed.setdefault(weight, layout)
    return tuple(_with_packed(program, made_of, packed) for program, made_of in known)


def _origins(program: ProgramSpec) -> Origins:
    """Equal texts stand for equal weights, as they are or shortened, of whichever programs."""
    artifact = program.artifact
    places = {
        storage.number: (program.constants[n].address, program.constants[n].bytes)
        for n, storage in enumerate(artifact.storages)
        if storage.place is Place.PARAM
    }
    return origins(artifact, [places[n] for n in range(len(artifact.params))])


def _packed_weights(program: ProgramSpec, made_of: Origins) -> Iterator[tuple[Weight, Layout]]:
    """The weights that kernels read packed."""
    artifact, storages = program.artifact, program.artifact.storages
    sources = {
        _place(storages[step.buffers[-1]]): step.buffers[0]
        for step in artifact.prepare
        if isinstance(step, KernelCall) and len(step.buffers) == 2
    }
    for call in artifact.main:
        if not isinstance(call, KernelCall):
            continue
        for p in packings(Schedule.parse(artifact.kernels[call.kernel].schedule)):
            made = call.buffers[int(p.buffer.removeprefix("p"))]
            source = sources.get(_place(storages[made]))
            if source is not None and made in program.constants:
                yield (
                    _weight(storages[source], made_of),
                    (p, program.constants[made], storages[made]),
                )


def _place(storage: Storage) -> tuple[Place, int]:
    return storage.place, storage.number


def _weight(storage: Storage, made_of: Origins) -> Weight:
    return made_of.get(_place(storage), ""), storage.shape


def _with_packed(
    program: ProgramSpec, made_of: Origins, packed: Mapping[Weight, Layout]
) -> ProgramSpec:
    """The program with its reads of rows from these weights."""
    for at, call in enumerate(program.artifact.main):
        for n, b in enumerate(call.buffers if isinstance(call, KernelCall) else ()):
            layout = packed.get(_weight(program.artifact.storages[b], made_of))
            if layout is not None:
                program = _reading(program, at, n, layout)
    return program


def _reading(program: ProgramSpec, at: int, n: int, layout: Layout) -> ProgramSpec:
    """The program whose call number `at` has the packed weight as its buffer `n`, if it can."""
    artifact, (packing, memory, storage) = program.artifact, layout
    call = artifact.main[at]
    assert isinstance(call, KernelCall)
    info = artifact.kernels[call.kernel]
    func = _repacked(parse_func(info.text), replace(packing, buffer=f"p{n}"))
    if func is None:
        return program
    held = [s.number for s in artifact.storages if s.place is Place.PREPARED]
    new, kernel = len(artifact.storages), len(artifact.kernels)
    buffers = (*call.buffers[:n], new, *call.buffers[n + 1 :])
    step = replace(call, kernel=kernel, buffers=buffers)
    changed = replace(
        artifact,
        kernels=(*artifact.kernels, replace(info, text=str(func))),
        storages=(*artifact.storages, replace(storage, number=max(held, default=-1) + 1)),
        main=(*artifact.main[:at], step, *artifact.main[at + 1 :]),
    )
    return replace(program, artifact=changed, constants={**program.constants, new: memory})


def _repacked(func: Func, packing: Packing) -> Func | None:
    """The kernel on a packed table; None where it does more than take rows of it by data."""
    reads = [x for x in loads_of(func.body) if x.buffer.name == packing.buffer]
    if not reads or any(
        not any(isinstance(y, Load) for y in sub_exprs(x.indices[packing.dim])) for x in reads
    ):
        return None
    try:
        return pack(func, packing.buffer, packing.dim, packing.factor, packing.along, packing.group)
    except ScheduleError:
        return None
