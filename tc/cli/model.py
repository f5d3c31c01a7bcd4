"""MODEL on the command line: what it names, the inputs that go with it, and compiling it.

MODEL is a folder of a Hugging Face model, a compiled model that `compile` or `cm.save` wrote, or
`module:function`, a function without arguments that returns (module, example inputs), the inputs
as a tuple or a dict, or a Hugging Face model alone. This module must not print.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any

import click

from tc.cli.options import Asked, Settings
from tc.cli.output import step
from tc.errors import CompileError, UnsupportedError, describe
from tc.frontend.collection import no_collection
from tc.frozen import frozen

BATCH, LENGTH = 1, 128
LACKING = "bfloat16"  # in NumPy


@frozen
class Source:
    """What MODEL names.

    Attributes:
        name: as it was given.
        module: the torch module, or None for a compiled model.
        compiled: the compiled model, or None for a module.
        args, kwargs: the inputs of a call.
    """

    name: str
    module: Any = None
    compiled: Any = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def compile(
        self, target: str, precision: str, threads: int | None, *, whole: bool = False
    ) -> Any:
        """The compiled model, compiled now unless it is one.

        Args:
            whole: all of it is going to be asked for, its generation too.

        Raises:
            TcError: what tc.compile raises.
        """
        if self.compiled is not None:
            return self.compiled
        with no_collection():
            from tc.frontend.model import compile_model

            kwargs = dict(self.kwargs)
            natural = isinstance(getattr(self.module, "main_input_name", None), str)
            example = None if natural else (kwargs or self.args)
            return compile_model(
                self.module,
                target=target,
                precision=precision,
                threads=threads,
                example_inputs=example,
                ahead=whole,
            )

    def work(self, target: str) -> str:
        """What `compile` is going to do, in words; nothing for a compiled model."""
        return "" if self.module is None else f"compiling for {target}"

    def call(self, compiled: Any) -> object:
        """One call of the compiled model, with gradients off."""
        if self.module is None:
            return compiled(*self.args, **self.kwargs)
        from tc.frontend.folder import without_grad

        return without_grad(compiled, *self.args, **self.kwargs)


def opened(settings: Settings, asked: Asked) -> Source:
    """What a command's MODEL names, told of on stderr; raises as `open_model`."""
    with step(settings, f"loading {asked.model}"):
        return open_model(asked.model, settings, asked.batch, asked.length, asked.threads)


def compiled_of(settings: Settings, asked: Asked, source: Source) -> Any:
    """It, compiled as the command is asked to, told of on stderr; raises as `Source.compile`."""
    with step(settings, source.work(asked.target)):
        return source.compile(asked.target, asked.precision, asked.threads)


def open_model(
    text: str,
    settings: Settings,
    batch: int | None = None,
    length: int | None = None,
    threads: int | None = None,
) -> Source:
    """What `text` names, with random inputs of that size.

    Raises:
        click.UsageError: a batch or length for a function, which gives its own inputs.
        CompileError: there is no such model, or it cannot be read.
    """
    with no_collection():
        return _open(text, settings, batch, length, threads)


def _open(
    text: str,
    settings: Settings,
    batch: int | None,
    length: int | None,
    threads: int | None,
) -> Source:
    path = Path(text)
    if path.is_dir() and (path / "config.json").exists():
        return _from_folder(text, path, settings, batch or BATCH, length or LENGTH)
    if path.exists():
        return _from_compiled(text, path, settings, batch or BATCH, length or LENGTH, threads)
    module, colon, function = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), function)):
        raise CompileError(
            describe(
                f"MODEL {text!r}",
                why="no such folder or file",
                way_out="give a Hugging Face folder, a compiled .tc or module:function",
            )
        )
    if batch is not None or length is not None:
        raise click.UsageError("--batch and --length do not apply: the function gives the inputs")
    return _from_function(text, module, function, settings)


def _from_folder(text: str, path: Path, settings: Settings, batch: int, length: int) -> Source:
    _require(text, "torch", "transformers")
    from tc.frontend.folder import load_folder, random_inputs

    model = load_folder(path)
    with _of_size(batch, length):
        return Source(text, module=model, kwargs=random_inputs(model, batch, length, settings.seed))


@contextmanager
def _of_size(batch: int, length: int) -> Iterator[None]:
    """Turn what NumPy and PyTorch raise where there is no memory for inputs into one error."""
    try:
        yield
    except (MemoryError, RuntimeError, ValueError) as error:
        raise UnsupportedError(
            describe(
                f"inputs of --batch {batch} and --length {length}",
                why=f"cannot be made ({error})",
                way_out="ask for less",
            )
        ) from error


def _from_function(text: str, module: str, function: str, settings: Settings) -> Source:
    _require(text, "torch", "transformers")
    from tc.frontend.folder import is_module, random_inputs

    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does; a console script does not
    try:
        made = getattr(importlib.import_module(module), function)()
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        why = f"{type(error).__name__}: {error}"
        raise CompileError(
            describe(f"MODEL {text!r}", why=why, way_out="check the module and the function")
        ) from error
    match made:
        case (model, (tuple() | list()) as args) if is_module(model):
            return Source(text, module=model.eval(), args=tuple(args))
        case (model, dict() as kwargs) if is_module(model):
            return Source(text, module=model.eval(), kwargs=kwargs)
        case (model, example) if is_module(model):
            return Source(text, module=model.eval(), args=(example,))
        case model if is_module(model) and isinstance(getattr(model, "main_input_name", None), str):
            # A Hugging Face model, whose config tells what it takes.
            kwargs = random_inputs(model, BATCH, LENGTH, settings.seed)
            return Source(text, module=model.eval(), kwargs=kwargs)
    raise CompileError(
        describe(
            f"MODEL {text!r}",
            why=f"the function returned {type(made).__name__}",
            way_out="return (a torch.nn.Module, its example inputs as a tuple or a dict)",
        )
    )


def _from_compiled(
    text: str, path: Path, settings: Settings, batch: int, length: int, threads: int | None
) -> Source:
    from tc.api import load

    compiled = load(path, threads=threads)
    with _of_size(batch, length):
        made = sample_arrays(compiled, batch, length, settings.seed)
    dtypes = {spec.name: spec.dtype for spec in compiled.signature.inputs}
    if LACKING in dtypes.values():
        _require(text, "torch")
        from tc.frontend.folder import as_tensors

        made = as_tensors(made, dtypes)
    return Source(text, compiled=compiled, kwargs=made)


def sample_arrays(compiled: Any, batch: int, length: int, seed: int) -> dict[str, Any]:
    """Random NumPy inputs for a loaded model, from its signature alone.

    Ids are drawn below the size of their table; other integers are ones, and floats normal, in f32
    where NumPy lacks their type.
    """
    import numpy as np

    from tc.frontend.signature import IdCheck

    signature = compiled.signature
    random = np.random.default_rng(seed)
    tables = {c.input: c.count for c in signature.checks if isinstance(c, IdCheck)}
    first = signature.inputs[0].shape[:1] if signature.inputs else ()
    sizes = {}
    for symbol in signature.symbols:
        # The first dim of a model that gives no names to its dims is the batch all the same.
        size = batch if symbol.label == "batch" or symbol.name in first else length
        high = size if symbol.high is None else symbol.high
        sizes[symbol.name] = max(symbol.low, min(size, high))
    made = {}
    for spec in signature.inputs:
        shape = tuple(d if isinstance(d, int) else sizes[d] for d in spec.shape)
        if spec.dtype.startswith(("int", "uint")):
            count = tables.get(spec.name, 2)
            ids = random.integers(0, count, shape) if spec.name.endswith("ids") else np.ones(shape)
            made[spec.name] = ids.astype(spec.dtype)
        elif spec.dtype == "bool":
            made[spec.name] = np.ones(shape, dtype=bool)
        else:
            kind = "float32" if spec.dtype == LACKING else spec.dtype
            made[spec.name] = random.standard_normal(shape).astype(kind)
    return made


def _require(text: str, *modules: str) -> None:
    """Say how to get what is missing, before a traceback does."""
    from importlib.util import find_spec

    for module in modules:
        if find_spec(module) is None:
            raise UnsupportedError(
                describe(
                    f"MODEL {text!r}",
                    why=f"{module} is not installed",
                    way_out="pip install 'tensorc[torch,hf]', or give a compiled .tc of fp32",
                )
            )
