"""Artifacts as JSON and back: dicts, lists, strings and numbers, checked when they are read.

The object code stays out of it, for it is a file of its own. This module must not read or write
files (see `artifact_file`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from tc.device.artifact import (
    Artifact,
    Code,
    DimArg,
    FallbackArg,
    FallbackCall,
    KernelCall,
    KernelInfo,
    Place,
    Repeat,
    Step,
    Storage,
    StorageArg,
    SymbolInfo,
    TensorInfo,
    touched,
)
from tc.device.dims import Dim, compile_dim
from tc.errors import CompileError, describe
from tc.ir.types import DType

Json = dict[str, Any]


def to_json(artifact: Artifact) -> Json:
    """Everything but the bytes of the code."""
    return {
        "target": artifact.target,
        "symbols": [[s.name, s.low, s.high] for s in artifact.symbols],
        "inputs": [_tensor_to(t) for t in artifact.inputs],
        "outputs": [_tensor_to(t) for t in artifact.outputs],
        "params": [_tensor_to(t) for t in artifact.params],
        "storages": [
            [s.place.value, s.number, str(s.dtype), list(s.shape)] for s in artifact.storages
        ],
        "prepare": [_step_to(s) for s in artifact.prepare],
        "main": [_step_to(s) for s in artifact.main],
        "kernels": [kernel_to_json(k) for k in artifact.kernels],
        "code": [[c.name, list(c.messages)] for c in artifact.code],
        "mutated": list(artifact.mutated),
    }


def from_json(data: Any, code: Sequence[bytes]) -> Artifact:
    """The artifact that `to_json` wrote, with the bytes of its code in the same order.

    Raises:
        CompileError: data that is none, or that contradicts itself.
    """
    try:
        artifact = Artifact(
            target=_text(data["target"]),
            symbols=tuple(SymbolInfo(_text(n), _int(a), _int(b)) for n, a, b in data["symbols"]),
            inputs=tuple(_tensor_from(t) for t in data["inputs"]),
            outputs=tuple(_tensor_from(t) for t in data["outputs"]),
            params=tuple(_tensor_from(t) for t in data["params"]),
            storages=tuple(
                Storage(Place(p), _int(n), DType(t), _shape(s)) for p, n, t, s in data["storages"]
            ),
            prepare=tuple(_step_from(s) for s in data["prepare"]),
            main=tuple(_step_from(s) for s in data["main"]),
            kernels=tuple(kernel_from_json(k) for k in data["kernels"]),
            code=tuple(
                Code(_text(name), data, tuple(_text(m) for m in messages))
                for (name, messages), data in zip(data["code"], code, strict=True)
            ),
            mutated=tuple(_int(n) for n in data["mutated"]),
        )
        _verify(artifact)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CompileError(
            describe(
                "program",
                why=f"its description is malformed ({type(error).__name__}: {error})",
                way_out="save it again",
            )
        ) from error
    return artifact


def _verify(artifact: Artifact) -> None:
    """Every number refers to something that is there. Raises ValueError."""
    limits = {
        Place.INPUT: len(artifact.inputs),
        Place.OUTPUT: len(artifact.outputs),
        Place.PARAM: len(artifact.params),
    }
    for storage in artifact.storages:
        _index(storage.number, limits.get(storage.place, len(artifact.storages)), "storage")
    for info in (*artifact.inputs, *artifact.outputs, *artifact.params):
        for dim in info.shape:
            compile_dim(dim, artifact.symbol_names)
    for step in (*artifact.prepare, *artifact.main):
        for s in touched(step):
            _index(s, len(artifact.storages), "storage of a step")
        if isinstance(step, KernelCall):
            _index(step.kernel, len(artifact.kernels), "kernel")
            if len(step.symbols) != len(artifact.kernels[step.kernel].symbols):
                raise ValueError("a kernel call with another number of symbols than its kernel")
            if step.loop is not None:
                compile_dim(step.loop.times, artifact.symbol_names)
    for n in artifact.mutated:
        _index(n, len(artifact.inputs), "mutated input")


def _index(n: int, count: int, what: str) -> None:
    if not 0 <= n < count:
        raise ValueError(f"{what} {n} of {count}")


def _text(x: Any) -> str:
    if not isinstance(x, str):
        raise TypeError(f"{x!r} is no text")
    return x


def _int(x: Any) -> int:
    if type(x) is not int:
        raise TypeError(f"{x!r} is no whole number")
    return x


def _dim(x: Any) -> Dim:
    return x if isinstance(x, str) else _int(x)


def _shape(x: Any) -> tuple[Dim, ...]:
    return tuple(_dim(d) for d in x)


def _tensor_to(info: TensorInfo) -> list[Any]:
    return [info.name, str(info.dtype), list(info.shape)]


def _tensor_from(x: Any) -> TensorInfo:
    name, dtype, shape = x
    return TensorInfo(_text(name), DType(dtype), _shape(shape))


def kernel_to_json(kernel: KernelInfo) -> Json:
    """One kernel's description, as `to_json` writes it."""
    return {
        "name": kernel.name,
        "text": kernel.text,
        "schedule": kernel.schedule,
        "symbols": list(kernel.symbols),
        "scratch": kernel.scratch,
        "flops": kernel.flops,
        "bytes": kernel.bytes,
        "origin": list(kernel.origin),
        "factors": kernel.factors,
        "rate": kernel.rate,
        "source": kernel.source,
        "expression": kernel.expression,
    }


def kernel_from_json(x: Mapping[str, Any]) -> KernelInfo:
    """What `kernel_to_json` wrote. Raises KeyError, TypeError or ValueError: it is none."""
    return KernelInfo(
        _text(x["name"]),
        _text(x["text"]),
        _text(x["schedule"]),
        tuple(_text(s) for s in x["symbols"]),
        _dim(x["scratch"]),
        _dim(x["flops"]),
        _dim(x["bytes"]),
        tuple(_text(s) for s in x["origin"]),
        _text(x["factors"]),
        _int(x["rate"]),
        _text(x["source"]),
        _text(x.get("expression", "")),
    )


def _step_to(step: Step) -> list[Any]:
    if isinstance(step, KernelCall):
        made = ["kernel", step.kernel, list(step.buffers), list(step.symbols)]
        return made if step.loop is None else [*made, list(astuple(step.loop))]
    args = [_arg_to(a) for a in step.args]
    return ["fallback", step.op, args, list(step.outputs), step.origin]


def _step_from(x: Any) -> Step:
    match x:
        case ["kernel", kernel, list(buffers), list(symbols), *loops]:
            loop = _loop_from(*loops) if loops else None
            return KernelCall(_int(kernel), tuple(_int(b) for b in buffers), _shape(symbols), loop)
        case ["fallback", op, list(args), list(outputs), origin]:
            return FallbackCall(
                _text(op),
                tuple(_arg_from(a) for a in args),
                tuple(_int(s) for s in outputs),
                _text(origin),
            )
    raise ValueError("a step that is neither a kernel nor a fallback")


def _loop_from(x: Any) -> Repeat:
    number, index, times = x
    return Repeat(_int(number), _text(index), _dim(times))


def _arg_to(arg: FallbackArg) -> Any:
    """Plain values stand for themselves (infinities as text), the others in a dict of one key."""
    match arg:
        case StorageArg(storage):
            return {"storage": storage}
        case DimArg(dim):
            return {"dim": dim}
        case DType():
            return {"dtype": arg.value}
        case tuple():
            return [_arg_to(a) for a in arg]
        case float():
            return {"float": arg.hex()}
    return arg


def _arg_from(x: Any) -> FallbackArg:
    match x:
        case {"storage": int(n)}:
            return StorageArg(n)
        case {"dim": dim}:
            return DimArg(_dim(dim))
        case {"dtype": str(name)}:
            return DType(name)
        case {"float": str(text)}:
            return float.fromhex(text)
        case list():
            return tuple(_arg_from(a) for a in x)
        case None | bool() | int() | str():
            return x
    raise TypeError(f"{x!r} is no argument")
