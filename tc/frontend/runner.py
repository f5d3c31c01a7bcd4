"""One compiled program of a model: loaded where this machine can run it.

A program for another kind of machine is kept as its loops, to be exported or saved. This module
must not compile anything but what prepares weights, and what is saved for another machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from tc.codegen.llvm.resident import LARGE, release
from tc.device.artifact import Artifact, FallbackCall, Place, TensorInfo, entries, touched
from tc.device.run import Program
from tc.device.run_code import load_functions, make_code
from tc.device.run_direct import Direct
from tc.device.run_stats import Stats
from tc.errors import CompileError, UnsupportedError, describe
from tc.frontend.captured import Weight
from tc.frontend.options import Options
from tc.frontend.recall_entry import Built
from tc.frontend.saved import runs_here
from tc.frontend.tensors import DTYPES, TorchArrays
from tc.standalone.spec import Memory
from tc.target import Target


class Runner:
    """One compiled program of a model, over flat tensors."""

    def __init__(self, built: Built, options: Options) -> None:
        self.artifact = built.artifact
        refuse_fallbacks(self.artifact, options)
        self.signature = built.interface.signature
        self._order = built.order
        self._cache_dir = options.cache_dir
        self.stats = Stats(1, len(self.artifact.kernels), built.cache_hits, int(built.recalled))
        self._weights: list[torch.Tensor] = []  # of a program that is not loaded
        self._loaded: Program | None = None
        found = self._pick(built.interface.weights)
        if runs_here(self.artifact):
            self._loaded = Program(
                self.artifact,
                load_functions(self.artifact),
                TorchArrays(),
                found,
                threads=options.threads,
                stats=self.stats,
            )
        else:
            self._weights = found
        if sum(weight.tensor.nbytes for weight in built.interface.weights) >= LARGE:
            release()

    @property
    def loaded(self) -> bool:
        """Whether this machine can run it."""
        return self._loaded is not None

    @property
    def program(self) -> Program:
        """What runs. Raises UnsupportedError: it was compiled for another machine."""
        if self._loaded is None:
            raise UnsupportedError(
                describe(
                    f"program for {self.artifact.target}",
                    why="this machine cannot run it",
                    way_out="export_c it, run_emulated it, or compile with target='host'",
                )
            )
        return self._loaded

    def with_code(self) -> Artifact:
        """The artifact; one for another machine with its code, which is made now."""
        if self._loaded is not None or self.artifact.code:
            return self.artifact
        from tc.standalone.rendering import flat  # which imports writers of C

        artifact = self.artifact
        target = Target.parse(artifact.target)
        kernels = [flat(kernel, target) for kernel in artifact.kernels]
        found = entries(len(artifact.storages), artifact.prepare, artifact.main)
        made = make_code(kernels, found, target, self._cache_dir)
        return replace(artifact, code=made.code)

    def __call__(self, tensors: list[torch.Tensor]) -> Sequence[torch.Tensor]:
        """See `hf_program.Runner`."""
        return self.program(tensors)

    @property
    def copied(self) -> frozenset[int]:
        """See `hf_program.Runner`: what something is prepared of."""
        storages = self.artifact.storages
        read = [storages[s] for step in self.artifact.prepare for s in touched(step)]
        return frozenset(self._order[s.number] for s in read if s.place is Place.PARAM)

    def refresh(self, weights: Sequence[Weight]) -> None:
        """See `hf_program.Runner`."""
        if self._loaded is not None:
            self._loaded.set_weights(self._pick(weights))
        else:
            self._weights = self._pick(weights)

    def direct(self, shapes: tuple[torch.Size, ...]) -> Direct | None:
        """See `hf_program.Runner`."""
        return self.program.direct(shapes)

    def constants(self) -> dict[int, Memory]:
        """The memory of every storage that is a parameter or was prepared, as of now."""
        from tc.standalone.prepare import constants, memory_of  # which imports writers of C

        if self._loaded is not None:
            return memory_of(self._loaded)
        return constants(self.artifact, self._weights, TorchArrays(), self._cache_dir)

    def _pick(self, weights: Sequence[Weight]) -> list[torch.Tensor]:
        # An alias: it keeps the memory alive even where the parameter is given other memory.
        found = [weights[number].tensor.detach() for number in self._order]
        for tensor, info in zip(found, self.artifact.params, strict=True):
            _check_weight(tensor, info)
        return found


def _check_weight(tensor: torch.Tensor, info: TensorInfo) -> None:
    if tensor.dtype is not DTYPES[info.dtype] or tensor.device.type != "cpu":
        raise CompileError(
            describe(
                f"weight {info.name}",
                why=f"is {tensor.dtype} on {tensor.device}; it was compiled as {info.dtype} for "
                "the cpu",
                way_out="convert or move the model first, then compile it",
            )
        )


def refuse_fallbacks(artifact: Artifact, options: Options) -> None:
    """Raise UnsupportedError where a program has eager operators and `options` forbids them."""
    steps = (*artifact.prepare, *artifact.main)
    found = {step.op: step.origin for step in steps if isinstance(step, FallbackCall)}
    if found and options.fallback == "error":
        op, origin = next(iter(found.items()))
        raise UnsupportedError(
            describe(
                f"operator {', '.join(found)}",
                where=f"{op} in {origin}" if origin else "",
                why="tc cannot compile it, and fallback='error' forbids to run it eagerly",
                way_out="use fallback='warn'",
            )
        )
