"""What a program depends on, as one text: the key that it is stored and found under.

Equal texts mean equal programs: the text has the versions, the options, and a description of the
trace, which has the state of PyTorch that a trace reads, the call, and the model itself. A call
that no text can hold has none. This module must not change anything, nor trace.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Final

import numpy
import torch

from tc import __version__
from tc.codegen.llvm.machine import version as llvm_version
from tc.frontend.captured import Request
from tc.frontend.options import Options
from tc.frontend.recall_model import describe_model
from tc.frontend.recall_walk import IndescribableError, Walk
from tc.frontend.tuned import records_of
from tc.sources import sources

# What packages read from the environment while a model runs.
_PREFIXES: Final = ("TRANSFORMERS_", "TORCH", "PYTORCH_", "USE_HUB_KERNELS")


def description_of(request: Request) -> str:
    """What the trace of a call depends on.

    Raises:
        IndescribableError: there is no telling; the message says why.
    """
    walk = Walk({type(module): None for module in request.model.modules()})
    call = list(_call(request, walk))
    model = describe_model(request.model, walk)
    code = walk.digest()
    return "\n".join((*_versions(), *_state(), *call, code, *model))


def key_of(description: str, options: Options, pipeline: str) -> str:
    """The key of a program.

    Args:
        description: of what its trace depends on.
        pipeline: the name of what compiles it.
    """
    return "\n".join((f"llvm {llvm_version()}", *_options(options, pipeline), description))


def _versions() -> Iterator[str]:
    yield f"tc {__version__} {sources()}"
    yield f"python {sys.version}"
    yield f"torch {torch.__version__} {torch.version.git_version}"
    yield f"numpy {numpy.__version__}"
    transformers = sys.modules.get("transformers")
    yield f"transformers {getattr(transformers, '__version__', None)}"


def _options(options: Options, pipeline: str) -> Iterator[str]:
    yield f"target {options.target} {options.target.llvm_triple}"
    yield f"precision {options.precision} threads {options.threads} fallback {options.fallback}"
    yield f"kept {options.kept!r}"
    yield f"pipeline {pipeline} records {records_of(options).digest}"
    yield f"codegen {options.codegen} factors {options.factors}"


def _state() -> Iterator[str]:
    """What of PyTorch's own state a trace can depend on."""
    if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():
        raise IndescribableError("a mode of torch is on")
    yield f"default {torch.get_default_dtype()} {torch.get_default_device()}"
    yield f"autocast {torch.is_autocast_enabled('cpu')} {torch.get_autocast_dtype('cpu')}"
    yield f"inference {torch.is_inference_mode_enabled()}"
    yield f"deterministic {torch.are_deterministic_algorithms_enabled()}"
    yield f"fast path {torch.backends.mha.get_fastpath_enabled()}"
    yield f"mkldnn {torch.backends.mkldnn.enabled}"
    kernels = (
        torch._C._get_flash_sdp_enabled(),
        torch._C._get_mem_efficient_sdp_enabled(),
        torch._C._get_math_sdp_enabled(),
        torch._C._get_overrideable_sdp_enabled(),
    )
    yield f"attention {kernels}"
    yield f"precision of products {torch.get_float32_matmul_precision()}"
    for name in sorted(os.environ):
        if name.startswith(_PREFIXES) and not name.endswith("_CACHE_DIR"):  # torch sets one itself
            yield f"{name}={os.environ[name]!r}"


def _call(request: Request, walk: Walk) -> Iterator[str]:
    yield f"dynamic {request.dynamic}"
    yield f"arguments {walk.text(request.arguments, True)}"
    first: dict[int, int] = {}
    for number, (name, tensor) in enumerate(zip(request.names, request.tensors, strict=True)):
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
            raise IndescribableError(f"argument {name}: a {type(tensor).__name__}")
        if request.dims is None:
            # Traced as it is given, and arguments that are one tensor as one.
            same = first.setdefault(id(tensor), number)
            shape = f"{tuple(tensor.shape)} {tensor.stride()} {same} {tensor.is_neg()}"
        else:
            labels = request.dims[number].labels
            shape = repr([
                size if label is None else label
                for size, label in zip(tensor.shape, labels, strict=True)
            ])  # fmt: skip
        yield f"{name!r}: {tensor.dtype} {tensor.device} {tensor.layout} {shape}"
