"""Programs that were compiled before: from a call to its program, compiled or found in the cache.

A program is found by everything that it was made from (see `recall_key`); one that is found needs
neither a trace nor a pass, and one whose trace is found no trace. What cannot be described exactly
is traced and compiled each time. This module must not know how a program is found, made or run.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from tc.codegen.cache import ObjectCache
from tc.frontend.captured import Interface, Request
from tc.frontend.options import Options
from tc.frontend.recall_entry import Built, from_bytes, to_bytes
from tc.frontend.recall_key import description_of, key_of
from tc.frontend.recall_traces import Trace, Traces
from tc.frontend.recall_walk import IndescribableError

if TYPE_CHECKING:
    from tc.graph.graph import Graph
    from tc.pipeline import Compiled

Pipeline = Callable[["Graph", Options], "Compiled"]

_TRACES: Final = Traces()


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Let nobody look for cycles meanwhile, if anybody would.

    A trace makes millions of objects beside all those that PyTorch holds, nearly all of them long
    lived: the collector looks through them over and over again for a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Builder:
    """Makes the programs of one model, or finds them."""

    def __init__(self, options: Options, pipeline: Pipeline, *, recall: bool = True) -> None:
        """`recall=False` neither looks for programs nor keeps them, but for their traces."""
        self._options = options
        self._pipeline = pipeline
        self._recall = recall and not options.debug and options.dump_ir is None  # passes are seen
        self._name = f"{pipeline.__module__}.{pipeline.__qualname__}"
        self._cache = ObjectCache(options.cache_dir, "programs")

    def __call__(self, request: Request) -> Built:
        """The program for a call.

        Raises:
            TcError: as `capture.capture`, the importer and the pipeline.
        """
        description = _described(request)  # before the trace, which may change what it reads
        key = None
        if description is not None and self._recall:
            key = key_of(description, self._options, self._name)
        if key is not None and (data := self._cache.get(key)) is not None:
            found = from_bytes(data, request)
            if found is not None:
                return found
        with no_collection():
            built = self._build(_trace(request, description))
        if key is not None:
            self._keep(key, built)
        return built

    def _build(self, trace: Trace) -> Built:
        compiled = self._pipeline(trace.graph, self._options)
        # The pipeline drops the parameters that nothing needs.
        numbers = {value.name: number for number, value in enumerate(trace.graph.params)}
        order = tuple(numbers[info.name] for info in compiled.artifact.params)
        return Built(trace.interface, compiled.artifact, order, compiled.cache_hits)

    def _keep(self, key: str, built: Built) -> None:
        with contextlib.suppress(TypeError):  # a result of a class that has no name to be found by
            self._cache.put(key, to_bytes(built))


def _described(request: Request) -> str | None:
    try:
        return description_of(request)
    except (IndescribableError, RecursionError):
        return None


def _trace(request: Request, description: str | None) -> Trace:
    """The call as a graph, traced or found."""
    if description is not None and (found := _TRACES.find(description, request)) is not None:
        return found
    # What traces and compiles is imported where something is to be traced and compiled.
    from tc.frontend.capture import capture_request
    from tc.frontend.importer import import_graph

    captured = capture_request(request)
    ends = Interface(
        captured.weights,
        captured.signature,
        captured.arguments,
        captured.result,
        captured.settled,
    )
    made = Trace(ends, import_graph(captured).graph)
    if description is not None:
        _TRACES.keep(description, made)
    return made
