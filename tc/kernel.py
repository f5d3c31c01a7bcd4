"""`tc.build`: one tensor expression with a schedule, as a function of arrays.

A kernel is run in the same way as a compiled model: it is an artifact of one kernel. Inputs that
the schedule wants packed are packed at every call, or once by `Kernel.pack`. This module must not
choose schedules, nor generate code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

from tc.codegen.c.kernel import render_kernel
from tc.codegen.c.module import join_kernels
from tc.config import read as read_config
from tc.device.arrays import Arrays
from tc.device.artifact import (
    Artifact,
    KernelCall,
    KernelInfo,
    Place,
    Storage,
    SymbolInfo,
    TensorInfo,
    entries,
)
from tc.device.dims import dim_of
from tc.device.physical import shared_device
from tc.device.run import Program
from tc.device.run_code import Made, load_functions, make_code
from tc.device.run_stats import Stats
from tc.errors import CompileError, UnsupportedError, describe
from tc.frontend.either import Either
from tc.frozen import frozen
from tc.graph.graph import Value
from tc.graph.packing import pack_value
from tc.ir.loop import Func
from tc.ir.lower import lower
from tc.ir.passes import place_scratch, run_passes
from tc.ir.tensor import Placeholder, Tensor
from tc.ir.tensor_walk import topological
from tc.ir.verify import check_indices
from tc.schedule.apply import Scheduled, apply
from tc.schedule.defaults import default_schedule
from tc.schedule.pack import packings
from tc.target import Target

_NO_BOUND: Final = 1 << 31


@frozen
class Packed:
    """Input number `input` as a kernel's schedule wants it to lie; made by `Kernel.pack`.

    `shape` is that of the array it was made from; changes of that array are not noticed.
    """

    shape: tuple[int, ...]
    data: Any
    kernel: object
    input: int


class BoundKernel:
    """A kernel with its arrays, made by `Kernel.bind`.

    Calling it runs the kernel on what the arrays hold now and returns the result, in the same
    memory each time. For one thread at a time.

    Attributes:
        outputs: the arrays that it writes to.
    """

    def __init__(self, run: Callable[[], None], outputs: Sequence[Any]) -> None:
        self.outputs = tuple(outputs)
        self._run = run
        self._queue = shared_device().queue

    def __call__(self) -> Any:
        """Run. Raises TcError: values (ids) that the kernel cannot index with."""
        self._queue.run(self)
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs

    def run(self, _args: object = (), /) -> None:
        """As a queue runs it, see `tc.device`."""
        self._run()


class Kernel:
    """A compiled tensor expression.

    Called with one NumPy array or torch tensor for each input, in the order of `inputs`; returns
    an array of the same kind, or a tuple of them where the expression has several outputs. What
    is returned is fresh memory. Safe to call from several threads.

    Attributes:
        inputs, outputs: names, element types and shapes.
        schedule: the steps, as text.
        target: what it was compiled for.
    """

    def __init__(
        self,
        scheduled: Scheduled,
        target: Target,
        threads: int,
        cache_dir: Path | None,
        codegen: str = "llvm",
        cc: str | None = None,
    ) -> None:
        self.schedule = str(scheduled.schedule)
        self.target = target
        self._threads = threads
        self._cache_dir = cache_dir
        self._codegen, self._cc = codegen, cc
        self._given = _inputs_of(scheduled)
        naive = lower(scheduled.outputs, self._given)
        self._func = apply(naive, scheduled.schedule)
        count = len(self._given)
        self.inputs = tuple(
            TensorInfo(p.name, p.dtype, tuple(map(dim_of, p.shape))) for p in self._given
        )
        self.outputs = tuple(
            TensorInfo(t.name, b.dtype, tuple(map(dim_of, b.shape)))
            for t, b in zip(scheduled.outputs, naive.params[count:], strict=True)
        )
        self._packings = {
            n: p for p in packings(scheduled.schedule) for n in range(count) if p.buffer == f"p{n}"
        }
        self._made, self._main = self._compile(self._func, self.inputs, self.outputs, self.schedule)

    def __call__(self, *args: Any) -> Any:
        """Run.

        Raises:
            TcError: arrays of other number, dtype or shape than the kernel takes.
        """
        args = self._packed(args)
        arrays = [a.data if isinstance(a, Packed) else a for a in args]
        outputs = self._main.program(arrays)(args)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def bind(self, *args: Any) -> BoundKernel:
        """A call with its arrays, and those of its results, fixed: what is left is to run it.

        For calls over and over on the same memory, such as measuring the kernel itself.

        Raises:
            TcError: as a call, and for arrays that are not dense.
        """
        args = self._packed(args)
        arrays = [a.data if isinstance(a, Packed) else a for a in args]
        return BoundKernel(*self._main.program(arrays).fixed(args))

    def pack(self, array: Any, input: int) -> Packed:  # noqa: A002  (the word that fits)
        """Lay out an array for input number `input` once, to be passed in its place.

        Raises:
            TcError: the schedule wants no packing of that input; an array that does not fit.
        """
        if input not in self._packings:
            wanted = ", ".join(map(str, self._packings)) or "none"
            raise CompileError(
                describe(
                    f"pack(input={input})",
                    where=f"schedule {self.schedule or '(empty)'}",
                    why=f"packs inputs {wanted}",
                    way_out="pass the array itself",
                )
            )
        (data,) = self._packers[input].program((array,))((array,))
        return Packed(tuple(array.shape), data, self, input)

    @property
    def loops(self) -> str:
        """The loops after all steps of the schedule."""
        return str(self._func)

    @property
    def llvm_ir(self) -> str:
        """The text given to LLVM."""
        return self._made.modules[0].llvm_ir

    @property
    def asm(self) -> str:
        """The assembly of the kernel and its entry."""
        return self._made.modules[0].asm

    @property
    def c_source(self) -> str:
        """The kernel as C99, whatever it was compiled by."""
        flat = run_passes(self._func, self.target.fuses)
        heading = f"{self._func}\nschedule: {self.schedule or 'none'}"
        return join_kernels([render_kernel(flat, self.target, heading=heading)])

    def __repr__(self) -> str:
        def texts(infos: Sequence[TensorInfo]) -> str:
            return ", ".join(f"{i.dtype}[{', '.join(map(str, i.shape))}]" for i in infos)

        return f"<Kernel ({texts(self.inputs)}) -> {texts(self.outputs)} for {self.target}>"

    def _packed(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, those packed that the schedule wants packed."""
        if not self._packings:
            return args
        return tuple(
            self._own(a, n)
            if isinstance(a, Packed)
            else self.pack(a, n)
            if n in self._packings
            else a
            for n, a in enumerate(args)
        )

    def _own(self, array: Packed, number: int) -> Packed:
        if array.kernel is self and array.input == number:
            return array
        other = f"as input {array.input}" if array.kernel is self else "for another kernel"
        raise CompileError(
            describe(
                f"packed input {number}",
                why=f"was packed {other}",
                way_out=f"pass pack(array, {number}) of this kernel, or the array itself",
            )
        )

    @cached_property
    def _packers(self) -> dict[int, Either]:
        """For each packed input the program that packs it, compiled when it is first needed."""
        found = {}
        for n, packing in self._packings.items():
            source = self._given[n]
            packed, made = pack_value(Value(source.name, source.shape, source.dtype), packing)
            schedule = default_schedule(made.outputs, made.inputs, frozenset(), self.target)
            func = apply(lower(made.outputs, made.inputs), schedule)
            info = TensorInfo(packed.name, packed.dtype, tuple(map(dim_of, packed.shape)))
            found[n] = self._compile(func, (self.inputs[n],), (info,), str(schedule))[1]
        return found

    def _compile(
        self,
        func: Func,
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
        schedule: str,
    ) -> tuple[Made, Either]:
        flat = run_passes(func, self.target.fuses)
        main = _artifact(func, flat, inputs, outputs, schedule, self.target)
        found = entries(len(main.storages), (), main.main)
        made = make_code([flat], found, self.target, self._cache_dir, self._codegen, self._cc)
        artifact = replace(main, code=made.code)
        stats = Stats(1, 1, made.cache_hits)
        packed = func is self._func and bool(self._packings)
        return made, Either(partial(_program, artifact, self._threads, stats, packed))


def build(
    what: Tensor | Sequence[Tensor] | Scheduled,
    target: str | Target = "host",
    *,
    constants: Sequence[Tensor] = (),
    threads: int | None = None,
    codegen: str = "llvm",
) -> Kernel:
    """Compile a tensor expression.

    Args:
        what: tensors with a schedule, which is taken as it is, or plain ones (at least one), which
            get the default schedule.
        constants: for a default schedule: inputs that it may want packed, see `Kernel.pack`.
        threads: of a call; default: TC_NUM_THREADS, else the target's cores.
        codegen: "llvm", or "c" to go through the C compiler of this machine.

    Raises:
        ScheduleError: a step that does not apply.
        CompileError: an expression that indexes out of bounds, or a target that is not this host.
        UnsupportedError: an unknown target.
    """
    if codegen not in ("llvm", "c"):
        raise UnsupportedError(
            describe(f"codegen={codegen!r}", why="unknown", way_out="known: 'llvm', 'c'")
        )
    config = read_config()
    chosen = target if isinstance(target, Target) else Target.parse(target)
    if threads is not None and (type(threads) is not int or threads < 1):
        raise UnsupportedError(
            describe(f"threads={threads!r}", why="not a number of at least 1", way_out="leave it")
        )
    for tensor in _outputs_of(what):
        check_indices(tensor)
    scheduled = _scheduled(what, constants, chosen)
    count = threads or config.num_threads or chosen.cores
    return Kernel(scheduled, chosen, count, config.cache_dir, codegen, config.cc)


def _scheduled(
    what: Tensor | Sequence[Tensor] | Scheduled, constants: Sequence[Tensor], target: Target
) -> Scheduled:
    if isinstance(what, Scheduled):
        return what
    outputs = _outputs_of(what)
    plain = Scheduled(outputs)
    inputs = _inputs_of(plain)
    names = frozenset(t.name for t in constants)
    return Scheduled(outputs, inputs, default_schedule(outputs, inputs, names, target))


def _outputs_of(what: Tensor | Sequence[Tensor] | Scheduled) -> tuple[Tensor, ...]:
    """The tensors to be computed."""
    if isinstance(what, Scheduled):
        return tuple(what.outputs)
    outputs = tuple(what) if isinstance(what, Sequence) else (what,)
    for tensor in outputs or (None,):
        if not isinstance(tensor, Tensor) or isinstance(tensor, Placeholder):
            raise CompileError(
                describe(
                    f"build of {type(what if tensor is None else tensor).__name__}",
                    why="it is neither a tensor expression nor a scheduled one",
                    way_out="pass what te.compute or te.schedule gave",
                )
            )
    return outputs


def _inputs_of(scheduled: Scheduled) -> tuple[Placeholder, ...]:
    if scheduled.inputs is not None:
        return tuple(scheduled.inputs)
    return tuple(t for t in topological(scheduled.outputs) if isinstance(t, Placeholder))


def _artifact(
    func: Func,
    flat: Func,
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
    schedule: str,
    target: Target,
) -> Artifact:
    storages = tuple(
        Storage(
            Place.INPUT if n < len(inputs) else Place.OUTPUT,
            n if n < len(inputs) else n - len(inputs),
            buffer.dtype,
            tuple(map(dim_of, buffer.shape)),
        )
        for n, buffer in enumerate(func.params)
    )
    names = tuple(s.name for s in flat.symbols)
    scratch = dim_of(place_scratch(flat)[1])
    kernel = KernelInfo(func.name, str(func), schedule, names, scratch, 0, 0)
    return Artifact(
        target=str(target),
        symbols=tuple(SymbolInfo(s.name, s.lo, min(s.hi, _NO_BOUND)) for s in func.symbols),
        inputs=inputs,
        outputs=outputs,
        params=(),
        storages=storages,
        prepare=(),
        main=(KernelCall(0, tuple(range(len(storages))), names),),
        kernels=(kernel,),
    )


def _program(
    artifact: Artifact, threads: int, stats: Stats, packed: bool, arrays: Arrays
) -> Program:
    taken = _WithPacked(arrays) if packed else arrays
    return Program(artifact, load_functions(artifact), taken, (), threads=threads, stats=stats)


class _WithPacked:
    """Arrays of some kind, or packed ones of that kind, which are ready and have been checked."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self.maker = arrays.maker
        self.give_back = arrays.give_back
        self.identity = arrays.identity
        self.fallback = arrays.fallback

    def ready(self, array: Any, info: TensorInfo) -> Any:
        """See `Arrays.ready`."""
        return array if isinstance(array, Packed) else self._arrays.ready(array, info)

    def address(self, array: Any) -> int:
        """See `Arrays.address`."""
        return self._arrays.address(array.data if isinstance(array, Packed) else array)
