"""The compiler's own pipeline without schedules, which take most of the time of a small model.

For tests of what is around the kernels: what computes is as obvious as the graph.
"""

from __future__ import annotations

from typing import Any

import pytest

import tc
from tc.frontend.options import Options
from tc.graph.graph import Graph
from tc.pipeline import Compiled, compile_graph, naive


def unscheduled(graph: Graph, options: Options) -> Compiled:
    return compile_graph(graph, options, naive)


def compiled(model: Any, **options: Any) -> Any:
    """As `tc.compile`; all programs of the model are without schedules, those made later too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tc.frontend.model.pipeline", unscheduled)
        return tc.compile(model, **options)
