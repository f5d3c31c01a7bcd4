"""The compiler's own pipeline without schedules, which take most of the time of a small model.

For tests of what is around the kernels: what computes is as obvious as the graph.
"""

from __future__ import annotations

from tc.frontend.options import Options
from tc.graph.graph import Graph
from tc.pipeline import Compiled, compile_graph, naive


def unscheduled(graph: Graph, options: Options) -> Compiled:
    return compile_graph(graph, options, naive)
