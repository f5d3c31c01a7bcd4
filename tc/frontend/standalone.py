"""A compiled model as a standalone one: its programs, its weights of now, and what bounds it.

From what the front end knows of a model to the plain description that `tc.standalone` writes. This
module must not write C.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final, Protocol

from tc.device.artifact import Artifact
from tc.errors import TcError, UnsupportedError, describe
from tc.frontend.captured import TraceError
from tc.frontend.generate_cache import Step
from tc.frontend.hf_program import Program as Call
from tc.frontend.importer_sizes import program_names
from tc.frontend.rules import rules_of
from tc.frontend.signature import IdCheck, Signature, Size, SizeCheck, Symbol
from tc.frontend.signature_branch import holds
from tc.frozen import frozen
from tc.ir.parser import parse_func
from tc.standalone.prune import without_outputs
from tc.standalone.share import share_layouts
from tc.standalone.spec import (
    BATCH,
    GenerationSpec,
    Memory,
    ModelSpec,
    Position,
    ProgramSpec,
    Role,
    check_bound,
    refuse_fallbacks,
)

MAX_BATCH: Final = 8
_MOST_LENGTH: Final = 1024  # of what nobody has bounded, or the model very far
_WORTH_TRYING: Final = range(1, 1 << 16)  # values of the sizes that a condition may be about
_LENGTH, _TARGET = "length", "target"
_KEPT: Final = frozenset(("length", "capacity", "reach"))  # labels of what a generation holds
_ROLES: Final[Mapping[str, Role]] = {
    "input_ids": Role.IDS,
    "keys": Role.CACHE,
    "values": Role.CACHE,
    "attention_mask": Role.MASK,
    "position_ids": Role.POSITIONS,
    "states": Role.STATES,
    "cross_keys": Role.CROSS,
    "cross_values": Role.CROSS,
    "reach": Role.REACH,
}


class Runner(Protocol):
    """What is needed of a program of a compiled model."""

    artifact: Artifact
    signature: Signature

    def constants(self) -> dict[int, Memory]:
        """The memory of every storage that is a parameter or was prepared."""


@frozen
class Parts:
    """What a compiled model is exported from.

    Attributes:
        name: its class.
        config: of a Hugging Face model, or None.
        generation_config: of a generative model, or None.
        forward: its first program.
        generates: the programs of a prompt and of a step; None: it does not generate.
        encoder: the program of its encoder, where it generates with one.
    """

    name: str
    config: Any
    generation_config: Any
    forward: Call
    generates: Callable[[], tuple[Step, Step] | None]
    encoder: Callable[[], Call] | None


def model_spec(
    parts: Parts, max_batch: int | None = None, max_length: int | None = None
) -> ModelSpec:
    """The description of a model.

    Args:
        max_batch: the most sequences of a call; default 8.
        max_length: the most positions; default what the model has, at most 1024.

    Raises:
        UnsupportedError: an operator that is not compiled, or logits of another type than f32.
        TcError: bounds that are no numbers, or more positions than the model has.
    """
    # Weights are laid out first: other processes may be making the programs of a generation.
    called = _runner(parts.forward)
    held = called.constants()
    steps = parts.generates()
    encodes = steps is not None and parts.encoder is not None
    bounds: dict[str, int] = {}
    batch = MAX_BATCH if max_batch is None else check_bound("max_batch", max_batch)
    length = _length(parts, max_length)

    def limits(name: str, signature: Signature, names: Mapping[str, str]) -> dict[str, str]:
        found = {s.label: names.get(s.label, s.label) for s in signature.symbols}
        for limit in found.values():
            bounds.setdefault(limit, batch if limit == BATCH else length)
        _refuse_branches(name, signature, {label: bounds[limit] for label, limit in found.items()})
        return found

    forward = _forward(called, held, steps is not None, limits)
    if steps is None:
        return ModelSpec(parts.name, (forward,), bounds)
    kept = _TARGET if encodes else _LENGTH
    own = {**dict.fromkeys(_KEPT, kept), "encoder": _LENGTH}
    programs = [forward]
    found: list[tuple[str, Call | Step, Mapping[str, str]]]
    found = [("prompt", steps[0], own), ("step", steps[1], own)]
    if parts.encoder is not None and encodes:
        found.append(("encoder", parts.encoder(), {}))
    for name, each, names in found:
        runner = _runner(each)
        programs.append(_program(name, runner, runner.constants(), None, limits, names))
    generation = _generation(parts, programs, kept)
    return ModelSpec(parts.name, share_layouts(programs), bounds, generation)


def _length(parts: Parts, wanted: int | None) -> int:
    """The greatest length; refused where the model has fewer positions."""
    signature = _runner(parts.forward).signature
    known = [c.maximum for c in signature.checks if isinstance(c, SizeCheck)]
    config = parts.config
    for name in ("max_position_embeddings", "n_positions"):
        value = getattr(config, name, None)
        if type(value) is int and value > 0:
            known.append(value)
    most = min(known, default=None)
    if wanted is None:
        return min(most or _MOST_LENGTH, _MOST_LENGTH)
    check_bound("max_length", wanted)
    if known and wanted > max(known):
        raise TcError(
            describe(
                f"max_length={wanted}",
                why=f"the model has {max(known)} positions",
                way_out="choose at most that",
            )
        )
    return wanted


def _runner(call: Call | Step) -> Any:
    """A runner with the weights of now."""
    call.watch.pass_on(call.runner.refresh)
    return call.runner


Limits = Callable[[str, Signature, Mapping[str, str]], dict[str, str]]


def _forward(
    runner: Runner, held: dict[int, Memory], generates: bool, limits: Limits
) -> ProgramSpec:
    """The program of a call; of a generative model without the cache that it hands out."""
    unwanted = ("past_key_values",) if generates else ()
    keep = {
        number: name
        for name, number in reversed(runner.signature.names)
        if number >= 0 and name.split(".")[0] not in unwanted
    }
    return _program("forward", runner, held, keep, limits, {})


def _refuse_branches(name: str, signature: Signature, most: Mapping[str, int]) -> None:
    """A folder holds one program: it must be for all sizes up to `most`, by label."""
    shape_of = {spec.name: spec.shape for spec in signature.inputs}
    values = {
        s.name: range(s.low, min(most[s.label], s.high or most[s.label]) + 1)
        for s in signature.symbols
    }
    for branch in signature.branches:
        sizes = {size: shape_of[owner][axis] for size, owner, axis in branch.dims}
        if not _holds_always(branch.condition, sizes, values):
            raise UnsupportedError(
                describe(
                    f"export of {name}",
                    why="the model's Python goes one way or another by the sizes of "
                    + ", ".join(dict.fromkeys(owner for _, owner, _ in branch.dims)),
                    way_out="export a model that takes the same way for all sizes, or choose "
                    "max_batch and max_length up to which it does",
                )
            )


def _holds_always(condition: str, sizes: Mapping[str, Size], values: Mapping[str, range]) -> bool:
    """Whether a condition holds for all of these values of the symbols that it is about."""
    about = list(dict.fromkeys(size for size in sizes.values() if not isinstance(size, int)))
    ranges = [values.get(symbol, range(0)) for symbol in about]
    if not about:
        return True  # of numbers of the program
    if math.prod(map(len, ranges)) not in _WORTH_TRYING:
        return False
    for each in itertools.product(*ranges):
        known = dict(zip(about, each, strict=True))
        now = {n: s if isinstance(s, int) else known[s] for n, s in sizes.items()}
        if not holds(condition, now):
            return False
    return True


def _program(
    name: str,
    runner: Runner,
    held: dict[int, Memory],
    keep: Mapping[int, str] | None,
    limits: Limits,
    limit_names: Mapping[str, str],
) -> ProgramSpec:
    """A program with its constants; `keep` has the names of the results that are wanted, None: all
    of them."""
    signature = _labelled(runner.signature)
    artifact = runner.artifact
    refuse_fallbacks([(name, artifact)])
    outputs = {n: spec.name for n, spec in enumerate(signature.outputs)}
    wanted = outputs if keep is None else keep
    own = dict(
        zip(
            (s.name for s in signature.symbols),
            program_names(runner.signature.symbols),
            strict=True,
        )
    )
    lows = {own[s.name]: s.low for s in signature.symbols}
    artifact = replace(
        without_outputs(artifact, wanted, cache(lambda k: parse_func(artifact.kernels[k].text))),
        symbols=tuple(replace(s, low=max(s.low, lows.get(s.name, 1), 1)) for s in artifact.symbols),
    )
    names = [spec.name for spec in signature.inputs]
    checks = signature.checks
    return ProgramSpec(
        name,
        artifact,
        held,
        tuple(names),
        tuple(wanted[n] for n in sorted(wanted)),
        {own[s.name]: s.label for s in signature.symbols},
        limits(name, signature, limit_names),
        _least_rows(names, checks),
        tuple(
            Position(names.index(c.input), c.dim, c.maximum, _renamed(c.size, own))
            for c in checks
            if isinstance(c, SizeCheck)
        ),
    )


def _least_rows(names: Sequence[str], checks: Sequence[IdCheck | SizeCheck]) -> dict[int, int]:
    """Of each input of ids the rows of the smallest table that it indexes."""
    found: dict[int, int] = {}
    for check in checks:
        if isinstance(check, IdCheck):
            number = names.index(check.input)
            found[number] = min(check.count, found.get(number, check.count))
    return found


def _renamed(size: Size, names: Mapping[str, str]) -> Size:
    """A size over other names of its symbols."""
    if isinstance(size, int):
        return size
    return re.sub(r"[A-Za-z_]\w*", lambda m: names.get(m[0], m[0]), size)


def _labelled(signature: Signature) -> Signature:
    """The signature with a label for every symbol: one without is the batch if it is a first dim,
    as models have it that give no names to their dims."""
    firsts = {spec.shape[0] for spec in signature.inputs if spec.shape}
    symbols: list[Symbol] = []
    for n, symbol in enumerate(signature.symbols):
        label = symbol.label
        if label == symbol.name:
            label = BATCH if symbol.name in firsts and not symbols else f"size_{n}"
        symbols.append(replace(symbol, label=label))
    return replace(signature, symbols=tuple(symbols))


def _generation(parts: Parts, programs: Sequence[ProgramSpec], kept: str) -> GenerationSpec:
    """What the C loop needs to know."""
    by_name = {program.name: program for program in programs}
    prompt = by_name["prompt"]
    logits = prompt.artifact.outputs[0]
    vocabulary = logits.shape[-1]
    if str(logits.dtype) != "f32" or not isinstance(vocabulary, int):
        raise UnsupportedError(
            describe(
                f"{parts.name}.generate",
                why=f"its logits are {logits.dtype}[{', '.join(map(str, logits.shape))}]",
                way_out="convert the model to float32 before compiling it",
            )
        )
    encoder = "encoder" if "encoder" in by_name else None
    return GenerationSpec(
        encoder=encoder,
        prompt="prompt",
        step="step",
        roles={
            name: tuple(_ROLES[n.split(".")[0]] for n in by_name[name].inputs)
            for name in ("prompt", "step", *([encoder] if encoder else ()))
        },
        limit=kept,
        encoder_limit=_LENGTH if encoder else None,
        vocabulary=vocabulary,
        start=_start(parts) if encoder else 0,
        rules=rules_of(parts.name, parts.generation_config, vocabulary),
    )


def _start(parts: Parts) -> int:
    """The first id of a decoder."""
    for settings in (parts.generation_config, parts.config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            value = getattr(settings, name, None)
            if isinstance(value, int):
                return value
    raise TraceError(f"{parts.name}: nothing says with which id its decoder starts")
