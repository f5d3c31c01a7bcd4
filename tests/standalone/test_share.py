"""Weights that programs read in different layouts: once in the folder, and read rightly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tc
from tc.frontend import model as frontend
from tc.frontend.options import Options
from tc.frontend.standalone import model_spec
from tc.graph.graph import Graph
from tc.pipeline import Compiled, compile_graph
from tc.standalone.export import export
from tc.standalone.share import share_layouts
from tc.standalone.spec import ModelSpec, ProgramSpec
from tests.standalone.exported import need

WORDS, WIDTH = 301, 24


class Rows(torch.nn.Module):
    """Ids [batch, length] to the rows of a table; with `product` to their products with all."""

    def __init__(self, table: torch.nn.Parameter, product: bool) -> None:
        super().__init__()
        self.table, self.product = table, product

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        rows = torch.nn.functional.embedding(input_ids, self.table)
        return torch.nn.functional.linear(rows, self.table) if self.product else rows * 2


def spec(
    table: torch.nn.Parameter, product: bool, precision: str = "fp32"
) -> tuple[ModelSpec, ProgramSpec]:
    made: Any = tc.compile(
        Rows(table, product).eval(),
        precision=precision,
        example_inputs=(torch.zeros(2, 3, dtype=torch.int64),),
    )
    found = model_spec(made.export_c.__self__._parts())
    return found, found.programs[0]


def of_two(graph: Graph, options: Options) -> Compiled:
    """The pipeline for a program beside one that multiplies with the table."""
    return compile_graph(graph, replace(options, factors=("table",)))


@pytest.mark.parametrize(("precision", "share"), [("fp32", 1.0), ("bf16", 0.5), ("int8", 0.3)])
def test_rows_are_taken_from_the_weights_of_a_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, share: float
) -> None:
    need("make", "cc")
    monkeypatch.setattr(frontend, "pipeline", of_two)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        table = torch.nn.Parameter(torch.randn(WORDS, WIDTH))
        ids = torch.randint(0, WORDS, (2, 5))
    (model, rows), (_, product) = (spec(table, each, precision) for each in (False, True))
    product = replace(product, name="product")
    apart = export(replace(model, programs=(rows, product)), tmp_path / "apart")
    assert apart.weights > 1.8 * share * table.nbytes
    shared = share_layouts((rows, product))
    exported = export(replace(model, programs=shared), tmp_path / "shared")
    assert exported.weights < 1.15 * share * table.nbytes
    exported.build(flags="-O0 -Werror")
    found = exported.run({"input_ids": ids.numpy()})["output"]
    kept = table.detach() if precision == "fp32" else table.detach().bfloat16().float()
    near = 0.04 if precision == "int8" else 0
    np.testing.assert_allclose(found, 2 * kept.numpy()[ids.numpy()], rtol=0, atol=near)


def test_what_no_other_program_packs_stays() -> None:
    _, rows = spec(torch.nn.Parameter(torch.zeros(WORDS, WIDTH)), False)
    _, other = spec(torch.nn.Parameter(torch.zeros(WORDS, WIDTH)), True)
    assert share_layouts((rows, other)) == (rows, other)
