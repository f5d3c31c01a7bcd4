"""What a compiled model offers of its code: `export_c`, `export_object`, `run_emulated`, texts.

What writes sources is imported when it is asked for, for a compilation needs none of it. This
module must not know how C is written.
"""

from __future__ import annotations

import os
import tempfile
from collections import UserString
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tc.frontend.captured import Request
from tc.frontend.collection import no_collection
from tc.frontend.saved import Outputs

if TYPE_CHECKING:
    from tc.codegen.llvm.library import Library
    from tc.frontend.standalone import Parts
    from tc.standalone.running import Exported
    from tc.standalone.spec import ModelSpec

_FLAGS = "-O1"  # of what is emulated, and not timed


def _spec(parts: Parts, max_batch: int | None = None, max_length: int | None = None) -> ModelSpec:
    from tc.frontend.standalone import model_spec  # which imports transformers

    return model_spec(parts, max_batch, max_length)


class Source(UserString):
    """Text that is made when it is first looked at; parts of it are such texts too."""

    def __init__(self, make: Callable[[], str] | object) -> None:
        """`make` is called once; what is no function is the text."""
        self._make = make

    @cached_property
    def data(self) -> str:  # type: ignore[override]  # a plain attribute there
        """The text."""
        return str(self._make() if callable(self._make) else self._make)


class Exporter:
    """Exports one compiled model."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        """`parts` is asked anew each time: weights and programs of then."""
        self._parts = parts
        self._emulated: tuple[tempfile.TemporaryDirectory[str], Exported, ModelSpec] | None = None
        self.c_source = Source(self._source)
        self.llvm_ir = Source(lambda: self._library().llvm_ir)
        self.asm = Source(lambda: self._library().assembly())

    def export_c(
        self,
        folder: str | os.PathLike[str],
        *,
        max_batch: int | None = None,
        max_length: int | None = None,
        bake: str | int = "none",
        name: str = "model",
    ) -> Exported:
        """Write the model as C sources, weights and a Makefile into `folder`.

        Args:
            max_batch: the most sequences, or rows, of a call; default 8.
            max_length: the most positions; default what the model has, at most 1024.
            bake: which weights become constants of the sources: "none", "all", "auto" (small
                arrays, or all of a small model), or those of at most so many bytes.
            name: what files, symbols and the program are called after. Models with names of their
                own can be linked into one program.

        Raises:
            UnsupportedError: an operator that is not compiled.
            TcError: bounds that do not fit; a name that is none in C or is taken; nothing is
                compiled yet; the system refuses to write.
        """
        from tc.standalone.export import export

        with no_collection():
            spec = _spec(self._parts(), max_batch, max_length)
            return export(spec, Path(folder), bake, name=name)

    def export_object(
        self,
        path: str | os.PathLike[str],
        *,
        max_batch: int | None = None,
        max_length: int | None = None,
        bake: str | int = "none",
        threads: bool = False,
        name: str = "model",
    ) -> Path:
        """Write the model with its kernels compiled by LLVM for the target.

        Args:
            path: of a folder as `export_c` writes it, with `kernels.o` in place of the kernels' C;
                or of a file that ends with .o or .so, an object file or a shared library with all
                that `model.h` declares. That and the weights are written beside it.
            max_batch, max_length, bake, name: as `export_c`.
            threads: of a file: calls may run on several.

        Returns:
            The path.

        Raises:
            UnsupportedError: an operator that is not compiled; a file, and no C compiler that links
                for the target: names the package.
            TcError: as `export_c`.
        """
        from tc.standalone.objects import export_object  # which imports LLVM

        spec = _spec(self._parts(), max_batch, max_length)
        return export_object(spec, Path(path), bake, threads, name)

    def run_emulated(self, **inputs: Any) -> Outputs:
        """Run the exported model on this machine, under qemu where it is for another one.

        It is exported and built the first time, with the weights of then.

        Args:
            inputs: tensors or arrays by name, as the model's call takes them.

        Returns:
            The results by name, tensors.

        Raises:
            UnsupportedError: no compiler or no emulator; names the packages.
            TcError: inputs that do not fit.
        """
        exported, spec = self._built()
        found = exported.run({name: _array(torch.as_tensor(x)) for name, x in inputs.items()})
        infos = zip(exported.outputs, spec.programs[0].artifact.outputs, strict=True)
        return Outputs({name: _tensor(found[name], str(i.dtype) == "bf16") for name, i in infos})

    def _built(self) -> tuple[Exported, ModelSpec]:
        from tc.standalone import building
        from tc.standalone.export import export

        if self._emulated is None:
            spec = _spec(self._parts())
            folder = tempfile.TemporaryDirectory(prefix="tc-emulated-")
            exported = export(spec, Path(folder.name))
            building.runner(exported.target)  # which may be missing
            exported.build(flags=_FLAGS)
            self._emulated = folder, exported, spec
        return self._emulated[1:]

    def _library(self) -> Library:
        from tc.standalone.objects import model_library  # which imports LLVM

        return model_library(_spec(self._parts()))

    def _source(self) -> str:
        from tc.standalone.export import sources
        from tc.standalone.model_c import place_weights, write_model

        spec = _spec(self._parts())
        texts = sources(spec, write_model(spec, place_weights(spec)))
        shown = sorted(name for name in texts if name.startswith("kernels_"))
        names = ("model.h", "model.c", "kernels.h", *(shown or ["kernels.c"]))
        return "\n".join(f"/* ===== {name} */\n{texts[name]}" for name in names)


def differences(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], exported: Exported
) -> dict[str, float]:
    """The largest difference of each result to the module's own, over the largest value there.

    Args:
        args, kwargs: the inputs of one call.
        exported: the module, exported and built.
    """
    request = Request.of(module, args, kwargs)
    given = zip(request.names, request.tensors, strict=True)
    found = exported.run({name: _array(tensor) for name, tensor in given})
    with torch.no_grad():
        own = module(*args, **kwargs)
    measured = {}
    for name, array in found.items():
        value = own
        for part in name.split(".") if name != "output" else ():
            value = value[int(part)] if part.isdigit() else value[part]
        got, wanted = _tensor(array, value.dtype is torch.bfloat16).float(), value.float()
        error = (got - wanted).abs().max()
        measured[name] = float(error / wanted.abs().max().clamp_min(1e-30))
    return measured


def _array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """A tensor for NumPy; of bf16, which it lacks, the bits."""
    dense = tensor.detach().contiguous()
    bits = dense.view(torch.uint16) if dense.dtype is torch.bfloat16 else dense
    found: np.ndarray[Any, Any] = bits.numpy()
    return found


def _tensor(array: np.ndarray[Any, Any], bf16: bool) -> torch.Tensor:
    """The tensor again."""
    found = torch.from_numpy(array)
    return found.view(torch.bfloat16) if bf16 else found
