"""From a call to the program that serves it, compiled at the first call of its kind.

The kind of a call (its key) is the names of its arguments, the dtype, rank and device of each
tensor, the value of each Python scalar and the config flags that forward reads. Sizes are no part
of it. The path of a call whose key is known does a lookup, the checks and nothing else.
This module must not compile or trace by itself.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import torch

from tc.device.run_stats import Stats
from tc.errors import CompileError, UnsupportedError, describe
from tc.frontend import capture_tree as tree
from tc.frontend.capture_tree import NoProgramError
from tc.frontend.captured import GraphError, Request, UntraceableError
from tc.frontend.copies import twin
from tc.frontend.hf_inputs import refuse_autocast, refuse_device, refuse_grad
from tc.frontend.hf_program import Make, Program
from tc.frontend.hf_route import OnEager, Route, order_of, stats_of, too_many
from tc.frontend.settings import Settings
from tc.frontend.shortcut import Shortcuts
from tc.frontend.signature_bind import ShapeMismatchError

# Config flags that forward falls back on when the call does not say.
_FLAGS = (
    "_output_attentions",
    "output_hidden_states",
    "return_dict",
    "use_cache",
    "_attn_implementation_internal",
    "problem_type",
)
# What forward does not read, or a key has.
_APART = (".generation_config", *(f".config.{flag}" for flag in _FLAGS))
_LOSS = _FLAGS.index("problem_type")  # which transformers' own models read for a loss alone
_MAX_PROGRAMS = 16


class Dispatcher:
    """Runs calls of one model; `stats` counts its compilations.

    Safe to call from several threads; compilations of one model happen one at a time.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        make: Make,
        *,
        dynamic: bool = True,
        on_eager: OnEager | None = None,
        hooks: Sequence[dict[Any, Any]] = (),
    ) -> None:
        self._settings = Settings(model, _APART)
        self._version = 0
        self._model = model
        self._hooks = tuple(hooks)
        self._make = make
        self._on_eager = on_eager
        self._dynamic = dynamic
        self._signature = inspect.signature(model.forward)
        names = list(self._signature.parameters)
        own = type(model).__module__.partition(".")[0] == "transformers" and "labels" in names
        # Calls with no more arguments by position have labels by name, or none.
        self._labels = names.index("labels") if own else -1
        self._config = _config_of(model)
        self.shortcuts: Shortcuts | None = None  # those of the calls that come here
        self._routes: dict[tuple[Any, ...], Route] = {}
        self._programs: dict[tuple[Any, ...], list[Program]] = {}
        self._lock = threading.RLock()
        self.stats = {"compilations": 0}
        self.former: list[Stats] = []  # of programs that were forgotten

    def __reduce__(self) -> NoReturn:
        # pickle and copy.copy come here; a deep copy of a compiled model is one of its own making.
        raise UnsupportedError(
            describe(
                "copy of a compiled model",
                why="its code and its memory belong to it alone",
                way_out="copy the model and compile the copy, or save it and tc.load that",
            )
        )

    @property
    def programs(self) -> list[Program]:
        """Every program compiled so far, oldest first for each kind of call."""
        kinds = {id(programs): programs for programs in self._programs.values()}
        return [program for programs in kinds.values() for program in programs]

    @property
    def refused(self) -> NoProgramError | None:
        """Why calls run eagerly, if some do."""
        return next((r.refused for r in self._routes.values() if r.refused is not None), None)

    def attend(self, made: torch.nn.Module) -> None:
        """From now on take note of what is set on `made`, whose calls come here."""
        self._settings.attend(made)

    def current(self) -> tuple[int, torch.nn.Module]:
        """What is traced, and a number that is another one once its Python may give other programs.

        Programs of before are forgotten.

        Raises:
            CompileError: something was set on the compiled copy that cannot be followed.
        """
        if self._settings.version() != self._version:
            with self._lock:
                version = self._settings.version()
                self._model = self._settings.model()
                self._config = _config_of(self._model)
                self.former += stats_of(program.runner for program in self.programs)
                self._routes, self._programs = {}, {}
                self._version = version
        return self._version, self._model

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of `model(*args, **kwargs)`.

        Raises:
            TcError: arguments that the model, or a compiled program of it, cannot take.
        """
        tensors: list[torch.Tensor] = []
        caches: list[Any] = []
        self.current()
        try:
            refuse_autocast(self._model)
            key = self._key(args, kwargs, tensors, caches)
        except NoProgramError as error:
            return self._eagerly(error, args, kwargs)
        if torch.is_grad_enabled():
            refuse_grad(tensors, self._model)
        route = self._routes.get(key)
        if route is None:
            route = self._find_route(key, args, kwargs)
        if route.order is not None:
            tensors = [tensors[index] for index in route.order]
        if route.caches is not None:
            caches = [caches[index] for index in route.caches]
        shapes = tuple([tensor.shape for tensor in tensors])
        try:
            for program in route.programs:
                if shapes in program.admitted:
                    result = program.run(tensors, caches)
                    if not caches:
                        self._shorten(key, args, kwargs, route, shapes, program)
                    return result
            return self._fitting(route, shapes, args, kwargs).run(tensors, caches)
        except NoProgramError as error:
            return self._eagerly(error, args, kwargs)

    def _shorten(
        self,
        key: tuple[Any, ...],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        route: Route,
        shapes: tuple[torch.Size, ...],
        program: Program,
    ) -> None:
        """Let the next call like this one go the short way, if it may."""
        glance = program.watch.glance
        if glance is None or self.shortcuts is None or any(self._hooks):
            return
        # The flags in the key were read between the making of the glance and now.
        same = self._flags(args, kwargs) == list(key[: len(_FLAGS)]) and glance.same()
        if same and self._settings.version() == self._version:
            found = program.direct(shapes)
            if found is not None:
                self.shortcuts.add(args, kwargs, route.order, glance, *found)

    def _flags(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        found = [self._config.get(flag) for flag in _FLAGS]
        if len(args) <= self._labels and kwargs.get("labels") is None:
            found[_LOSS] = None
        return found

    def _eagerly(self, why: NoProgramError, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of the model itself, for a call that no program can serve."""
        if self._on_eager is None:
            raise why
        self._on_eager.count(why)
        training = any(module.training for module in self._model.modules())
        model = twin(self._model) if training else self._model
        with torch.no_grad():
            try:
                return model(*args, **kwargs)
            finally:
                self._settings.ignore_changes()

    def prepare(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, guess: bool = False
    ) -> Program:
        """Capture and compile for calls like this one, without running it.

        A `guess` has sizes that nobody asked for, so no program is made for them alone.
        """
        tensors: list[torch.Tensor] = []
        key = self._key(args, kwargs, tensors, [])
        route = self._routes.get(key) or self._find_route(key, args, kwargs)
        if route.order is not None:
            tensors = [tensors[index] for index in route.order]
        return self._fitting(route, tuple(t.shape for t in tensors), args, kwargs, guess)

    def try_to_prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """As `prepare`; calls that no program can serve are to run eagerly, if they may."""
        try:
            self.prepare(args, kwargs)
        except NoProgramError as why:
            if self._on_eager is None:
                raise
            self._on_eager.allow(why)

    def _key(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[torch.Tensor],
        caches: list[Any],
    ) -> tuple[Any, ...]:
        parts: list[Any] = self._flags(args, kwargs)
        for number, value in enumerate(args):
            parts.append(tree.flatten(value, tensors, caches, str(number)))
        for name, value in kwargs.items():
            parts.append(name)
            if type(value) is torch.Tensor:
                tensors.append(value)
                parts += (value.dtype, value.ndim, value.device, value.layout)
            else:
                parts.append(tree.flatten(value, tensors, caches, name))
        return tuple(parts)

    def _find_route(
        self, key: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Route:
        """The route of a key met for the first time; calls that mean the same share programs."""
        with self._lock:
            positional, keyword = self._canonical(args, kwargs)
            raw_names, raw_caches = self._names(args, kwargs)
            names, cache_names = self._names(positional, keyword)
            canonical = self._key(positional, keyword, [], [])
            route = Route(
                canonical,
                self._programs.setdefault(canonical, []),
                order_of(raw_names, names),
                order_of(raw_caches, cache_names),
            )
            self._routes[key] = route
            return route

    def _canonical(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call by name, in the order of forward's parameters, defaults left out."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise CompileError(
                describe(
                    f"call of {type(self._model).__name__}",
                    why=str(error),
                    way_out=f"its forward is forward{self._signature}",
                )
            ) from error
        named: dict[str, Any] = {}
        rest: tuple[Any, ...] = ()
        for name, value in bound.arguments.items():
            parameter = self._signature.parameters[name]
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                rest = value
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                named.update(sorted(value.items()))
            elif value is not parameter.default:
                named[name] = value
        if rest or any(p.kind is p.POSITIONAL_ONLY for p in self._signature.parameters.values()):
            return bound.args, dict(bound.kwargs)
        return (), named

    def _names(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[str], list[str]]:
        """The names of the flat tensors and of the caches of a call."""
        node = tree.flatten((list(args), kwargs), [], [], "")
        parameters = tree.parameter_names(self._model)
        heads = [*parameters[: len(args)], *kwargs]
        values = [*args[: len(parameters)], *kwargs.values()]
        caches = []
        for head, value in zip(heads, values, strict=True):
            found: list[Any] = []
            tree.flatten(value, [], found, head)
            caches += [f"{head}.{number}" for number in range(len(found))]
        return tree.argument_names(self._model, node), caches

    def _fitting(
        self,
        route: Route,
        shapes: tuple[torch.Size, ...],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        guess: bool = False,
    ) -> Program:
        """The program that takes these shapes, compiled now if none does.

        Raises:
            NoProgramError: there can be none; it is not tried again for calls like this one.
        """
        with self._lock:
            for program in route.programs:
                try:
                    program.admit(shapes)
                except ShapeMismatchError as mismatch:
                    if self._dynamic and not mismatch.another:
                        raise
                else:
                    return program
            if route.refused is not None:
                raise route.refused.with_traceback(None)
            try:
                if len(route.programs) >= _MAX_PROGRAMS:
                    raise too_many(self._model, _MAX_PROGRAMS)
                program = self._made_for(shapes, args, kwargs, guess)
            except NoProgramError as error:
                if not guess:
                    route.refused = error
                raise
            route.programs.append(program)
            # Where forward settles a flag, calls mean the same with the flag as it was and as it is
            # from then on, for eager writes it into the config that both share.
            settled = dict(zip(_FLAGS, route.canonical, strict=False)) | program.settled
            flags = tuple(settled[flag] for flag in _FLAGS)
            self._programs.setdefault((*flags, *route.canonical[len(_FLAGS) :]), route.programs)
            return program

    def _made_for(
        self,
        shapes: tuple[torch.Size, ...],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        guess: bool,
    ) -> Program:
        """A new program for these shapes, and as many others as can be.

        Where the model's code turns a size into a number or asks about it, a trace with sizes that
        the capture chose may not be for the call: then it is one with those of the call, and at
        last one that is for them alone. So it is where free sizes cannot be traced or computed.
        """
        failed: UntraceableError | GraphError | None = None
        for dynamic, known in ((True, True), (True, False)) if self._dynamic else ():
            with contextlib.suppress(ShapeMismatchError):
                try:
                    program = self._compile(args, kwargs, dynamic, known)
                except (UntraceableError, GraphError) as error:
                    failed = failed or error
                else:
                    program.admit(shapes)
                    return program
        if failed is not None and guess:
            raise failed
        try:
            program = self._compile(args, kwargs, dynamic=False)
        except (UntraceableError, GraphError) as error:
            raise failed or error from None
        program.admit(shapes)
        return program

    def _compile(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool, known: bool = True
    ) -> Program:
        positional, keyword = self._canonical(args, kwargs)
        tensors: list[torch.Tensor] = []
        self._key(positional, keyword, tensors, [])
        refuse_device(tensors, self._model)
        request = Request.of(self._model, positional, keyword, dynamic, known=known)
        captured, runner = self._make(request)
        self.stats["compilations"] += 1
        program = Program(self._model, captured, runner, self._beside)
        self._settings.ignore(name for name in program.settled if "." in name)
        return program

    def _beside(self) -> list[dict[Any, Any]]:
        """What is written to when calls may go another way, though no weight has changed."""
        return [self._config, *self._hooks, *self._settings.dicts]


def _config_of(model: torch.nn.Module) -> dict[str, Any]:
    config = getattr(model, "config", None)
    return vars(config) if hasattr(config, "__dict__") else {}
