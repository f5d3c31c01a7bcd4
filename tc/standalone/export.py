"""Writing the folder of a standalone model: sources, weights, Makefile, README.

Files appear whole or not at all, and the same model gives the same bytes each time. This module
must not know how a text is made.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from tc.errors import TcError, describe
from tc.standalone import building, weights
from tc.standalone.kernels import Kernels
from tc.standalone.model_c import Written, fill, runtime_text, write_model
from tc.standalone.running import Exported
from tc.standalone.spec import ModelSpec
from tc.target import Target

_OBJECT = "kernels.o"
_RUNTIME = ("runtime.c", "runtime.h", "weights.c", "weights.h", "npy.c", "npy.h", "model_cli.c")


def export(
    model: ModelSpec,
    folder: Path,
    bake: object = "none",
    compiled: Callable[[Kernels], bytes] | None = None,
) -> Exported:
    """Write a model into a folder, which is made if it does not exist.

    Without a weights file where `bake` puts all weights into the sources. `compiled` gives the
    object file that is written in place of the kernels' C.

    Raises:
        TcError: sizes that are too large at the bounds; the system refuses to write.
    """
    target = Target.parse(model.target)
    written = write_model(model, bake)
    texts = sources(model, written, kernels=compiled is None)
    lines = sum(text.count("\n") for name, text in texts.items() if name[-2:] in (".c", ".h"))
    objects = [n for n in texts if n.endswith(".c") and n not in ("model_cli.c", "npy.c")]
    sizes = {"lines": lines, "weights": written.layout.bytes}
    more = () if compiled is None else (_OBJECT,)
    texts["Makefile"] = building.makefile(target, objects, more)
    texts["CMakeLists.txt"] = building.cmake(target, objects, more)
    shown = "`kernels*.c`" if compiled is None else f"`{_OBJECT}` (of LLVM)"
    texts["README.md"] = building.readme(model, sizes, shown)
    code = b"" if compiled is None else compiled(written.kernels)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            _put(folder / name, partial(_write, text.encode()))
        if code:
            _put(folder / _OBJECT, partial(_write, code))
        layout, mark = written.layout, written.mark
        if layout.bytes:
            _put(folder / "weights.bin", lambda file: weights.write(file, layout, mark))
    except OSError as error:
        raise TcError(
            describe(
                f"export to {folder}",
                why=f"cannot be written ({error.strerror or error})",
                way_out="choose a folder that may be written to and has room",
            )
        ) from error
    outputs = model.programs[0].outputs
    return Exported(folder, target, lines, written.layout.bytes, outputs)


def sources(model: ModelSpec, written: Written, kernels: bool = True) -> dict[str, str]:
    """The C files by name, those of the kernels too if they are wanted."""
    generates = str(int(model.generation is not None))
    texts = {"model.h": written.header, "model.c": written.model_c}
    texts["kernels.h"] = written.kernels.header()
    files = list(written.kernels.files()) if kernels else []
    for n, text in enumerate(files):
        texts["kernels.c" if len(files) == 1 else f"kernels_{n}.c"] = text
    for name in _RUNTIME:
        texts[name] = fill(runtime_text(name), {"GENERATES": generates})
    if model.generation:
        texts.update((name, runtime_text(name)) for name in ("generate.c", "choose.c"))
    else:
        texts["generate.c"] = runtime_text("no_generation.c")
    return texts


def _write(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def _put(path: Path, write: Callable[[BinaryIO], object]) -> None:
    handle, name = tempfile.mkstemp(prefix=".tc-export-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
