"""How far the output of each product with a constant weight is from fp32, when it alone is short,
and what a call gives where many are.

The model runs in PyTorch's operators; of each product it is computed what operands that went
through the shorter precision would give (they are rounded as in tc.graph.precision and
tc.ops.quantize). A product inside an operator of ATen's that does more, as an LSTM's, is not seen.

This module must not decide what becomes of a layer that is too far.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tc.graph.short_numbers import PRECISIONS, activation_bits, groups_of, rounds_activations
from tc.target import Target

_ROWS: Final = 256  # of an activation that are looked at, evenly taken
_ELEMENTS: Final = 1 << 18  # of a weight that are rounded at a time
_BEYOND: Final = 1 << 63  # any address
_TINY: Final = 1e-30  # as in tc.ops.quantize
_ATEN = torch.ops.aten
# Products: which arguments are the activation and the weight, and whether the weight has a row for
# each output.
_PRODUCTS: Final[dict[Any, tuple[int, int, bool]]] = {
    _ATEN.mm.default: (0, 1, False),
    _ATEN.addmm.default: (1, 2, False),
    _ATEN.linear.default: (0, 1, True),
}

Errors = dict[str, dict[str, float]]
"""Of each parameter that is a product's weight, by its first name: the error in each precision."""
Following = Callable[[str, Mapping[str, float]], str | None]
"""The precision to measure next of a parameter, when these errors are known; None: no more."""


def layer_errors(
    weights: Mapping[str, torch.Tensor],
    run: Callable[[], object],
    following: Following,
    target: Target,
) -> Errors:
    """The error of each product in one call: rms, as a share of the standard deviation of the
    output, the worst where it is computed several times.

    Args:
        weights: parameters by name, by all their names or some.
        run: the call, in PyTorch's operators.
        following: see there.
        target: the machine whose instructions say how activations are rounded.

    Raises:
        whatever the call raises.
    """
    watch = _Watch(weights, following, target)
    _call(watch, run)
    return watch.errors


def short_outputs(
    weights: Mapping[str, torch.Tensor],
    run: Callable[[], object],
    precisions: Mapping[str, str],
    target: Target,
) -> object:
    """The result of the call where the products of these parameters are short, each in its
    precision; of a weight that is made of several, the longest of theirs.

    Args, Raises: as for `layer_errors`.
    """
    return _call(_Short(weights, precisions, target), run)


def _call(mode: _Products, run: Callable[[], object]) -> object:
    """The result of the call, with what is drawn in it drawn again next time."""
    with (
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        _no_fast_path(),
        mode,
    ):
        return run()


@contextlib.contextmanager
def _no_fast_path() -> Iterator[None]:
    """Have encoder layers of torch's own run operator by operator."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Products(TorchDispatchMode, ABC):  # type: ignore[no-untyped-call]  # torch's own
    """Sees every operator of a call, and finds the products with constant weights."""

    def __init__(self, weights: Mapping[str, torch.Tensor], target: Target) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bits = activation_bits(target)
        self.both = rounds_activations(target)
        # Where parameters begin and end in memory, in order, and the first name of each.
        first: dict[tuple[int, int], str] = {}
        for name, tensor in weights.items():
            begin = tensor.data_ptr()
            first.setdefault((begin, begin + tensor.nbytes), name)
        self.places = sorted((*place, name) for place, name in first.items())
        # What was made of nothing else. It is kept alive: its memory must not become another's.
        self.made: dict[int, tuple[torch.Tensor, frozenset[str]]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        names = [self._names(a) for a in args if isinstance(a, torch.Tensor)]
        if names and all(names) and isinstance(out, torch.Tensor):
            if not self._names(out):
                memory = out.untyped_storage().data_ptr()
                self.made[memory] = out, frozenset().union(*names)
        elif func in _PRODUCTS:
            return self._product(args, out, *_PRODUCTS[func])
        return out

    @abstractmethod
    def product(
        self, names: frozenset[str], x: torch.Tensor, w: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        """The output to go on with, in place of `out` [rows, channels], of the product of `x`
        [rows, depth] with `w` [channels, depth], which is made of these parameters."""

    def _names(self, tensor: torch.Tensor) -> frozenset[str]:
        """The parameters that a tensor is, or is made of alone; none for an activation."""
        if (found := self.made.get(tensor.untyped_storage().data_ptr())) is not None:
            return found[1]
        at = bisect_right(self.places, (tensor.data_ptr(), _BEYOND)) - 1
        inside = at >= 0 and tensor.data_ptr() < self.places[at][1]
        return frozenset((self.places[at][2],)) if inside else frozenset()

    def _product(
        self, args: tuple[Any, ...], out: torch.Tensor, at: int, weight_at: int, turned: bool
    ) -> torch.Tensor:
        x, w = args[at], args[weight_at]
        names = self._names(w)
        if not names or self._names(x) or not out.numel() or not x.shape[-1]:
            return out
        if not x.dtype is w.dtype is out.dtype is torch.float32 or not torch.isfinite(out).all():
            return out
        rows, given = x.reshape(-1, x.shape[-1]), out.reshape(-1, out.shape[-1])
        found = self.product(names, rows, w if turned else w.t(), given)
        return out if found is given else found.reshape(out.shape)

    def changes(
        self, x: torch.Tensor, w: torch.Tensor, precision: str
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """What rounded operands change in the product, for some channels after the other, each
        time from which on."""
        short = self._short_rows(x, precision)
        count = max(1, _ELEMENTS // max(x.shape[1], 1))
        for first in range(0, len(w), count):
            part = w[first : first + count].contiguous()
            yield first, short @ short_weight(part, precision).t() - x @ part.t()

    def _short_rows(self, x: torch.Tensor, precision: str) -> torch.Tensor:
        if precision == "int8":
            return short_rows(x, self.bits)
        return x.bfloat16().float() if self.both else x


class _Short(_Products):  # type: ignore[no-untyped-call]  # torch's own
    """Makes products short, those of the parameters in `precisions`."""

    def __init__(
        self, weights: Mapping[str, torch.Tensor], precisions: Mapping[str, str], target: Target
    ) -> None:
        super().__init__(weights, target)
        self.precisions = precisions

    def product(
        self, names: frozenset[str], x: torch.Tensor, w: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        """See `_Products.product`."""
        each = (self.precisions.get(name, PRECISIONS[-1]) for name in names)
        precision = max(each, key=PRECISIONS.index)
        if precision == PRECISIONS[-1]:
            return out
        found = out.clone()
        for first, change in self.changes(x, w, precision):
            found[:, first : first + change.shape[1]] += change
        return found


class _Watch(_Products):  # type: ignore[no-untyped-call]  # torch's own
    """Measures each product."""

    def __init__(
        self, weights: Mapping[str, torch.Tensor], following: Following, target: Target
    ) -> None:
        super().__init__(weights, target)
        self.errors: Errors = {}
        self.following = following

    def product(
        self, names: frozenset[str], x: torch.Tensor, w: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        """See `_Products.product`."""
        step = -(-len(x) // _ROWS)
        rows, wanted = x[::step], out[::step]
        for name in names:
            now: dict[str, float] = {}
            while (precision := self.following(name, now)) is not None:
                now[precision] = self._error(rows, w, wanted, precision)
            before = self.errors.setdefault(name, {})
            before.update((p, max(error, before.get(p, 0.0))) for p, error in now.items())
        return out

    def _error(
        self, x: torch.Tensor, w: torch.Tensor, wanted: torch.Tensor, precision: str
    ) -> float:
        """What rounded operands change: `wanted` holds what whole ones give, and what is added."""
        changes = self.changes(x, w, precision)
        total = sum(float(change.double().pow(2).sum()) for _, change in changes)
        size = float(wanted.double().std(correction=0)) or float(wanted.abs().max()) or 1.0
        error = (total / wanted.numel()) ** 0.5 / size
        return error if error == error else float("inf")


def short_weight(w: torch.Tensor, precision: str) -> torch.Tensor:
    """f32 [channels, depth] as the shorter precision holds it, as f32."""
    if precision == "bf16":
        return w.bfloat16().float()
    groups = _grouped(w)
    scale = (groups.abs().amax(-1, keepdim=True) * (1.0 / 127)).bfloat16().float()
    level = torch.where(scale > _TINY, groups / scale, 0.0).round_().clamp_(-127.0, 127.0)
    return (level * scale).reshape(len(w), -1)[:, : w.shape[1]]


def short_rows(x: torch.Tensor, bits: int) -> torch.Tensor:
    """f32 [rows, depth] as integers of so many bits hold it, as f32."""
    groups = _grouped(x)
    levels = 2.0**bits - 1
    low = groups.amin(-1, keepdim=True).clamp_(max=0.0)
    range_ = groups.amax(-1, keepdim=True).clamp_(min=0.0) - low
    per = torch.where(range_ > _TINY, levels / range_, 0.0)
    zero = (-low * per).round_()
    level = ((groups * per).round_() + zero).clamp_(0.0, levels)
    return ((level - zero) * (range_ * (1.0 / levels))).reshape(len(x), -1)[:, : x.shape[1]]


def _grouped(x: torch.Tensor) -> torch.Tensor:
    count, size = groups_of(x.shape[1])
    whole = torch.nn.functional.pad(x, (0, count * size - x.shape[1]))
    return whole.reshape(len(x), count, size)
