"""Programs that were compiled before: from a call to its program, compiled or found in the cache.

A program is found by everything that it was made from (see `recall_key`); one that is found needs
neither a trace nor a pass, and one whose trace is found no trace. What cannot be described exactly
is traced and compiled each time. This module must not know how a program is found, made or run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch

from tc.beside import Beside, spare_cores
from tc.codegen.cache import ObjectCache
from tc.frontend.captured import Interface, Request
from tc.frontend.collection import no_collection
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
_HITS: Final = 8  # bytes of a number in front of what another process has made


class Builder:
    """Makes the programs of one model, or finds them."""

    def __init__(
        self,
        options: Options,
        pipeline: Pipeline,
        *,
        recall: bool = True,
        settled: Callable[[Request], Options] | None = None,
    ) -> None:
        """`recall=False` neither looks for programs nor keeps them, but for their traces.

        `settled` says what the options are for a call, where they depend on it.
        """
        self._settled = settled or (lambda _: options)
        self._pipeline = pipeline
        self._recall = recall and not options.debug and options.dump_ir is None  # passes are seen
        self._name = f"{pipeline.__module__}.{pipeline.__qualname__}"
        self._cache = ObjectCache(options.cache_dir, "programs")
        self._ahead: dict[str, Beside] = {}

    def ahead(self, request: Request) -> None:
        """Have a process beside this one make the program of a call that is asked for later.

        Nothing but the time it takes is different without; and with no core to spare, nothing at
        all. The process is forked: to be used where no other thread of this one holds a lock.
        """
        if not spare_cores() or not self._recall or (description := _described(request)) is None:
            return
        options = self._settled(request)
        if self._cache.get(key_of(description, options, self._name)) is None:
            _prepare_to_trace()
            with contextlib.suppress(OSError):
                self._ahead[description] = Beside(
                    lambda: self._alone(request, description, options)
                )

    def __call__(self, request: Request) -> Built:
        """The program for a call.

        Raises:
            TcError: as `capture.capture`, the importer and the pipeline.
        """
        options = self._settled(request)
        description = _described(request)  # before the trace, which may change what it reads
        key = None
        if description is not None and self._recall:
            key = key_of(description, options, self._name)
        if key is not None and (data := self._cache.get(key)) is not None:
            found = from_bytes(data, request)
            if found is not None:
                return found
        built = None if description is None else self._made_beside(request, description)
        if built is None:
            with no_collection():
                built = self._build(_trace(request, description), options)
        if key is not None:
            self._keep(key, built)
        return built

    def _alone(self, request: Request, description: str, options: Options) -> bytes:
        """The program of a call, in a process of its own, which is forked from one that may have
        had threads for PyTorch's operators."""
        torch.set_num_threads(1)
        with no_collection():
            built = self._build(_trace(request, description), options)
        return built.cache_hits.to_bytes(_HITS, "little") + to_bytes(built)

    def _made_beside(self, request: Request, description: str) -> Built | None:
        beside = self._ahead.pop(description, None)
        data = None if beside is None else beside.result()
        built = None if data is None else from_bytes(data[_HITS:], request)
        if data is None or built is None:
            return None
        return replace(built, cache_hits=int.from_bytes(data[:_HITS], "little"), recalled=False)

    def _build(self, trace: Trace, options: Options) -> Built:
        compiled = self._pipeline(trace.graph, options)
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


def _prepare_to_trace() -> None:
    """Import what traces and compiles, which is done only where something is traced."""
    from importlib import import_module

    for name in ("torch.export._trace", "tc.frontend.capture", "tc.frontend.importer"):
        import_module(name)
    import_module("tc.pipeline")
