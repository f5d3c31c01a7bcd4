"""Groups: operators that become one kernel, and what that kernel computes."""

from __future__ import annotations

from collections.abc import Iterator

from tc.frozen import frozen
from tc.graph.graph import Arg, Loop, Node, Value
from tc.ir.tensor import Placeholder, Tensor


@frozen
class Computation:
    """What a kernel computes, whatever it is applied to; equal groups share one object.

    `constants` names the placeholders that are parameters or were prepared from them.
    """

    inputs: tuple[Placeholder, ...]
    outputs: tuple[Tensor, ...]
    constants: frozenset[str]


@frozen
class Group:
    """One kernel of a program.

    `inputs` are values in the order of `computation.inputs`, `outputs` in that of its outputs.
    Views and cheap operators stand in every group that reads through them.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    computation: Computation

    @property
    def name(self) -> str:
        """The operators that do the work, for people to read."""
        from tc.graph.classify import is_solid

        ops = [n.op for n in self.nodes if is_solid(n)]
        return "_".join(dict.fromkeys(ops)) or "copy"

    @property
    def origin(self) -> tuple[str, ...]:
        """The places in the model that it computes, each once."""
        return tuple(dict.fromkeys(n.origin for n in self.nodes if n.origin))


@frozen
class Turns:
    """A loop: its node, its body with what is constant among its parameters, and that in groups."""

    node: Node
    loop: Loop
    fused: Fused

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What is there in the end."""
        return self.node.outputs

    @property
    def given(self) -> Iterator[tuple[Value, Arg]]:
        """Each input of the body with what it is outside."""
        assert self.node.loop is not None
        return zip(self.node.loop.body.inputs, self.node.args[1:], strict=True)


@frozen
class Fused:
    """A graph cut into kernels, loops and fallbacks, in an order in which they can run.

    `aliases` maps a value to the one whose memory it is, under another shape.
    """

    steps: tuple[Group | Turns | Node, ...]
    aliases: dict[Value, Value]
