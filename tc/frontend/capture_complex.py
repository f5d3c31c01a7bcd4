"""Complex numbers between real ones, as rotations of pairs of features are often written.

tc has no complex numbers. Where a model makes some of real numbers, multiplies them and takes them
apart again, the real operators that this comes to take the place of all that. Whatever else is
done with complex numbers is left alone. This module must not change any value that the graph
computes, but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from tc.frontend.capture_composites import replace_by

_aten = torch.ops.aten
Pair = tuple[torch.Tensor, torch.Tensor]
# What makes complex numbers of real ones, and what makes real ones of their parts.
_MAKERS: Final[Mapping[Any, Callable[..., Pair]]] = {
    _aten.polar.default: lambda size, angle: (size * angle.cos(), size * angle.sin()),
    _aten.complex.default: lambda real, imaginary: (real, imaginary),
    _aten.view_as_complex.default: lambda x: (x.select(-1, 0), x.select(-1, 1)),
}
_TAKERS: Final[Mapping[Any, Callable[..., torch.Tensor]]] = {
    _aten.view_as_real.default: lambda c: torch.stack(c, -1),
    _aten.real.default: lambda c: c[0],
    _aten.imag.default: lambda c: c[1],
}
# What is done with both parts alike.
_MOVES: Final = frozenset(
    (
        _aten.unsqueeze.default,
        _aten.squeeze.dim,
        _aten.view.default,
        _aten.reshape.default,
        _aten.transpose.int,
        _aten.permute.default,
        _aten.expand.default,
        _aten.slice.Tensor,
        _aten.select.int,
    )
)


def expand_complex(module: GraphModule) -> None:
    """Replace what takes complex numbers apart by the real operators that it comes to."""
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in _TAKERS and _is_complex(node.args[0]):
            inputs: dict[Node, None] = {}
            if _is_known(node.args[0], inputs):
                replace_by(module, node, list(inputs), _of_parts(node, list(inputs)))
    module.graph.eliminate_dead_code()
    module.recompile()


def _is_complex(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_complex()


def _is_known(node: Node, inputs: dict[Node, None]) -> bool:
    """Whether a complex value comes of what is known here; `inputs` gets what that begins with."""
    if node.op != "call_function" or node.kwargs:
        return False
    if node.target not in (*_MAKERS, *_MOVES, _aten.mul.Tensor):
        return False
    for each in node.all_input_nodes:
        if not _is_complex(each):
            inputs[each] = None
        elif not _is_known(each, inputs):
            return False
    return True


def _of_parts(node: Node, inputs: list[Node]) -> Callable[..., torch.Tensor]:
    def made(*given: Any) -> torch.Tensor:
        known: dict[Node, Any] = dict(zip(inputs, given, strict=True))
        return _TAKERS[node.target](_parts(node.args[0], known))

    return made


def _parts(node: Any, known: dict[Node, Any]) -> Pair:
    """Real and imaginary part of a complex value, from the values that are `known`."""
    for each in node.all_input_nodes:
        if each not in known:
            known[each] = _parts(each, known)
    args = map_arg(node.args, known.__getitem__)
    if node.target in _MAKERS:
        return _MAKERS[node.target](*args)
    if node.target is _aten.mul.Tensor:
        return _product(*args)
    (real, imaginary), *rest = args
    function: Any = node.target
    return function(real, *rest), function(imaginary, *rest)


def _product(a: Any, b: Any) -> Pair:
    if not isinstance(a, tuple):
        a, b = b, a
    if not isinstance(b, tuple):
        return a[0] * b, a[1] * b
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]
