"""Weights that programs read in different layouts: once in the folder, and read rightly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tc
from tc.frontend.standalone import model_spec
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


def spec(table: torch.nn.Parameter, product: bool) -> tuple[ModelSpec, ProgramSpec]:
    made: Any = tc.compile(
        Rows(table, product).eval(), example_inputs=(torch.zeros(2, 3, dtype=torch.int64),)
    )
    found = model_spec(made.export_c.__self__._parts())
    return found, found.programs[0]


def test_rows_are_taken_from_the_weights_of_a_product(tmp_path: Path) -> None:
    need("make", "cc")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        table = torch.nn.Parameter(torch.randn(WORDS, WIDTH))
        ids = torch.randint(0, WORDS, (2, 5))
    (model, rows), (_, product) = spec(table, False), spec(table, True)
    product = replace(product, name="product")
    apart = export(replace(model, programs=(rows, product)), tmp_path / "apart")
    assert apart.weights > 2 * table.nbytes
    shared = share_layouts((rows, product))
    exported = export(replace(model, programs=shared), tmp_path / "shared")
    assert exported.weights < 1.1 * table.nbytes
    exported.build(flags="-O0 -Werror")
    found = exported.run({"input_ids": ids.numpy()})["output"]
    np.testing.assert_array_equal(found, 2 * table.detach().numpy()[ids.numpy()])


def test_what_no_other_program_packs_stays() -> None:
    _, rows = spec(torch.nn.Parameter(torch.zeros(WORDS, WIDTH)), False)
    _, other = spec(torch.nn.Parameter(torch.zeros(WORDS, WIDTH)), True)
    assert share_layouts((rows, other)) == (rows, other)
