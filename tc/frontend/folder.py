"""Models from folders, random inputs for them, and PyTorch's own ways to run them.

What the command line needs of torch and transformers. Nothing is ever downloaded, and no pickle is
read. This module must not compile with tc, nor print.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tc.errors import CompileError, UnsupportedError, describe
from tc.frontend.hf_natural import natural_inputs

PEERS = ("eager", "inductor")
FIRST_ID = 3  # ids below it mark padding and the like in the models that transformers knows


def load_folder(folder: Path) -> torch.nn.Module:
    """The model of a Hugging Face folder, of the class its config names, in eval mode, in fp32.

    Raises:
        CompileError: no model is there, or its weights are missing or damaged.
    """
    if not (folder / "config.json").is_file():
        why = "it has no config.json" if folder.is_dir() else "no such folder"
        raise _bad(folder, why, "name a folder that save_pretrained() has written")
    if not any(folder.glob("*.safetensors")):
        raise _bad(folder, "it has no weights (*.safetensors)", "save the model with its weights")
    import transformers

    try:
        with _silent():
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            named = getattr(config, "architectures", None) or ()
            kind: Any = getattr(transformers, named[0], None) if named else None
            model: torch.nn.Module = (kind or transformers.AutoModel).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
    except Exception as error:  # transformers and safetensors raise whatever they find
        said = " ".join(str(error).split()) or type(error).__name__
        raise _bad(folder, said[:300], "check the folder, or fetch it anew") from error
    return model.eval()


def random_inputs(
    model: torch.nn.Module, batch: int, length: int, seed: int
) -> dict[str, torch.Tensor]:
    """The natural inputs of a Hugging Face model: random ids (or pixels), nothing padded.

    Integer tensors are (batch, length) of int64, images (batch, channels, height, width) of fp32.

    Raises:
        UnsupportedError: the model's config does not tell what it takes.
    """
    sample = natural_inputs(model)
    if sample is None:
        raise UnsupportedError(
            describe(
                f"model {type(model).__name__}",
                why="its config does not tell what inputs it takes",
                way_out="give module:function, a function that returns the model and its inputs",
            )
        )
    generator = torch.Generator().manual_seed(seed)
    vocabulary = int(getattr(getattr(model, "config", None), "vocab_size", None) or FIRST_ID + 1)
    made: dict[str, torch.Tensor] = {}
    for name, like in sample.items():
        if like.is_floating_point():
            made[name] = torch.randn(batch, *like.shape[1:], generator=generator, dtype=like.dtype)
        elif name.endswith("input_ids"):
            low = min(FIRST_ID, vocabulary - 1)
            made[name] = torch.randint(low, vocabulary, (batch, length), generator=generator)
        else:
            made[name] = like[:1, :1].repeat(batch, length)  # all ones, or all zeros
    return made


def as_tensors(
    arrays: Mapping[str, np.ndarray[Any, Any]], dtypes: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    """NumPy arrays as tensors of these element types, by PyTorch's names."""
    return {
        name: torch.from_numpy(array).to(getattr(torch, dtypes[name]))
        for name, array in arrays.items()
    }


def is_module(value: object) -> bool:
    """Whether it is a torch.nn.Module."""
    return isinstance(value, torch.nn.Module)


def peer(
    name: str,
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    threads: int | None,
) -> Callable[[], object]:
    """One way of PyTorch to run a call: `name` is one of `PEERS`. Inductor compiles here.

    Raises:
        UnsupportedError: there is no such peer.
        CompileError: Inductor cannot compile the model.
    """
    if name not in PEERS:
        raise UnsupportedError(
            describe(f"peer {name!r}", why="unknown", way_out=f"known: {', '.join(PEERS)}")
        )
    if threads is not None:
        torch.set_num_threads(threads)
    run: Any = model if name == "eager" else _inductor(model, args, kwargs)

    def call() -> object:
        with torch.no_grad():
            return run(*args, **kwargs)

    return call


def without_grad(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`call(*args, **kwargs)` with gradients off."""
    with torch.no_grad():
        return call(*args, **kwargs)


def _inductor(model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """torch.compile with frozen weights and fixed shapes, its fastest; the first call compiles."""
    from torch._inductor import config

    try:
        with config.patch(freezing=True, compile_threads=1), torch.no_grad():
            compiled = torch.compile(model, dynamic=False)
            compiled(*args, **kwargs)
    except Exception as error:  # whatever Inductor or its C++ compiler raises
        said = " ".join(str(error).split())[:200]
        raise CompileError(
            describe("peer inductor", why=said, way_out="leave it out of --peers")
        ) from error
    return compiled


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """No progress bars and no reports of transformers; the settings come back afterwards."""
    import transformers

    logging: Any = transformers.utils.logging
    verbosity = logging.get_verbosity()
    shown = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def _bad(folder: Path, why: str, way_out: str) -> CompileError:
    return CompileError(describe(f"model folder {str(folder)!r}", why=why, way_out=way_out))
