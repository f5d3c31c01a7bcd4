"""Models with names of their own: two in one program, and names that are refused."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tc
from tc.errors import CompileError, TcError
from tc.standalone import building
from tc.standalone.prefix import check_name, renamed
from tc.standalone.running import Exported
from tests.standalone.exported import DRIVERS, compiled_words, need

NAMES = ("alpha", "recommender_of_the_second_kind")
X = torch.tensor([[1.0, 2.0, 3.0, 4.0]])


def test_two_models_are_linked_into_one_program(tmp_path: Path) -> None:
    need("make", "cc", "nm")
    model = torch.nn.Linear(4, 3).eval()
    compiled: Any = tc.compile(model, target="generic-c99", example_inputs=(X,))
    made: list[Exported] = []
    for number, name in enumerate(NAMES):
        torch.nn.init.constant_(model.weight, 1 + number)
        exported = compiled.export_c(tmp_path / name, name=name)
        building.build(exported.folder, exported.target, flags="-O0 -Werror", goal=f"lib{name}.a")
        made.append(exported)
        for path in exported.folder.glob("*.[ch]"):
            assert max(map(len, path.read_text("ascii").splitlines())) <= 100, path
        said = defined(exported.folder / f"lib{name}.a")
        assert f"{name}_run" in said and all(each.startswith(f"{name}_") for each in said)
    folders = [exported.folder for exported in made]
    program = tmp_path / "two"
    files = [str(DRIVERS / "two.c"), *(str(f / f"lib{f.name}.a") for f in folders)]
    include = [word for f in folders for word in ("-I", str(f))]
    subprocess.run(["cc", *include, *files, "-lm", "-o", str(program)], check=True)
    weights = [str(f / f"{f.name}_weights.bin") for f in folders]
    said = subprocess.run([program, *weights], capture_output=True, text=True, check=True).stdout
    found = np.array([line.split() for line in said.splitlines()], np.float32)
    wanted = np.array([[10], [20]]) + model.bias.detach().numpy()
    np.testing.assert_allclose(found.T, wanted, rtol=1e-5)
    assert made[0].build(flags="-O0 -Werror").name == "alpha_cli"
    alone = made[0].run({"input": X.numpy()})["output"]
    np.testing.assert_array_equal(alone[0], found[:, 0])
    with pytest.raises(TcError, match="alpha_cli dance.*alpha_cli: 'dance': unknown command"):
        made[0].command("dance")


def defined(library: Path) -> list[str]:
    """The names that a library gives to those who link with it."""
    words = ["nm", "-g", "--defined-only", str(library)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return [line.split()[2] for line in said.splitlines() if line.count(" ") == 2]


@pytest.mark.parametrize("name", ["", "a b", "int", "exp", "9", "a__b", "é", "x" * 40, 7, None])
def test_what_is_no_name_in_c(name: object) -> None:
    with pytest.raises(CompileError, match="name=.*no name in C"):
        check_name(name)


@pytest.mark.parametrize("name", ["weights", "m", "runtime", "header"])
def test_a_name_that_the_sources_have_a_use_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(CompileError, match=f"name='{name}'.*call something else so"):
        compiled_words().export_c(tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []


def test_names_of_the_users_stay() -> None:
    text = "model *m; MODEL_F32; tile2(tile_2x4, x_model); "
    text += '/* a model_x */ "model_x", \'"\', kernel_x\n'
    made = renamed({"model.h": text, "model.c": text}, "bert", {"model.h"})
    code = "bert *m; BERT_F32; bert_tile2(bert_tile_2x4, x_model); "
    rest = '/* a {0}_x */ "{0}_x", \'"\', bert_kernel_x\n'
    assert made == {"bert.h": code + rest.format("bert"), "bert.c": code + rest.format("model")}
