"""The layering of tc: who may import whom, which library is used where, how long a file may be.

Every import statement counts, the function-local ones and those under TYPE_CHECKING too: an arrow
that is hidden is still an arrow. The tables below are the one home of these rules; to add a layer
is to add its row.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400

BASE = {"tc.errors", "tc.frozen", "tc.target", "tc.target_tables"}
CORE = BASE | {"tc.ir", "tc.schedule", "tc.ops", "tc.graph"}
CODEGEN = {"tc.codegen", "tc.codegen.llvm", "tc.codegen.c"}
PROGRAM = CORE | CODEGEN | {"tc.device", "tc.config", "tc.beside"}
TUNING = PROGRAM | {"tc.pipeline"}
FRONTEND = TUNING | {"tc.autotune", "tc.sources", "tc.standalone"}
PUBLIC = FRONTEND | {"tc.frontend", "tc.te"}

# Layer -> the layers that it may import besides itself.
LAYERS: Mapping[str, set[str]] = {
    "tc.errors": set(),
    "tc.frozen": set(),
    "tc.target_tables": {"tc.frozen"},  # facts alone
    "tc.target": {"tc.errors", "tc.frozen", "tc.target_tables"},
    "tc.config": {"tc.errors", "tc.frozen"},
    "tc.beside": set(),
    "tc.ir": BASE,
    "tc.schedule": BASE | {"tc.ir"},
    "tc.te": BASE | {"tc.ir", "tc.schedule"},
    "tc.ops": BASE | {"tc.ir", "tc.schedule", "tc.te"},  # operators are written in tc.te
    "tc.graph": BASE | {"tc.ir", "tc.schedule", "tc.ops"},
    "tc.codegen": BASE | {"tc.ir"},  # what both code generators share
    "tc.codegen.llvm": BASE | {"tc.ir", "tc.codegen"},
    "tc.codegen.c": BASE | {"tc.ir", "tc.codegen"},
    "tc.device": BASE | CODEGEN | {"tc.ir"},
    "tc.dump": {"tc.errors"},
    "tc.assembly": PROGRAM,
    "tc.sources": set(),
    "tc.kernel_store": PROGRAM | {"tc.sources"},
    "tc.pipeline": PROGRAM | {"tc.assembly", "tc.dump", "tc.kernel_store"},
    "tc.autotune": TUNING,
    "tc.standalone": PROGRAM,
    "tc.frontend": FRONTEND,
    "tc.kernel": PUBLIC,
    "tc.api": PUBLIC | {"tc.kernel"},
    "tc.cli": PUBLIC | {"tc.api", "tc.kernel"},
    "tc.__main__": {"tc.cli"},
    "tc": PUBLIC | {"tc.api"},  # tc/__init__.py: the list of public names
}

ABOVE_IR = set(LAYERS) - BASE - {"tc.config", "tc.ir", "tc.schedule", "tc", "tc.__main__"}

# Library -> the layers (or modules) that may import it. One that is not listed may not be used.
LIBRARIES: Mapping[str, set[str]] = {
    "click": {"tc.cli"},
    "distributed": {"tc.autotune"},
    "filelock": {"tc.codegen.llvm", "tc.device", "tc.pipeline", "tc.autotune", "tc.api"},
    "llvmlite": {"tc.codegen.llvm"},
    "matplotlib": {"tc.autotune", "tc.cli"},
    "numpy": ABOVE_IR | {"tc.ir.interpret"},
    "platformdirs": {"tc.config"},
    "rich": {"tc.cli"},
    "safetensors": {"tc.device", "tc.pipeline", "tc.frontend", "tc.api"},
    "sqlite_utils": {"tc.autotune"},
    "sympy": {"tc.frontend"},  # sizes of exported graphs; it comes with torch
    "torch": {"tc.frontend"},
    "transformers": {"tc.frontend"},
    "xgboost": {"tc.autotune"},
}


@dataclass(frozen=True)
class Import:
    """One imported name: `module` is the dotted name that the statement reaches for."""

    importer: str
    line: int
    module: str


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_of(root: Path) -> dict[str, str]:
    """Module name -> source, of every module of the package `tc` in the folder `root`."""
    files = sorted((root / "tc").rglob("*.py"))
    return {module_name(path, root): path.read_text(encoding="utf-8") for path in files}


def dynamic_import(call: ast.Call) -> str | None:
    """The module of `importlib.import_module("x")` and `__import__("x")`, hidden arrows too."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else None
    function = call.func.id if isinstance(call.func, ast.Name) else function
    match call.args:
        case [ast.Constant(value=str(name)), *_] if function in ("import_module", "__import__"):
            return name
    return None


def imports_of(name: str, source: str, known: set[str]) -> Iterator[Import]:
    """Every import in `source`; `from p import m` counts as p.m where that is a module."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(name, node.lineno, alias.name)
            case ast.ImportFrom(level=0, module=str(module), names=names):
                for alias in names:
                    full = f"{module}.{alias.name}"
                    if module == "tc" and alias.name == "__version__":
                        continue  # a constant: every layer may know the version
                    yield Import(name, node.lineno, full if full in known else module)
            case ast.ImportFrom():
                yield Import(name, node.lineno, "." * node.level + (node.module or ""))
            case ast.Call() if (dynamic := dynamic_import(node)) is not None:
                yield Import(name, node.lineno, dynamic)


def layer_of(module: str) -> str | None:
    """The row of LAYERS that `module` belongs to: the longest that contains it."""
    if module == "tc":
        return "tc"
    rows = [row for row in LAYERS if row != "tc" and f"{module}.".startswith(f"{row}.")]
    return max(rows, key=len, default=None)


def complaint(found: Import) -> str | None:
    """Why the tables forbid `found`, or None."""
    layer = layer_of(found.importer)
    if layer is None:
        return f"{found.importer} belongs to no layer: add a row to LAYERS"
    place = f"{found.importer}:{found.line} imports {found.module}"
    top = found.module.partition(".")[0]
    if top == "":
        return f"{place}: a relative import; write the absolute one"
    if top == "tc":
        other = layer_of(found.module)
        if other is None:
            return f"{place}, which belongs to no layer: add a row to LAYERS"
        if other != layer and other not in LAYERS[layer]:
            return f"{place}: {layer} may import {sorted(LAYERS[layer]) or 'no layer'}"
    elif top not in sys.stdlib_module_names:
        homes = LIBRARIES.get(top)
        if homes is None:
            return f"{place}: a library without a row in LIBRARIES"
        if not any(f"{found.importer}.".startswith(f"{home}.") for home in homes):
            return f"{place}: {top} may be imported by {sorted(homes)}"
    return None


def check(modules: Mapping[str, str]) -> list[str]:
    """Every complaint about these modules (name -> source): arrows, cycles, lengths."""
    known = set(modules)
    found = [i for name, source in modules.items() for i in imports_of(name, source, known)]
    complaints = [said for i in found if (said := complaint(i)) is not None]
    complaints += [
        f"{name} has {lines} lines, more than {MAX_LINES}: split it"
        for name, source in modules.items()
        if (lines := len(source.splitlines())) > MAX_LINES
    ]
    complaints += [
        f"{name} belongs to no layer: add a row to LAYERS"
        for name in modules
        if layer_of(name) is None
    ]
    arrows = {name: {i.module for i in found if i.importer == name} & known for name in modules}
    try:
        TopologicalSorter({name: to - {"tc"} for name, to in arrows.items()}).prepare()
    except CycleError as error:
        complaints.append("modules import one another: " + " -> ".join(reversed(error.args[1])))
    return sorted(set(complaints))


def test_every_import_keeps_to_the_tables() -> None:
    complaints = check(modules_of(ROOT))
    assert not complaints, "\n" + "\n".join(complaints)


def test_the_walk_sees_the_package() -> None:
    assert {"tc", "tc.errors", "tc.target", "tc.config"} <= set(modules_of(ROOT))


@pytest.mark.parametrize("row", sorted(LAYERS))
def test_the_tables_are_consistent(row: str) -> None:
    assert LAYERS[row] <= set(LAYERS)
    # An arrow and its reverse would make a cycle of layers legal.
    assert [other for other in LAYERS[row] if row in LAYERS[other]] == []


GOOD = {
    "tc": "__version__ = '1'\nfrom tc.errors import TcError",
    "tc.errors": "import os",
    "tc.ir": "from tc.ir.expr import Add",
    "tc.ir.expr": "from tc.errors import TcError\nfrom tc import __version__",
    "tc.ir.interpret": "import numpy as np\nfrom tc.ir.expr import Add",
    "tc.codegen.llvm.emit": "import llvmlite.ir\nfrom tc.ir import Add",
    "tc.frontend.dynamo": "def f():\n    import torch\n    from tc.ir import expr",
}


def test_good_modules_pass() -> None:
    assert check(GOOD) == []


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("tc.ir.bad", "from tc.schedule import split", "tc.ir.bad:1 imports tc.schedule"),
        ("tc.ir.bad", "import tc.errors\nfrom tc import schedule", "tc.ir.bad:2 imports tc"),
        ("tc.ir.bad", "def f():\n  from tc.ops import table", "tc.ir.bad:2 imports tc.ops"),
        (
            "tc.ir.bad",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import tc.graph",
            "tc.ir.bad:3 imports tc.graph",
        ),
        ("tc.ir.bad", "import importlib\nimportlib.import_module('tc.api')", ":2 imports tc.api"),
        ("tc.ir.bad", "m = __import__('torch')", "tc.ir.bad:1 imports torch"),
        ("tc.ir.bad", "import numpy", "numpy may be imported by"),
        ("tc.ir.bad", "from ..ops import table", "a relative import"),
        ("tc.ir.bad", "from . import expr", "a relative import"),
        ("tc.codegen.c.bad", "from tc.codegen.llvm import emit", "imports tc.codegen.llvm"),
        ("tc.codegen.llvm.bad", "import tc.codegen.c", "imports tc.codegen.c"),
        ("tc.codegen.bad", "import tc.codegen.llvm", "imports tc.codegen.llvm"),
        ("tc.codegen.c.bad", "import llvmlite.ir", "llvmlite may be imported by"),
        ("tc.pipeline", "import torch.fx", "torch may be imported by ['tc.frontend']"),
        ("tc.api", "import transformers", "transformers may be imported by"),
        ("tc.api", "import rich.table", "rich may be imported by ['tc.cli']"),
        ("tc.device.cpu", "from tc.config import read", "tc.device may import"),
        ("tc.frontend.hf", "import tc.api", "tc.frontend may import"),
        ("tc.te", "import tc.pipeline", "tc.te may import"),
        ("tc.ops.bad", "import scipy.special", "a library without a row in LIBRARIES"),
        ("tc.misc", "x = 1", "tc.misc belongs to no layer"),
        ("tc.api", "import tc.misc", "imports tc.misc, which belongs to no layer"),
        ("tc.ir.long", "x = 1\n" * 401, "tc.ir.long has 401 lines"),
        ("tc.ir.expr", "def f():\n  import tc.ir.interpret", "modules import one another"),
        ("tc.ir.expr", "from tc.ir import Add", "modules import one another"),
    ],
)
def test_a_bad_module_is_named(name: str, source: str, said: str) -> None:
    complaints = check({**GOOD, name: source})
    assert len(complaints) == 1, complaints
    assert said in complaints[0]
