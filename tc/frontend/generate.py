"""`cm.generate`: transformers' own preparation, then a loop of tc's with the cache in place.

How a generation runs:

1. `GenerationMixin.generate` reads the settings, checks them, makes masks and positions, and
   prepares its processors of scores and criteria for stopping. It is told to hand over to
   `Generation._decode` in place of its own decoding loop.
2. Where the loop can serve the call, a `Session` allocates buffers [batch, heads, capacity, dim]
   for the keys and values of each layer, `capacity` being what the generation can need, or some
   blocks of it at first.
3. The prompt runs as one program, which writes its keys and values into the buffers and gives
   the logits of its last position alone.
4. Each token is one foreign call: a program over one new token for each sequence, planned once
   for the whole capacity, that writes one row to each buffer in place, attends over the rows
   used so far, and gives the logits in memory that is used again.
5. Tokens are chosen in `generate_loop`, by the very objects that transformers would use. A search
   by beams is transformers' own method over the session (`generate_beams`), whose rows go from
   beam to beam where the search goes on from another one.

A model with an encoder runs that first, compiled too, once; the prompt's program gives the keys and
values of its states, which each step reads where they are.

Both programs are traced from the model's forward at the first generation (`generate_capture`) and
serve every batch, length and capacity. A call with anything that the loop does not know (a cache
or embeddings that are passed in, attentions to collect, another decoding method, a model with
its own way of preparing inputs, or with other ways for other lengths) runs transformers' own loop
over the compiled forward, unchanged.
This module must not decide which token comes next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import torch
from transformers import GenerationMixin
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.stopping_criteria import MaxLengthCriteria
from transformers.generation.utils import GenerateDecoderOnlyOutput, GenerateEncoderDecoderOutput

from tc.device.artifact import FallbackCall
from tc.device.run_stats import Stats
from tc.errors import UnsupportedError
from tc.frontend import capture_shapes as shapes
from tc.frontend.captured import Interface, Request, TraceError
from tc.frontend.generate_beams import SessionCache, SessionModel
from tc.frontend.generate_cache import ProgramRunner, Session, Step
from tc.frontend.generate_capture import Calls
from tc.frontend.generate_loop import Choice, choose_tokens
from tc.frontend.hf import dispatcher_of, hooks_of
from tc.frontend.hf_route import stats_of
from tc.frontend.hf_weights import WeightWatch
from tc.frontend.signature_bind import is_for
from tc.frozen import frozen

Make = Callable[[Request], tuple[Interface, ProgramRunner]]

# Settings of `generate` that its own loops need: with one of them it runs as it is.
_OWN: Final = frozenset(
    (
        *("assistant_model", "assistant_tokenizer", "tokenizer", "custom_generate"),
        *("synced_gpus", "trust_remote_code", "use_model_defaults"),
    )
)
# What the preparation of inputs may hand over; `None` values are as good as absent.
_KNOWN: Final = frozenset(
    (
        *("attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"),
        "encoder_outputs",
    )
)
# Methods that say how a step's inputs follow from those before.
_METHODS: Final = (
    *("generate", "prepare_inputs_for_generation", "_update_model_kwargs_for_generation"),
    *("_prefill", "_sample", "_beam_search"),
)
# The decoding methods that the loop serves, by the name of transformers' own.
_MODES: Final = {
    GenerationMode.GREEDY_SEARCH: "_sample",
    GenerationMode.SAMPLE: "_sample",
    GenerationMode.BEAM_SEARCH: "_beam_search",
    GenerationMode.BEAM_SAMPLE: "_beam_search",
}


class Generation:
    """`generate` of a compiled model.

    Attributes:
        encodes: the model has an encoder, which runs before the prompt.
        refused: why the loop cannot serve this model at all, once that is known.
        runners: of the prompt's and the step's program, once they are compiled.
        former: of programs that were forgotten.
    """

    def __init__(self, model: Any, made: Any, make: Make, calls: Calls | None = None) -> None:
        """Prepare nothing yet.

        Args:
            model: what was compiled.
            made: the compiled model, whose own settings and forward are used.
            make: compiles a call.
            calls: of the two programs; None: found when they are wanted.
        """
        self._model, self._made, self._make = model, made, make
        self._calls = calls
        self._dispatcher, self._version = dispatcher_of(made), 0
        self.encodes = bool(model.config.is_encoder_decoder)
        self._lock = threading.Lock()
        self._steps: tuple[Step, Step] | None = None
        self.refused: UnsupportedError | TraceError | None = None
        self.runners: list[ProgramRunner] = []
        self.former: list[Stats] = []
        # They are of calls, and a session makes none.
        self._hooks = hooks_of(made)
        self._standard = all(
            getattr(type(made), name, None) is getattr(GenerationMixin, name) for name in _METHODS
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As `GenerationMixin.generate`, with the same arguments and the same result."""
        made = self._made
        method = self._method(args, kwargs)
        if method is None:
            return type(made).generate(made, *args, **kwargs)
        streamer = kwargs.get("streamer")

        def decode(
            _model: Any,
            input_ids: torch.Tensor,
            logits_processor: Any,
            stopping_criteria: Any,
            generation_config: Any,
            **model_kwargs: Any,
        ) -> Any:
            call = _Call(
                input_ids,
                logits_processor,
                stopping_criteria,
                generation_config,
                streamer,
                model_kwargs,
            )
            steps = self.programs() if call.fits else None
            if steps is None or not _are_for(steps, call):
                return call.run(getattr(type(made), method), made)
            session = self._session(steps, call)
            return (
                _by_beams(made, session, call)
                if method == "_beam_search"
                else _one_by_one(session, call)
            )

        return type(made).generate(made, *args, **{**kwargs, "custom_generate": decode})

    def _method(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """The decoding method, if it may be the loop's as far as the call alone tells."""
        if not self._standard or self.refused is not None or len(args) > 2:
            return None
        if torch.is_autocast_enabled("cpu") or any(self._hooks):
            return None
        if any(kwargs.get(name) is not None for name in _OWN):
            return None
        given = args[1] if len(args) > 1 else kwargs.get("generation_config")
        settings = {k: v for k, v in kwargs.items() if k != "generation_config"}
        config, _ = self._made._prepare_generation_config(given, **settings)
        method = _MODES.get(config.get_generation_mode(None))
        if method == "_beam_search" and (
            kwargs.get("streamer") is not None or hasattr(self._made, "_reorder_cache")
        ):
            return None  # the search refuses the one, and hands its cache to the other
        return method

    def _session(self, steps: tuple[Step, Step], call: _Call) -> Session:
        return Session(*steps, self._decoder, call.ids.shape[0], call.most)

    def programs(self) -> tuple[Step, Step] | None:
        """The two programs on the model's weights of now, compiled at the first call."""
        with self._lock:
            self._forget_if_changed()
            if self._steps is None and self.refused is None:
                try:
                    self._steps = self._compiled()
                except (UnsupportedError, TraceError) as error:
                    self.refused = error
            for step in self._steps or ():
                step.refresh()
            return self._steps

    def _forget_if_changed(self) -> None:
        """Programs of a model whose Python may give others now are no more."""
        if self._dispatcher is None:
            return
        version, model = self._dispatcher.current()
        if version != self._version:
            self.former += stats_of(self.runners)
            self._model, self._version = model, version
            self._calls, self._steps, self.refused, self.runners = None, None, None, []

    def _compiled(self) -> tuple[Step, Step]:
        calls = self._calls or Calls.of(self._model)
        self._decoder = calls.decoder
        steps = []
        for request in (calls.prompt, calls.step):
            captured, runner = self._make(request)
            watch = WeightWatch(calls.module, captured.weights, copied=runner.copied)
            steps.append(Step(captured.signature, runner, watch))
        artifact = steps[1].runner.artifact
        if any(isinstance(step, FallbackCall) for step in artifact.main):
            raise UnsupportedError("generation: the step has operators that run eagerly")
        self.runners = [step.runner for step in steps]
        return steps[0], steps[1]


@frozen
class _Call:
    """What the preparation hands over to a decoding method."""

    ids: torch.Tensor
    processors: Any
    criteria: Any
    config: Any
    streamer: Any
    given: dict[str, Any]

    def run(self, method: Callable[..., Any], model: Any, **other: Any) -> Any:
        """The method's result, with its arguments as transformers passes them."""
        streamer = {} if self.streamer is None else {"streamer": self.streamer}
        return method(
            model,
            self.ids,
            logits_processor=self.processors,
            stopping_criteria=self.criteria,
            generation_config=self.config,
            **streamer,
            **{**self.given, **other},
        )

    @property
    def states(self) -> torch.Tensor | None:
        """The encoder's."""
        return getattr(self.given.get("encoder_outputs"), "last_hidden_state", None)

    @property
    def most(self) -> int:
        """The length that no sequence exceeds: a criterion of the caller may say another one."""
        lengths = [c.max_length for c in self.criteria if isinstance(c, MaxLengthCriteria)]
        return int(min(lengths, default=self.config.max_length))

    def start(self, session: Session) -> torch.Tensor:
        """The logits after the prompt."""
        mask, positions = self.given.get("attention_mask"), self.given.get("position_ids")
        return session.start(self.ids, mask, positions, self.states)

    @property
    def fits(self) -> bool:
        """Whether the loop serves it."""
        ids, given, config = self.ids, self.given, self.config
        extra = {name for name, value in given.items() if value is not None} - _KNOWN
        return (
            not extra
            and ids.device.type == "cpu"
            and ids.dtype is torch.long
            and ids.dim() == 2
            and ids.numel() > 0
            and _is_fresh(given.get("past_key_values"), encoder=self.states is not None)
            and bool(given.get("use_cache"))
            and given.get("logits_to_keep", 1) == 1
            and config.prefill_chunk_size is None
            and not config.is_assistant
            and not (config.output_attentions or config.output_hidden_states)
            and self._places_fit()
            and all(_takes_two(processor) for processor in self.processors)
        )

    def _places_fit(self) -> bool:
        """Whether there is a mask and a position for each place, or none."""
        mask, positions = self.given.get("attention_mask"), self.given.get("position_ids")
        masked = self.ids.shape if self.states is None else self.states.shape[:2]
        return (mask is None or mask.shape == masked) and (
            positions is None
            or (positions.shape == self.ids.shape and positions.dtype is torch.long)
        )


def _are_for(steps: tuple[Step, Step], call: _Call) -> bool:
    """Whether the model's Python goes the programs' ways for all sizes that a call may come to."""
    prompt, step = (each.signature for each in steps)
    batch, length = call.ids.shape
    first, last = length + 1, max(length + 1, call.most - 1)
    sizes = {shapes.BATCH: batch, shapes.LENGTH: length}
    if call.states is not None:
        sizes[shapes.ENCODER] = call.states.shape[1]
    reaches = range(first, last + 1) if step.branches else (first, last)
    return is_for(prompt, sizes) and all(
        is_for(step, {**sizes, shapes.REACH: reach}) for reach in reaches
    )


def _is_fresh(cache: Any, *, encoder: bool) -> bool:
    """Whether a cache is one that the preparation has made for this call."""
    parts = [cache]
    if encoder:
        if type(cache) is not EncoderDecoderCache:
            return False
        parts = [cache.self_attention_cache, cache.cross_attention_cache]
    plain = all(type(part) is DynamicCache and not part.offloading for part in parts)
    return (
        plain
        and all(part.get_seq_length() == 0 for part in parts)
        and not getattr(cache, "_is_user_defined", False)
    )


def _one_by_one(session: Session, call: _Call) -> Any:
    """Greedy search or sampling; the result as transformers gives it."""
    config = call.config
    wanted = bool(config.return_dict_in_generate)
    choice = Choice(
        tuple(call.processors),
        tuple(call.criteria),
        bool(config.do_sample),
        config._pad_token_tensor,
        call.streamer,
        wanted and bool(config.output_scores),
        wanted and bool(config.output_logits),
    )
    first = call.start(session)
    kept = choose_tokens(call.ids, first, session.step, choice, call.most)
    if not wanted:
        return kept.ids
    # Their fields are typed as tuples of one.
    decoder: Any = GenerateDecoderOnlyOutput
    pair: Any = GenerateEncoderDecoderOutput
    return (decoder if call.states is None else pair)(
        sequences=kept.ids,
        scores=tuple(kept.scores) if choice.keep_scores else None,
        logits=tuple(kept.logits) if choice.keep_logits else None,
        past_key_values=_filled(session, call),
    )


def _by_beams(made: Any, session: Session, call: _Call) -> Any:
    """transformers' search over the session; its result."""
    cache = SessionCache(session)
    search = type(made)._beam_search
    model = SessionModel(made, session, call.start(session))
    found = call.run(search, model, past_key_values=cache)
    if call.config.return_dict_in_generate:
        found.past_key_values = _filled(session, call)
    return found


def _filled(session: Session, call: _Call) -> Any:
    """The cache of the call, holding what the session holds."""
    cache = call.given["past_key_values"]
    own = cache if call.states is None else cache.self_attention_cache
    for number, (keys, values) in enumerate(session.contents()):
        own.update(keys, values, number)
    if call.states is not None:
        half = len(session.encoded) // 2
        cross = zip(session.encoded[1 : half + 1], session.encoded[half + 1 :], strict=True)
        for number, (keys, values) in enumerate(cross):
            cache.cross_attention_cache.update(keys, values, number)
            cache.is_updated[number] = True
    return cache


def _takes_two(processor: Any) -> bool:
    """Whether a processor takes ids and scores alone, as those of generate's settings do."""
    code = getattr(type(processor).__call__, "__code__", None)
    return code is not None and code.co_argcount == 3 and not code.co_flags & 0x0C
