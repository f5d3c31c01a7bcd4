"""Evaluating tensor expressions directly: all points of a tensor at once, by broadcasting.

A reduction adds a dim at the end that holds a block of its points; blocks are folded in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from tc.errors import CompileError, InternalError, TcError, describe
from tc.ir.expr import Expr, Read, Reduce, Var
from tc.ir.interpret import numeric
from tc.ir.interpret.numeric import Value
from tc.ir.interpret.scalar import Evaluator, in_range
from tc.ir.monoid import Monoid
from tc.ir.tensor import Compute, Placeholder, Scan, Scatter, Tensor
from tc.ir.tensor_walk import topological

# Elements of an intermediate array: reductions are cut into blocks of about this size.
_BLOCK: Final = 1 << 20


def evaluate(
    tensor: Tensor,
    inputs: Mapping[str, np.ndarray[Any, Any]],
    symbols: Mapping[str, int] | None = None,
) -> np.ndarray[Any, Any]:
    """The elements of `tensor`, given those of its placeholders by name; bf16 as uint16.

    Raises:
        TcError: an index is out of bounds (names tensor and index); what a tensor tells (its
            message) where one of its elements is false.
        CompileError: an input is missing or has another shape or type; a symbol has no value.
    """
    at = _Points({}, symbols or {})
    with np.errstate(all="ignore"):
        for t in topological([tensor]):
            at.memory[t.name] = at.tensor(t, inputs)
    return np.asarray(at.memory[tensor.name])


class _Points(Evaluator):
    """An evaluator whose arrays have one dim for each axis around, outermost first."""

    def __init__(self, memory: dict[str, Value], symbols: Mapping[str, int]) -> None:
        super().__init__(memory, symbols)
        self.shape: tuple[int, ...] = ()  # of all points around
        self._on[Read] = lambda x: lambda: self._read(x)
        self._on[Reduce] = lambda x: lambda: self._reduce(x)

    def tensor(self, t: Tensor, inputs: Mapping[str, np.ndarray[Any, Any]]) -> Value:
        """All elements of `t`, as they are stored."""
        shape = tuple(self.size(d) for d in t.shape)
        match t:
            case Placeholder(name, _, dtype):
                return _input(name, shape, numeric.storage(dtype), inputs)
            case Compute(_, axes, _, body, message):
                found = self._stored(self._over(axes, shape, (body,))[0], shape, t)
                if message and not found.all():
                    raise TcError(message)
                return found
            case Scan(_, axes, _, dim, monoid, value):
                values = self._over(axes, shape, (value,))[0]
                return self._stored(
                    self._scan(np.broadcast_to(values, shape), dim, monoid), shape, t
                )
            case Scatter():
                return self._scatter(t)
        raise InternalError(f"interpreter: {type(t).__name__} cannot be evaluated")

    def _stored(self, value: Value, shape: tuple[int, ...], t: Tensor) -> Value:
        stored = numeric.store_value(value, t.dtype)
        return np.array(np.broadcast_to(stored, shape), numeric.storage(t.dtype))

    def _over(
        self, axes: tuple[Var, ...], shape: tuple[int, ...], exprs: tuple[Expr, ...]
    ) -> list[Value]:
        """Expressions at all points of `axes`; arrays that broadcast to `shape`."""
        self.shape = shape
        values = {v: _along(np.arange(n), d, len(shape)) for d, (v, n) in
                  enumerate(zip(axes, shape, strict=True))}  # fmt: skip
        with self.bound(values):
            return [self(x) for x in exprs]

    def _read(self, x: Read) -> Value:
        return self.fetch(x.tensor.name, [self(i) for i in x.indices], None, x.dtype)

    # --- reductions

    def _reduce(self, x: Reduce) -> Value:
        extents = [np.asarray(self(e)) for e in x.extents]
        sizes = tuple(int(e.max(initial=0)) for e in extents)
        total, points = int(np.prod(sizes)), int(np.prod(self.shape))
        step = max(1, _BLOCK // max(points, 1))
        state: list[Value] = [self(i) for i in x.monoid.identity]
        for start in range(0, total, step):
            block = np.arange(start, min(start + step, total))
            state = self._combine(x.monoid, state, self._block(x, extents, sizes, block))
        with self.bound(dict(zip(x.monoid.left, state, strict=True))):
            return self(x.result)

    def _block(
        self, x: Reduce, extents: list[Value], sizes: tuple[int, ...], block: Value
    ) -> list[Value]:
        """The fold of some points of a reduction, numbered row-major."""
        outer_env, outer_shape, outer_active = self.env, self.shape, self.active
        self.env = {v: _deeper(value) for v, value in outer_env.items()}
        self.shape = (*outer_shape, len(block))
        self.active = _deeper(outer_active)
        indices = np.unravel_index(block, sizes)
        inside: Value = True
        for var, index, extent in zip(x.axes, indices, extents, strict=True):
            place = _along(index, len(outer_shape), len(self.shape))
            self.env[self.number(var)] = place
            if extent.ndim:
                inside = inside & (place < _deeper(extent))
        if inside is not True:
            self.active = self.wanted(inside)
        values = [self(v) for v in x.values]
        identity = [self(i) for i in x.monoid.identity]
        width, ndim = len(block), len(outer_shape)
        lanes = [
            _last_dim(v if inside is True else np.where(inside, v, i), ndim, width)
            for v, i in zip(values, identity, strict=True)
        ]
        self.env, self.shape, self.active = outer_env, outer_shape, outer_active
        while width > 1:
            left, right = [v[..., 0 : width - 1 : 2] for v in lanes], [v[..., 1::2] for v in lanes]
            odd = [v[..., width - 1 :] for v in lanes] if width % 2 else None
            lanes = self._combine(x.monoid, left, right)
            if odd is not None:
                pairs = zip(lanes, odd, strict=True)
                lanes = [_join(a, b) for a, b in pairs]
            width = (width + 1) // 2
        return [v[..., 0] for v in lanes]

    def _combine(self, monoid: Monoid, left: list[Value], right: list[Value]) -> list[Value]:
        # Only the monoid's own variables occur in `combine`.
        outer_env, outer_active = self.env, self.active
        numbers = map(self.number, (*monoid.left, *monoid.right))
        self.env = dict(zip(numbers, (*left, *right), strict=True))
        self.active = None
        out = [self(x) for x in monoid.combine]
        self.env, self.active = outer_env, outer_active
        return out

    def _scan(self, values: Value, dim: int, monoid: Monoid) -> Value:
        out = np.array(values)
        state: list[Value] = [self(i) for i in monoid.identity]
        for n in range(values.shape[dim]):
            at = (slice(None),) * dim + (n,)
            state = self._combine(monoid, state, [values[at]])
            out[at] = state[0]
        return out

    # --- scatter

    def _scatter(self, t: Scatter) -> Value:
        out = np.array(self.memory[t.base.name])
        shape = tuple(self.size(e) for e in t.extents)
        exprs = (*t.indices, t.value) if t.mask is None else (*t.indices, t.value, t.mask)
        found = [np.broadcast_to(v, shape).reshape(-1) for v in self._over(t.axes, shape, exprs)]
        rank = len(t.indices)
        indices, value = found[:rank], found[rank]
        mask = None if t.mask is None else found[rank + 1]
        in_range(t.name, list(indices), out.shape, mask)
        chosen = range(value.size) if mask is None else np.flatnonzero(mask)
        for n in chosen:
            at = tuple(i[n] for i in indices)
            new = value[n]
            if t.monoid is not None:
                new = self._combine(t.monoid, [numeric.load_value(out[at], t.dtype)], [new])[0]
            out[at] = numeric.store_value(new, t.dtype)
        return out


def _input(
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    inputs: Mapping[str, np.ndarray[Any, Any]],
) -> Value:
    if name not in inputs:
        raise CompileError(describe(f"placeholder {name}", why="no array is given"))
    array = inputs[name]
    if array.shape != shape or array.dtype != dtype:
        raise CompileError(
            describe(
                f"placeholder {name}",
                why=f"the array is {array.dtype}{array.shape}, not {dtype}{shape}",
                way_out="convert the array",
            )
        )
    return array


def _along(index: Value, dim: int, ndim: int) -> Value:
    """Indices as an array that varies along one of `ndim` dims."""
    return np.asarray(index, np.int64).reshape((1,) * dim + (-1,) + (1,) * (ndim - dim - 1))


def _deeper(value: Value) -> Value:
    """A value of the points around, as one of the points of a dim inside."""
    return value if np.ndim(value) == 0 else value[..., None]


def _last_dim(value: Value, ndim: int, width: int) -> Value:
    """A value with all `width` points of the last dim spelled out."""
    value = np.asarray(value)
    if value.ndim == 0:
        value = value.reshape((1,) * (ndim + 1))
    return np.broadcast_to(value, (*value.shape[:-1], width))


def _join(a: Value, b: Value) -> Value:
    outer = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    a, b = (np.broadcast_to(v, (*outer, v.shape[-1])) for v in (a, b))
    return np.concatenate([a, b], axis=-1)
