"""A model whose kernels LLVM compiles in place of a C compiler, behind the same model.h.

The rest of the model stays C: its tables, what runs them, and the interface.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tc.codegen.llvm.library import Library, library
from tc.errors import TcError, describe
from tc.standalone import building
from tc.standalone.export import export
from tc.standalone.kernels import Kernels
from tc.standalone.model_c import place_weights, write_model
from tc.standalone.prefix import MODEL, symbol, weights_file
from tc.standalone.spec import ModelSpec
from tc.target import Target

LIBRARIES = (".o", ".so")


def kernel_library(kernels: Kernels, target: Target, name: str = MODEL) -> Library:
    """Kernels by the names that `kernels.h` declares in a model of that name."""
    return library({symbol(f.name, name): f.flat(target) for f in kernels.functions}, target)


def model_library(model: ModelSpec) -> Library:
    """The kernels that the programs of a model call."""
    written = write_model(model, place_weights(model))
    return kernel_library(written.kernels, Target.parse(model.target))


def export_object(
    model: ModelSpec,
    path: Path,
    bake: object = "none",
    threads: bool = False,
    name: str = MODEL,
) -> Path:
    """Write a folder as `export` does, with `kernels.o` in place of the kernels' C.

    Where `path` ends with .o or .so it becomes one object file or a shared library that has the
    whole interface, linked with the C compiler of the target; `model.h` and `weights.bin`, or what
    they are called in a model of that name, lie beside it.

    Returns:
        `path`.

    Raises:
        UnsupportedError: a file, and no make or no compiler; names the package.
        CompileError: the compiler refuses.
        TcError: as `export`.
    """

    def compiled(kernels: Kernels) -> bytes:
        return kernel_library(kernels, Target.parse(model.target), name).object_code()

    if path.suffix not in LIBRARIES:
        export(model, path, bake, compiled, name)
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tc-export-", dir=path.parent) as where:
            made = export(model, Path(where), bake, compiled, name)
            built = building.build(
                made.folder, made.target, threads=threads, goal=f"lib{name}{path.suffix}"
            )
            beside = (f"{name}.h", weights_file(name))
            for file, place in ((built, path.name), *((made.folder / n, n) for n in beside)):
                if file.exists():
                    file.replace(path.parent / place)
    except OSError as error:
        raise TcError(
            describe(
                f"export to {path}",
                why=f"cannot be written ({error.strerror or error})",
                way_out="choose a place that may be written to and has room",
            )
        ) from error
    return path
