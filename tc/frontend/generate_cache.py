"""The memory of one generation: keys and values of every layer, and the state of its sequences.

A session holds buffers of `capacity` rows for each sequence, runs the prompt's program once and
then the step's program for each token: the new rows are written into the buffers by the kernels,
and nothing is copied or allocated but where the buffers grow by a block. This module must not
choose tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from tc.errors import InternalError
from tc.frontend.generate_capture import Decoder
from tc.frontend.generate_loop import Tokens
from tc.frontend.hf_program import Runner
from tc.frontend.hf_weights import WeightWatch
from tc.frontend.signature import IdCheck, Signature
from tc.frontend.signature_bind import bind, check_ids
from tc.frontend.tensors import DTYPES
from tc.frozen import frozen

if TYPE_CHECKING:
    from tc.device.artifact import Artifact
    from tc.device.run import Program

BLOCK = 256  # rows that a cache grows by at least


class ProgramRunner(Runner, Protocol):
    """A runner whose program can be stepped."""

    @property
    def artifact(self) -> Artifact:
        """The program as data."""

    @property
    def program(self) -> Program:
        """What it runs."""


@frozen
class Step:
    """A program of a generation, with what must hold of its inputs."""

    signature: Signature
    runner: ProgramRunner
    watch: WeightWatch

    def refresh(self) -> None:
        """Take the model's weights as they are now."""
        self.watch.pass_on(self.runner.refresh)

    def count(self, name: str) -> IdCheck | None:
        """The rows of the table that an input indexes."""
        checks = self.signature.checks
        return next((c for c in checks if isinstance(c, IdCheck) and c.input == name), None)

    def check(self, tensors: Sequence[torch.Tensor]) -> None:
        """Refuse ids out of their table and sizes that the program does not take."""
        signature = self.signature
        bind(signature, [tuple(t.shape) for t in tensors])
        for spec, tensor in zip(signature.inputs, tensors, strict=True):
            check = self.count(spec.name)
            if check is not None and tensor.numel():
                least, greatest = tensor.aminmax()
                check_ids(check, int(least), int(greatest))


class Session:
    """One generation. `reach` is how many rows of the buffers are used.

    Attributes:
        keys, values: of each layer, [batch, heads, capacity, dim].
        logits: of the last position, [batch, vocabulary]; the same memory for every step.
        encoded: the encoder's states, then keys and values of them; empty without an encoder.
    """

    def __init__(
        self,
        prompt: Step,
        step: Step,
        decoder: Decoder,
        batch: int,
        most: int,
    ) -> None:
        """Allocate nothing yet.

        Args:
            most: rows that the generation can need at all.
        """
        self._prompt, self._step = prompt, step
        self._decoder = decoder
        self._batch, self._most = batch, most
        self.capacity = self.reach = 0
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self._ids = torch.zeros(batch, 1, dtype=torch.long)
        self._positions = torch.zeros(batch, 1, dtype=torch.long)
        # The same memory: writing to it takes a tenth of the time that a tensor takes.
        self._ids_array, self._positions_array = self._ids.numpy(), self._positions.numpy()
        self._mask = torch.ones(batch, 0, dtype=torch.long)
        self.encoded: list[torch.Tensor] = []
        self._limit = step.count("position_ids") if decoder.position_ids else None
        self._words = step.count("input_ids")
        self._highest = 0

    def start(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        positions: torch.Tensor | None = None,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run the prompt [batch, length]; the logits of its last position.

        Args:
            mask: which places are no padding, of the encoder's states if there are any.
            positions: default: counted from 0.
            states: of the encoder, [batch, states, dim].

        Raises:
            TcError: ids or positions that the model has not.
        """
        length = ids.shape[1]
        self._reserve(length + 1)
        if states is not None:
            ones = torch.ones(states.shape[:2], dtype=torch.long)
            self._mask = ones if mask is None else mask.long().contiguous()
            self.encoded = [states.contiguous()]
        elif mask is not None:
            self._mask[:, :length] = mask
        if positions is None:
            positions = torch.arange(length).expand(self._batch, length)
        self._positions.copy_(positions[:, -1:])
        self._highest = int(positions[:, -1].max())
        tensors = self._inputs(ids.contiguous(), positions.contiguous())
        self._prompt.check(tensors)
        logits, *cross = self._prompt.runner(tensors)
        self.encoded += cross
        self.reach = length
        logits = logits[:, 0]
        self.logits = torch.empty_like(logits)
        self._watch_words = self._words is not None and logits.shape[1] > self._words.count
        self._prepare()
        return logits

    def _inputs(self, ids: torch.Tensor, positions: torch.Tensor) -> list[torch.Tensor]:
        """The inputs of a program, in order."""
        mask = [self._mask] if self._decoder.attention_mask else []
        places = [positions] if self._decoder.position_ids else []
        return [ids, *self.keys, *self.values, *mask, *places, *self.encoded]

    def step(self, tokens: Tokens) -> torch.Tensor:
        """Append one token [batch] to each sequence; the logits after it.

        Raises:
            TcError: a position that the model has not.
        """
        if self.reach == self.capacity:
            self._reserve(self.reach + 1)
            self._prepare()
        if self._watch_words and self._words is not None:
            check_ids(self._words, int(tokens.min()), int(tokens.max()))
        if self._limit is not None:
            self._highest += 1
            check_ids(self._limit, 0, self._highest)
        self._ids_array[:, 0] = tokens
        self._positions_array += 1
        self.reach += 1
        self._stepper(self._values(self.reach))
        return self.logits

    def reorder(self, rows: torch.Tensor) -> None:
        """Let each sequence i go on from those of `rows[i]`, as a search by beams does."""
        moved = (rows != torch.arange(self._batch)).nonzero()[:, 0]
        if not len(moved):
            return
        source = rows[moved]
        for buffer in (*self.keys, *self.values):
            used = buffer[:, :, : self.reach]
            used[moved] = used[source]
        if not self._decoder.cross:  # beams of one text share what was encoded
            self._mask[moved] = self._mask[source]
        self._positions[moved] = self._positions[source]

    def contents(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Copies of the keys and values of every layer, as long as the sequences are."""
        return [
            (keys[:, :, : self.reach].clone(), values[:, :, : self.reach].clone())
            for keys, values in zip(self.keys, self.values, strict=True)
        ]

    def _reserve(self, rows: int) -> None:
        """Make the buffers hold so many rows, keeping what is in them."""
        blocks = max(rows, self.capacity + self.capacity // 2) + BLOCK - 1
        wanted = max(rows, min(self._most, blocks // BLOCK * BLOCK))
        for layer, shape in enumerate(self._decoder.layers):
            for held, dim in ((self.keys, shape.key_dim), (self.values, shape.value_dim)):
                new = torch.empty(self._batch, shape.heads, wanted, dim, dtype=shape.dtype)
                if layer < len(held):
                    new[:, :, : self.reach] = held[layer][:, :, : self.reach]
                    held[layer] = new
                else:
                    held.append(new)
        if not self._decoder.cross:
            mask = torch.ones(self._batch, wanted, dtype=torch.long)
            mask[:, : self.capacity] = self._mask
            self._mask = mask
        self.capacity = wanted

    def _prepare(self) -> None:
        """A stepper for the buffers as they are."""
        program = self._step.runner.program
        tensors = self._inputs(self._ids, self._positions)
        self._reach_only = torch.empty(1, dtype=torch.bool)
        names = program.artifact.symbol_names
        shapes = [tuple(t.shape) for t in tensors]
        low, high = (program.bind([*shapes, (n,)]) for n in (self.capacity - 1, self.capacity))
        place = [n for n, (a, b) in enumerate(zip(low, high, strict=True)) if a != b]
        if len(place) != 1:
            raise InternalError(f"step program: {len(place)} of {names} follow from its last input")
        self._before, self._after = high[: place[0]], high[place[0] + 1 :]
        stepper = program.stepper(high)
        if stepper is None:
            raise InternalError("step program: has eager operators")
        ((shape, dtype),) = stepper.outputs
        if self.logits[:, None].shape != shape or self.logits.dtype is not DTYPES[dtype]:
            raise InternalError(f"step program: gives {shape}, the prompt's {self.logits.shape}")
        addresses = [t.data_ptr() for t in (*tensors, self._reach_only)]
        stepper.place(addresses, [self.logits.data_ptr()])
        self._stepper = stepper
        program.last_values = self._values(self.capacity)

    def _values(self, reach: int) -> tuple[int, ...]:
        return (*self._before, reach, *self._after)
