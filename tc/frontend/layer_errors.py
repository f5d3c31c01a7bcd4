"""How far the output of each product with a constant weight is from fp32, when it alone is short.

The model runs once, in PyTorch's operators; beside each product it is computed what operands that
went through the shorter precision would give (they are rounded as in tc.graph.precision and
tc.ops.quantize). A product inside an operator of ATen's that does more, as an LSTM's, is not seen.

This module must not decide what becomes of a layer that is too far.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tc.graph.short_numbers import activation_bits, groups_of, rounds_activations
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
    with (
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        _no_fast_path(),
        watch,
    ):
        run()
    return watch.errors


@contextlib.contextmanager
def _no_fast_path() -> Iterator[None]:
    """Have encoder layers of torch's own run operator by operator."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Sees every operator of a call."""

    def __init__(
        self, weights: Mapping[str, torch.Tensor], following: Following, target: Target
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.errors: Errors = {}
        self.following = following
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
            self._product(args, out, *_PRODUCTS[func])
        return out

    def _names(self, tensor: torch.Tensor) -> frozenset[str]:
        """The parameters that a tensor is, or is made of alone; none for an activation."""
        if (found := self.made.get(tensor.untyped_storage().data_ptr())) is not None:
            return found[1]
        at = bisect_right(self.places, (tensor.data_ptr(), _BEYOND)) - 1
        inside = at >= 0 and tensor.data_ptr() < self.places[at][1]
        return frozenset((self.places[at][2],)) if inside else frozenset()

    def _product(
        self, args: tuple[Any, ...], out: torch.Tensor, at: int, weight_at: int, turned: bool
    ) -> None:
        x, w = args[at], args[weight_at]
        names = self._names(w)
        if not names or self._names(x) or not out.numel() or not x.shape[-1]:
            return
        if not x.dtype is w.dtype is out.dtype is torch.float32 or not torch.isfinite(out).all():
            return
        rows = x.reshape(-1, x.shape[-1])
        step = -(-len(rows) // _ROWS)
        rows, wanted = rows[::step], out.reshape(-1, out.shape[-1])[::step]
        channels = w if turned else w.t()
        for name in names:
            now: dict[str, float] = {}
            while (precision := self.following(name, now)) is not None:
                now[precision] = self._error(rows, channels, wanted, precision)
            before = self.errors.setdefault(name, {})
            before.update((p, max(error, before.get(p, 0.0))) for p, error in now.items())

    def _error(
        self, x: torch.Tensor, w: torch.Tensor, wanted: torch.Tensor, precision: str
    ) -> float:
        """What rounded operands change: `wanted` holds what whole ones give, and what is added."""
        depth = x.shape[1]
        short = self._short_rows(x, precision)
        count = max(1, _ELEMENTS // max(depth, 1))
        total = 0.0
        for first in range(0, len(w), count):
            part = w[first : first + count].contiguous()
            change = short @ short_weight(part, precision).t() - x @ part.t()
            total += float(change.double().pow(2).sum())
        size = float(wanted.double().std(correction=0)) or float(wanted.abs().max()) or 1.0
        error = (total / wanted.numel()) ** 0.5 / size
        return error if error == error else float("inf")

    def _short_rows(self, x: torch.Tensor, precision: str) -> torch.Tensor:
        if precision == "int8":
            return short_rows(x, self.bits)
        return x.bfloat16().float() if self.both else x


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
