"""Why a call cannot be traced: because of the call, or because of the model.

What torch.export says about a call that the model itself refuses is told as a fault of tracing, so
the model is asked. This module must not trace, nor leave a mark on the caller's tensors.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator, Sequence

import torch

from tc.errors import describe
from tc.frontend.captured import StatefulError, TraceError, UntraceableError

# They print tracebacks and graphs of what is told in one error here.
_LOUD = (
    "torch._subclasses.fake_tensor",
    "torch.export._trace",
    "torch.fx.experimental.symbolic_shapes",
)
_STACKLESS = "do_not_emit_stack_traces"


def refusal(
    model: torch.nn.Module,
    call: torch.nn.Module,
    names: Sequence[str],
    tensors: Sequence[torch.Tensor],
    error: Exception,
) -> TraceError:
    """What to raise for a call of `model` that could not be traced.

    Args:
        call: the model as a function of flat tensors.
        names, tensors: those of the call that failed.
        error: what tracing has raised.
    """
    name = type(model).__name__
    if (own := _refuses(call, tensors)) is not None:
        given = ", ".join(
            f"{label}: {str(t.dtype).removeprefix('torch.')}{list(t.shape)}"
            for label, t in zip(names, tensors, strict=True)
        )
        return TraceError(
            describe(
                f"call of {name}",
                where=f"given {given or 'no tensor'}",
                why=f"the model itself refuses it: {_reason(own)}",
                way_out="pass what its forward takes",
            )
        )
    return UntraceableError(
        describe(
            f"model {name}",
            where="torch.export",
            why=f"cannot trace it: {_reason(error)}",
            way_out="run it eagerly, or use torch.compile(model, backend='tc')",
        )
    )


def writes_to_buffer(name: str) -> StatefulError:
    """A program takes the weights and buffers as they are; it keeps no state of its own."""
    return StatefulError(
        describe(
            f"buffer {name}",
            why="the model's forward writes to it",
            way_out="run the model eagerly",
        )
    )


def _refuses(call: torch.nn.Module, tensors: Sequence[torch.Tensor]) -> Exception | None:
    """What the model raises for these tensors, run on copies of them."""
    try:
        with torch.no_grad():
            call(*(tensor.detach().clone() for tensor in tensors))
    except Exception as error:  # noqa: BLE001  (whatever a model raises is its refusal)
        return error
    return None


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch.export keeps to its exceptions: nothing is printed, no stack kept with each node."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    printing = vars(importlib.import_module("torch.export._trace"))
    # It prints the graph so far with an error; its own name for `print` comes before the builtin.
    printing["print"] = lambda *_, **__: None
    tracing = vars(importlib.import_module("torch.fx.config"))
    stackless = tracing.get(_STACKLESS, False)
    tracing[_STACKLESS] = True  # the stacks are a tenth of the time, and nobody looks at them
    try:
        yield
    finally:
        printing.pop("print", None)
        tracing[_STACKLESS] = stackless
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
