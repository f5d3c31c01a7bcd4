"""Saved models: what `save` writes and `tc.load` runs, without torch.

A saved program is the compiled one with its prepare steps done: what they made is saved in the
place of the weights they read. Object code of another kind of machine is made anew from the
kernels' loops. This module must not import torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import index
from pathlib import Path
from typing import Any, NoReturn

from tc.config import read as read_config
from tc.device.arrays import Arrays
from tc.device.artifact import Artifact, Place, Storage, TensorInfo, entries, touched
from tc.device.artifact_file import SAFETENSORS_NAMES, RawTensor, Reader, write
from tc.device.artifact_io import from_json, to_json
from tc.device.run import Program
from tc.device.run_code import load_functions, make_code
from tc.device.run_explain import RUNS, explain
from tc.device.run_explanation import Explanation
from tc.device.run_stats import Stats, summary
from tc.errors import CompileError, InternalError, TcError, UnsupportedError, describe
from tc.frontend.either import Either
from tc.frontend.signature import IdCheck, Signature
from tc.frontend.signature_bind import bind, check_ids, require_writable
from tc.frozen import frozen
from tc.standalone.spec import Memory
from tc.target import Target
from tc.target import host as host_target


@frozen
class SavedProgram:
    """One program of a model to be saved; `constants` has its parameters and what is prepared."""

    artifact: Artifact
    constants: Mapping[int, Memory]
    signature: Signature


def save_model(path: str | os.PathLike[str], name: str, programs: Sequence[SavedProgram]) -> None:
    """Write the programs of a model as a file, or into `path` if it is a folder.

    Raises:
        TcError: there are none, or the system refuses.
    """
    if not programs:
        raise nothing_compiled(f"saving {name}")
    members: dict[str, bytes] = {}
    tensors: dict[str, RawTensor] = {}
    listed = []
    for number, saved in enumerate(programs):
        artifact, found = settled(saved.artifact, saved.constants)
        names = _share(number, found, tensors)
        artifact = replace(
            artifact,
            params=tuple(
                replace(info, name=known)
                for info, known in zip(artifact.params, names, strict=True)
            ),
        )
        described = {"artifact": to_json(artifact), "signature": saved.signature.to_json()}
        members[f"program-{number}.json"] = json.dumps(described, allow_nan=False).encode()
        for place, code in enumerate(artifact.code):
            members[f"program-{number}-{place}.o"] = code.data
        listed.append({"entries": len(artifact.code)})
    write(Path(path), {"model": name, "programs": listed}, members, tensors)


def nothing_compiled(what: str, refused: TcError | None = None) -> TcError:
    """The error of asking for programs of a model that has none, `refused` being why if known."""
    if refused is not None:
        return TcError(describe(what, why=f"its calls run eagerly: {refused.message}"))
    return TcError(
        describe(
            what, why="nothing is compiled yet", way_out="call it once, or give example_inputs"
        )
    )


def _share(
    number: int, found: Sequence[tuple[str, RawTensor]], tensors: dict[str, RawTensor]
) -> list[str]:
    """Add tensors to those of the file, each memory once; the names that they have there."""
    places = {(t.address, t.bytes, t.shape, t.dtype): name for name, t in tensors.items()}
    names = []
    for name, tensor in found:
        key = (tensor.address, tensor.bytes, tensor.shape, tensor.dtype)
        known = places.get(key) if tensor.bytes else None
        if known is None:
            known = places[key] = name if name not in tensors else f"{number}/{name}"
            tensors[known] = tensor
        names.append(known)
    return names


def settled(
    artifact: Artifact, constants: Mapping[int, Memory]
) -> tuple[Artifact, list[tuple[str, RawTensor]]]:
    """A program as one without prepare steps: what they made are parameters, by name."""
    main = artifact.main
    used = {s for step in main for s in touched(step)}
    params: list[TensorInfo] = []
    found: list[tuple[str, RawTensor]] = []
    place: dict[tuple[Place, int], int] = {}
    storages: list[Storage] = []
    for number, storage in enumerate(artifact.storages):
        if storage.place not in (Place.PARAM, Place.PREPARED):
            storages.append(storage)
            continue
        if number not in used:
            # Nothing reads it any more, but the numbers of the others must stay.
            storages.append(replace(storage, place=Place.TEMP, number=_UNUSED + number))
            continue
        key = (storage.place, storage.number)
        if key not in place:
            place[key] = len(params)
            info, raw = _parameter(artifact, storage, constants[number])
            params.append(info)
            found.append((info.name, raw))
        storages.append(replace(storage, place=Place.PARAM, number=place[key]))
    code = tuple(c for c in artifact.code if c.name.startswith("main"))
    done = replace(
        artifact,
        params=tuple(params),
        storages=_renumber(tuple(storages)),
        prepare=(),
        code=code,
    )
    return done, found


_UNUSED = 1 << 30


def _renumber(storages: tuple[Storage, ...]) -> tuple[Storage, ...]:
    """Temporaries with numbers from 0 on."""
    numbers = dict.fromkeys(s.number for s in storages if s.place is Place.TEMP)
    place = {number: n for n, number in enumerate(numbers)}
    return tuple(
        replace(s, number=place[s.number]) if s.place is Place.TEMP else s for s in storages
    )


def _parameter(
    artifact: Artifact, storage: Storage, memory: Memory
) -> tuple[TensorInfo, RawTensor]:
    shape = tuple(d for d in storage.shape if isinstance(d, int))
    if len(shape) != len(storage.shape):
        raise InternalError(f"a constant of shape {storage.shape}, which depends on symbols")
    if storage.place is Place.PARAM:
        name = artifact.params[storage.number].name
    else:
        name = f"prepared.{storage.number}"
    kind = SAFETENSORS_NAMES[storage.dtype.value]
    raw = RawTensor(kind, shape, memory.address, memory.bytes, memory.owner)
    return TensorInfo(name, storage.dtype, shape), raw


def load_model(path: str | os.PathLike[str], threads: int | None) -> LoadedModel:
    """See `tc.load`."""
    if threads is not None and (type(threads) is not int or threads < 1):
        raise UnsupportedError(
            describe(f"threads={threads!r}", why="not a number of at least 1", way_out="leave it")
        )
    reader = Reader(Path(path))
    try:
        counts = [int(entry["entries"]) for entry in reader.manifest["programs"]]
        name = str(reader.manifest["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    tensors = reader.tensors()
    programs = []
    for number, count in enumerate(counts):
        described = reader.json(f"program-{number}.json")
        code = [reader.member(f"program-{number}-{place}.o") for place in range(count)]
        try:
            artifact = from_json(described["artifact"], code)
            signature = Signature.from_json(described["signature"])
            weights = [tensors[info.name] for info in artifact.params]
            for info, tensor in zip(artifact.params, weights, strict=True):
                if (tensor.dtype, tensor.shape) != (
                    SAFETENSORS_NAMES[info.dtype.value],
                    info.shape,
                ):
                    raise TypeError(f"{info.name} is no {info.dtype}{list(info.shape)}")
        except (KeyError, TypeError) as error:
            raise _damaged(path, error) from error
        programs.append(_Loaded(artifact, signature, weights, threads))
    if not programs:
        raise _damaged(path, ValueError("it holds no program"))
    return LoadedModel(name, programs)


def _damaged(path: object, error: Exception) -> CompileError:
    return CompileError(
        describe(
            f"saved program {path}",
            why=f"it is damaged or no saved program ({type(error).__name__}: {error})",
            way_out="save it again",
        )
    )


class _Loaded:
    """One loaded program, for both kinds of arrays."""

    def __init__(
        self,
        artifact: Artifact,
        signature: Signature,
        weights: Sequence[RawTensor],
        threads: int | None,
    ) -> None:
        self.signature = signature
        here = host_target()
        count = threads or read_config().num_threads or here.cores
        artifact, hits = for_this_machine(artifact, here)
        self.stats = Stats(0, len(artifact.kernels), hits)
        self.either = Either(partial(_program, artifact, weights, count, self.stats))
        self.names = [spec.name for spec in signature.inputs]
        self.ids = {c.input: c for c in signature.checks if isinstance(c, IdCheck)}

    def __call__(self, arrays: Sequence[Any]) -> Any:
        shapes = [tuple(getattr(a, "shape", ())) for a in arrays]
        bind(self.signature, shapes)
        for name, array in zip(self.names, arrays, strict=True):
            check = self.ids.get(name)
            if check is not None and 0 not in array.shape:
                with suppress(TypeError):  # no whole numbers, which the program refuses
                    check_ids(check, index(array.min()), index(array.max()))
        for number in self.signature.mutated:
            require_writable(self.names[number], arrays[number])
        outputs = self.either.program(arrays)(arrays)
        named = {
            name: outputs[number] if number >= 0 else arrays[-1 - number]
            for name, number in self.signature.names
        }
        if list(named) == ["output"]:
            return named["output"]
        return Outputs(named)


def _program(
    artifact: Artifact, weights: Sequence[RawTensor], threads: int, stats: Stats, arrays: Arrays
) -> Program:
    functions = load_functions(artifact)
    return Program(artifact, functions, arrays, weights, threads=threads, stats=stats)


def for_this_machine(artifact: Artifact, here: Target) -> tuple[Artifact, int]:
    """The artifact with code that runs here, made anew where need be; hits of the code cache.

    Raises:
        CompileError: it was compiled for a machine whose kernels cannot be made anew.
    """
    if runs_here(artifact, here):
        return artifact, 0
    # Only a program of another machine needs the compiler.
    from tc.ir.parser import parse_func
    from tc.ir.passes import run_passes

    kernels = [run_passes(parse_func(k.text), here.fuses) for k in artifact.kernels]
    found = entries(len(artifact.storages), artifact.prepare, artifact.main)
    made = make_code(kernels, found, here, read_config().cache_dir)
    return replace(artifact, target=str(here), code=made.code), made.cache_hits


def runs_here(artifact: Artifact, here: Target | None = None) -> bool:
    """Whether this machine (or `here`) can run the code of an artifact."""
    return host_runs(Target.parse(artifact.target), here)


def host_runs(compiled: Target, here: Target | None = None) -> bool:
    """Whether this machine (or `here`) can run code for a target."""
    machine = here or host_target()
    return compiled.arch in (machine.arch, "generic") and all(
        machine.has(feature) for feature in _features(compiled)
    )


def _features(target: Target) -> set[str]:
    return {feature[1:] for feature in target.llvm_features.split(",") if feature[:1] == "+"}


class Outputs(dict[str, Any]):
    """Results by name, as items and as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no result {name!r}; there are {', '.join(self)}") from None


class LoadedModel:
    """A model that was saved, called with arrays by the names of its inputs, or in their order.

    Results are arrays by name (`Outputs`), or one array where the model gives just one. Safe to
    call from several threads.

    Attributes:
        name: the class of the model that was compiled.
        signature: what its first program takes and gives; `signatures` has those of all.
    """

    def __init__(self, name: str, programs: Sequence[_Loaded]) -> None:
        self.name = name
        self._programs = tuple(programs)
        self.signature = programs[0].signature

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """What the programs take and give."""
        return tuple(program.signature for program in self._programs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program that takes these arguments.

        Raises:
            TcError: no program takes arguments of these names, or arrays that do not fit.
        """
        refused: TcError | None = None
        for program in self._programs:
            arrays = _match(program.names, args, kwargs)
            if arrays is None:
                continue
            try:
                return program(arrays)
            except TcError as error:
                refused = refused or error
        if refused is not None:
            raise refused
        known = "; or ".join(", ".join(p.names) or "nothing" for p in self._programs)
        given = ", ".join([*(f"argument {n}" for n in range(len(args))), *kwargs]) or "nothing"
        raise TcError(
            describe(
                f"call of {self.name}",
                why=f"was given {given}; it was compiled for {known}",
                way_out="pass those, or compile the model for these arguments too before saving",
            )
        )

    def generate(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refused, whatever the model is.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            describe(
                f"{self.name}.generate",
                where="saved model",
                why="a saved model holds the programs of its calls, not those of generation",
                way_out="load the model itself, tc.compile it and generate with that, or choose "
                "tokens from the logits of calls",
            )
        )

    def stats(self) -> dict[str, object]:
        """The counters, as of a compiled model."""
        return summary([p.stats for p in self._programs])

    def explain(self, runs: int = RUNS) -> Explanation:
        """Run each program `runs` times at the sizes of its last call; a table of its kernels."""
        sections = []
        for program in self._programs:
            title = f"{self.name}({', '.join(program.names)})"
            labels = {symbol.name: symbol.label for symbol in program.signature.symbols}
            sections.append(explain(program.either.programs[-1], title, labels, runs))
        return Explanation(tuple(sections))

    def __repr__(self) -> str:
        return f"<LoadedModel {self.name}({', '.join(self._programs[0].names)})>"


def _match(
    names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Any] | None:
    """The arrays in the order of `names`, or None where they are not just those."""
    if len(args) + len(kwargs) != len(names):
        return None
    rest = names[len(args) :]
    if any(name not in kwargs for name in rest):
        return None
    return [*args, *(kwargs[name] for name in rest)]
