"""Writing the folder of a standalone model: sources, weights, Makefile, README.

Files appear whole or not at all, and the same model gives the same bytes each time. This module
must not know how a text is made.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tc.errors import TcError, describe
from tc.standalone import building, weights
from tc.standalone.kernels import Kernels
from tc.standalone.model_c import Placed, Written, fill, place_weights, runtime_text, write_model
from tc.standalone.prefix import MODEL, check_name, renamed, weights_file
from tc.standalone.running import Exported
from tc.standalone.spec import ModelSpec
from tc.target import Target

_OBJECT = "kernels.o"
_RUNTIME = ("runtime.c", "runtime.h", "weights.c", "weights.h", "npy.c", "npy.h", "model_cli.c")
# Texts of ours, whatever the model is.
_GIVEN = frozenset((*_RUNTIME, "model.h", "generate.c", "choose.c"))


def export(
    model: ModelSpec,
    folder: Path,
    bake: object = "none",
    compiled: Callable[[Kernels], bytes] | None = None,
    name: str = MODEL,
) -> Exported:
    """Write a model into a folder, which is made if it does not exist.

    Without a weights file where `bake` puts all weights into the sources. `compiled` gives the
    object file that is written in place of the kernels' C. Files, symbols and the program are
    called after `name`.

    Raises:
        TcError: sizes that are too large at the bounds; a name that C or the sources have another
            use for; the system refuses to write.
    """
    check_name(name)
    target = Target.parse(model.target)
    placed = place_weights(model, bake)
    layout = placed.layout
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undone, ThreadPoolExecutor(1) as meanwhile:
            if layout.bytes:
                file = undone.enter_context(_New(folder / weights_file(name)))
                weighed = meanwhile.submit(weights.write, file.stream, layout, placed.mark)
            lines, contents = _contents(model, placed, compiled, name)
            for file_name, data in contents.items():
                with _New(folder / file_name) as text:
                    text.stream.write(data)
                    text.done()
            if layout.bytes:
                weighed.result()
                file.done()
    except OSError as error:
        raise TcError(
            describe(
                f"export to {folder}",
                why=f"cannot be written ({error.strerror or error})",
                way_out="choose a folder that may be written to and has room",
            )
        ) from error
    outputs = model.programs[0].outputs
    return Exported(folder, target, lines, layout.bytes, outputs, name)


def _contents(
    model: ModelSpec, placed: Placed, compiled: Callable[[Kernels], bytes] | None, name: str
) -> tuple[int, dict[str, bytes]]:
    """The lines of C, and every file but that of the weights."""
    target = Target.parse(model.target)
    written = write_model(model, placed)
    baked = not placed.layout.bytes
    plain = sources(model, written, kernels=compiled is None, together=baked)
    texts = renamed(plain, name, _GIVEN)
    lines = sum(text.count("\n") for file, text in texts.items() if file[-2:] in (".c", ".h"))
    program = (f"{name}_cli.c", "npy.c")
    objects = [n for n in texts if n.endswith(".c") and n not in program]
    sizes = {"lines": lines, "weights": placed.layout.bytes}
    more = () if compiled is None else (_OBJECT,)
    texts["Makefile"] = building.makefile(target, objects, more, name)
    texts["CMakeLists.txt"] = building.cmake(target, objects, more, name)
    shown = f"`{name}.c`" if baked else "`kernels*.c`"
    shown = shown if compiled is None else f"`{_OBJECT}` (of LLVM)"
    texts["README.md"] = building.readme(model, sizes, shown, name)
    contents = {file: text.encode() for file, text in texts.items()}
    if compiled is not None:
        contents[_OBJECT] = compiled(written.kernels)
    return lines, contents


def sources(
    model: ModelSpec, written: Written, kernels: bool = True, together: bool = False
) -> dict[str, str]:
    """The C files by name, those of the kernels too if they are wanted; `together`: the kernels
    stand in front of the model that calls them, so that it is one file."""
    values = {"GENERATES": str(int(model.generation is not None)), "SIZES": str(len(model.bounds))}
    texts = {"model.h": written.header, "model.c": written.model_c}
    texts["kernels.h"] = written.kernels.header()
    files = list(written.kernels.files()) if kernels and not together else []
    if kernels and together:
        texts["model.c"] = f"{written.kernels.file()}\n{written.model_c}"
    for n, text in enumerate(files):
        texts["kernels.c" if len(files) == 1 else f"kernels_{n}.c"] = text
    for name in _RUNTIME:
        texts[name] = fill(runtime_text(name), values)
    if model.generation:
        texts.update((name, runtime_text(name)) for name in ("generate.c", "choose.c"))
    else:
        texts["generate.c"] = runtime_text("no_generation.c")
    return texts


class _New:
    """A file that takes its place when it is done, and is gone if it never was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        handle, name = tempfile.mkstemp(prefix=".tc-export-", dir=path.parent)
        self._name = Path(name)
        self.stream = os.fdopen(handle, "wb")

    def __enter__(self) -> _New:
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError):  # which `done` has raised, or another error is
            self.stream.close()
        self._name.unlink(missing_ok=True)

    def done(self) -> None:
        """All of it is written."""
        self.stream.close()
        self._name.chmod(0o644)
        self._name.replace(self._path)
