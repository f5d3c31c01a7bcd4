"""Recurrent layers as graphs: a product over all steps at once, then a loop over the steps.

What an LSTM, a GRU and a plain recurrent layer do at a step is said in one function each; the rest
(layers above each other, directions, initial states, biases) they have in common. The formulas are
those of torch.nn.LSTM, GRU and RNN; LSTM with a projection is Sak, Senior and Beaufays, "Long
short-term memory recurrent neural network architectures" (arXiv 1402.1128). Packed sequences, and
dropout between layers, which is random, are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tc.errors import UnsupportedError
from tc.frozen import frozen
from tc.graph.graph import Arg, Node, Value
from tc.graph.writer import BodyWriter, Writer
from tc.ir.expr import Const


@frozen
class Weights:
    """The parameters of one layer in one direction: `*_x` for its input, `*_h` for its state.

    Matrices have a row for each output; the gates are side by side. `projection` is LSTM's.
    """

    w_x: Value
    w_h: Value
    b_x: Value | None = None
    b_h: Value | None = None
    projection: Value | None = None


States = tuple[Value, ...]
# From a step's share of the input product and the states before it to those after it, h first.
Step = Callable[[Writer, Value, States, Weights], States]


@frozen
class Cell:
    """A kind of recurrent layer; `both`: the two biases may be added beforehand."""

    step: Step
    both: bool = True


def recurrent(overload: str, args: Sequence[Arg], outputs: Sequence[Value], origin: str
) -> list[Node] | None:  # fmt: skip
    """The nodes of a recurrent layer or cell called by `args`; None where it is none of them."""
    base, _, variant = overload.removeprefix("aten.").partition(".")
    if variant == "default" and base.removesuffix("_cell") in _CELLS:
        return _one_step(_CELLS[base.removesuffix("_cell")], args, outputs, origin)
    cell = _CELLS.get(base) if variant == "input" else None
    if cell is None:
        return None
    x, states, params, biases, layers, dropout, train, both_ways, batch_first = args
    if train and dropout and layers != 1:
        return None
    given = (states,) if isinstance(states, Value) else states
    assert isinstance(x, Value) and isinstance(given, tuple) and isinstance(params, tuple)
    assert isinstance(layers, int)
    stack = _Stack(cell, outputs[0].name, origin, 1 if batch_first else 0)
    weights = _weights(params, bool(biases), layers * (2 if both_ways else 1))
    found = stack.layers(x, given, weights, 2 if both_ways else 1)
    return stack.writer.named(dict(zip(found, outputs, strict=True)))


def _one_step(cell: Cell, args: Sequence[Arg], outputs: Sequence[Value], origin: str) -> list[Node]:
    x, states, *params = args
    given = (states,) if isinstance(states, Value) else states
    assert isinstance(x, Value) and isinstance(given, tuple)
    begin = tuple(s for s in given if isinstance(s, Value))
    (weights,) = _weights(params, params[2] is not None, 1)
    write = Writer(outputs[0].name, origin)
    part = write("linear", x, weights.w_x, _bias(write, cell, weights))
    found = cell.step(write, part, begin, weights)
    return write.named(dict(zip(found, outputs, strict=True)))


def _bias(write: Writer, cell: Cell, weights: Weights) -> Value | None:
    """What is added to the product with the input."""
    if weights.b_x is None or not cell.both:
        return weights.b_x
    return write("add", weights.b_x, weights.b_h, 1)


def _weights(params: Sequence[Arg], biases: bool, count: int) -> list[Weights]:
    each = len(params) // count
    found = []
    for n in range(count):
        values = [v for v in params[n * each : (n + 1) * each] if isinstance(v, Value)]
        w_x, w_h, *rest = values
        b_x, b_h = (rest.pop(0), rest.pop(0)) if biases else (None, None)
        found.append(Weights(w_x, w_h, b_x, b_h, rest[0] if rest else None))
    return found


class _Stack:
    """Layers above each other; `dim` of the sequences are the steps."""

    def __init__(self, cell: Cell, name: str, origin: str, dim: int) -> None:
        self.writer = Writer(name, origin)
        self.cell = cell
        self.name = name
        self.origin = origin
        self.dim = dim

    def layers(
        self, x: Value, states: Sequence[Arg], weights: Sequence[Weights], directions: int
    ) -> tuple[Value, ...]:
        """The sequence on top, then the last of each kind of state of all layers."""
        write = self.writer
        last: list[States] = []
        for n in range(0, len(weights), directions):
            sides = []
            for side in range(directions):
                begin = tuple(write("select", s, 0, n + side) for s in states)
                out, *ends = self._direction(x, begin, weights[n + side], bool(side))
                sides.append(out)
                last.append(tuple(ends))
            x = sides[0] if directions == 1 else write("cat", tuple(sides), 2)
        return x, *(write("stack", kind, 0) for kind in zip(*last, strict=True))

    def _direction(
        self, x: Value, begin: States, weights: Weights, backwards: bool
    ) -> tuple[Value, ...]:
        """The outputs at all steps, and the states after the last one."""
        write = self.writer
        whole = write("linear", x, weights.w_x, _bias(write, self.cell, weights))
        times = x.shape[self.dim]
        body = BodyWriter(f"{self.name}.{len(write.nodes)}", self.origin, times)
        at = times - 1 - body.index if backwards else body.index
        part = body("select", body.input(whole), self.dim, at)
        states = tuple(body.input(s) for s in begin)
        new = self.cell.step(body, part, states, _given(body, weights))
        shape = list(x.shape[:2])
        out = body.empty((*shape, new[0].shape[1]), new[0].dtype)
        row = body("unsqueeze", new[0], self.dim)
        body.set(out, body("slice_write", out, row, self.dim, at))
        for old, state in zip(states, new, strict=True):
            body.set(old, state)
        return write.loop(body, times)


def _given(body: BodyWriter, weights: Weights) -> Weights:
    """The weights as the body calls them, those that it reads."""
    return Weights(
        weights.w_x,
        body.input(weights.w_h),
        weights.b_x,
        None if weights.b_h is None else body.input(weights.b_h),
        None if weights.projection is None else body.input(weights.projection),
    )


def _cut(write: Writer, gates: Value, count: int) -> list[Value]:
    """What lies side by side along the last dim."""
    size = gates.shape[1]
    if not isinstance(size, Const):
        raise UnsupportedError("recurrent layer: of a number of features that is not fixed")
    each = int(size.value) // count
    return [write("slice", gates, 1, n * each, (n + 1) * each, 1) for n in range(count)]


def _lstm(write: Writer, x: Value, states: States, weights: Weights) -> States:
    """i, f, g, o; c = f c + i g; h = o tanh(c), projected."""
    h, c = states
    gates = write("add", write("linear", h, weights.w_h, None), x, 1)
    i, f, g, o = _cut(write, gates, 4)
    kept = write("mul", write("sigmoid", f), c)
    c = write("add", kept, write("mul", write("sigmoid", i), write("tanh", g)), 1)
    h = write("mul", write("sigmoid", o), write("tanh", c))
    if weights.projection is not None:
        h = write("linear", h, weights.projection, None)
    return h, c


def _gru(write: Writer, x: Value, states: States, weights: Weights) -> States:
    """r, z, n = tanh(x + r h); h = n + z (h - n)."""
    (h,) = states
    xr, xz, xn = _cut(write, x, 3)
    hr, hz, hn = _cut(write, write("linear", h, weights.w_h, weights.b_h), 3)
    r = write("sigmoid", write("add", xr, hr, 1))
    z = write("sigmoid", write("add", xz, hz, 1))
    n = write("tanh", write("add", xn, write("mul", r, hn), 1))
    return (write("add", n, write("mul", z, write("sub", h, n, 1)), 1),)


def _plain(function: str) -> Step:
    def step(write: Writer, x: Value, states: States, weights: Weights) -> States:
        return (write(function, write("add", write("linear", states[0], weights.w_h, None), x, 1)),)

    return step


_CELLS: Final[Mapping[str, Cell]] = {
    "lstm": Cell(_lstm),
    "gru": Cell(_gru, both=False),
    "rnn_tanh": Cell(_plain("tanh")),
    "rnn_relu": Cell(_plain("relu")),
}
