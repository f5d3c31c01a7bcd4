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
5. Tokens are chosen in `generate_loop`, by the very objects that transformers would use.

Both programs are traced from the model's forward at the first generation (`generate_capture`) and
serve every batch, length and capacity. A call with anything that the loop does not know (a cache
or embeddings that are passed in, attentions to collect, another decoding method, a model with
its own way of preparing inputs) runs transformers' own loop over the compiled forward, unchanged.
This module must not decide which token comes next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import torch
from transformers import GenerationMixin
from transformers.cache_utils import DynamicCache
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.utils import GenerateDecoderOnlyOutput

from tc.errors import UnsupportedError
from tc.frontend.capture import Captured, TraceError
from tc.frontend.generate_cache import ProgramRunner, Session, Step
from tc.frontend.generate_capture import Accepted, capture_step, layers_of, step_module
from tc.frontend.generate_loop import Choice, choose_tokens
from tc.frontend.hf_weights import WeightWatch

Make = Callable[[Captured], ProgramRunner]

# Settings of `generate` that its own loops need: with one of them it runs as it is.
_OWN: Final = frozenset(
    (
        *("assistant_model", "assistant_tokenizer", "tokenizer", "custom_generate"),
        *("synced_gpus", "trust_remote_code", "use_model_defaults"),
    )
)
# What the preparation of inputs may hand over; `None` values are as good as absent.
_KNOWN: Final = frozenset(
    ("attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep")
)
# Methods that say how a step's inputs follow from those before.
_METHODS: Final = (
    *("generate", "prepare_inputs_for_generation", "_update_model_kwargs_for_generation"),
    *("_prefill", "_sample"),
)
_MODES: Final = (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)


class Generation:
    """`generate` of a compiled model.

    Attributes:
        refused: why the loop cannot serve this model at all, once that is known.
        runners: of the prompt's and the step's program, once they are compiled.
    """

    def __init__(self, model: Any, made: Any, make: Make) -> None:
        """Prepare nothing yet.

        Args:
            model: what was compiled.
            made: the compiled model, whose own settings and forward are used.
            make: compiles a captured program.
        """
        self._model, self._made, self._make = model, made, make
        self._lock = threading.Lock()
        self._steps: tuple[Step, Step] | None = None
        self.refused: UnsupportedError | TraceError | None = None
        self.runners: list[ProgramRunner] = []
        self._standard = all(
            getattr(type(made), name, None) is getattr(GenerationMixin, name) for name in _METHODS
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As `GenerationMixin.generate`, with the same arguments and the same result."""
        made = self._made
        if not self._serves(args, kwargs):
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
            given = (input_ids, logits_processor, stopping_criteria, generation_config, streamer)
            return self._decode(*given, model_kwargs)

        return type(made).generate(made, *args, custom_generate=decode, **kwargs)

    def _serves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the settings may be the loop's, as far as the call alone tells."""
        if not self._standard or self.refused is not None or len(args) > 2:
            return False
        if self._made.config.is_encoder_decoder:
            return False
        if any(kwargs.get(name) is not None for name in _OWN):
            return False
        given = args[1] if len(args) > 1 else kwargs.get("generation_config")
        settings = {k: v for k, v in kwargs.items() if k != "generation_config"}
        config, _ = self._made._prepare_generation_config(given, **settings)
        return config.get_generation_mode(None) in _MODES

    def _decode(
        self,
        ids: torch.Tensor,
        processors: Any,
        criteria: Any,
        config: Any,
        streamer: Any,
        model_kwargs: dict[str, Any],
    ) -> Any:
        """The loop, or transformers' own where this call is not for it."""
        if not _fits(ids, processors, config, model_kwargs) or (steps := self._programs()) is None:
            return type(self._made)._sample(
                self._made,
                ids,
                logits_processor=processors,
                stopping_criteria=criteria,
                generation_config=config,
                streamer=streamer,
                **model_kwargs,
            )
        most = int(config.max_length)
        session = Session(*steps, self._layers, self._accepted, ids.shape[0], most)
        mask = model_kwargs.get("attention_mask")
        first = session.start(ids, mask, model_kwargs.get("position_ids"))
        wanted = bool(config.return_dict_in_generate)
        choice = Choice(
            tuple(processors),
            tuple(criteria),
            bool(config.do_sample),
            config._pad_token_tensor,
            streamer,
            wanted and bool(config.output_scores),
            wanted and bool(config.output_logits),
        )
        kept = choose_tokens(ids, first, session.step, choice, most)
        if not wanted:
            return kept.ids
        cache = model_kwargs["past_key_values"]
        for number, (keys, values) in enumerate(session.contents()):
            cache.update(keys, values, number)
        result: Any = GenerateDecoderOnlyOutput  # its fields are typed as tuples of one
        return result(
            sequences=kept.ids,
            scores=tuple(kept.scores) if choice.keep_scores else None,
            logits=tuple(kept.logits) if choice.keep_logits else None,
            past_key_values=cache,
        )

    def _programs(self) -> tuple[Step, Step] | None:
        """The two programs on the model's weights of now, compiled at the first call."""
        with self._lock:
            if self._steps is None and self.refused is None:
                try:
                    self._steps = self._compiled()
                except (UnsupportedError, TraceError) as error:
                    self.refused = error
            for step in self._steps or ():
                step.refresh()
            return self._steps

    def _compiled(self) -> tuple[Step, Step]:
        model = self._model
        self._accepted = Accepted.by(model)
        self._layers = layers_of(model, self._accepted)
        traced = step_module(model, self._layers, self._accepted)
        steps = []
        for prompt in (True, False):
            captured = capture_step(traced, self._layers, self._accepted, prompt)
            runner = self._make(captured)
            steps.append(Step(captured, runner, WeightWatch(traced, captured.weights)))
        if not steps[1].runner.program.steps_alone:
            raise UnsupportedError("generation: the step has operators that run eagerly")
        self.runners = [step.runner for step in steps]
        return steps[0], steps[1]


def _fits(ids: torch.Tensor, processors: Any, config: Any, given: dict[str, Any]) -> bool:
    """Whether the loop serves what the preparation has handed over."""
    cache, mask = given.get("past_key_values"), given.get("attention_mask")
    positions = given.get("position_ids")
    extra = {name for name, value in given.items() if value is not None} - _KNOWN
    return (
        not extra
        and ids.device.type == "cpu"
        and ids.dim() == 2
        and ids.shape[0] > 0
        and ids.shape[1] > 0
        and type(cache) is DynamicCache
        and not cache.offloading
        and cache.get_seq_length() == 0
        and not getattr(cache, "_is_user_defined", False)
        and bool(given.get("use_cache"))
        and given.get("logits_to_keep", 1) == 1
        and config.prefill_chunk_size is None
        and not config.is_assistant
        and not (config.output_attentions or config.output_hidden_states)
        and (mask is None or tuple(mask.shape) == tuple(ids.shape))
        and (positions is None or tuple(positions.shape) == tuple(ids.shape))
        and all(_takes_two(processor) for processor in processors)
    )


def _takes_two(processor: Any) -> bool:
    """Whether a processor takes ids and scores alone, as those of generate's settings do."""
    code = getattr(type(processor).__call__, "__code__", None)
    return code is not None and code.co_argcount == 3 and not code.co_flags & 0x0C
