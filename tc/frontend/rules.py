"""What `generation_config` says of a greedy search, as the rules of an exported model.

A setting that C does not keep to is refused by its name. Those of sampling and of beams choose
another search, and say nothing of a greedy one. This module must not choose an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tc.errors import UnsupportedError, describe
from tc.standalone.spec import Rules

# Settings that C has nothing for, with the values that mean nothing.
_UNKNOWN: Final[Mapping[str, tuple[object, ...]]] = {
    "guidance_scale": (None, 1),
    "sequence_bias": (None,),
    "encoder_repetition_penalty": (None, 1),
    "encoder_no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None,),
    "exponential_decay_length_penalty": (None,),
    "remove_invalid_values": (None, False),
    "forced_decoder_ids": (None,),
    "watermarking_config": (None,),
    "stop_strings": (None,),
    "max_time": (None,),
}


def rules_of(name: str, settings: Any, vocabulary: int) -> Rules:
    """The rules that a model's settings give.

    Args:
        name: of the model.
        settings: a `GenerationConfig`, or None.
        vocabulary: how many ids there are; others are left out of lists.

    Raises:
        UnsupportedError: a setting that C does not keep to.
    """
    for key, nothing in _UNKNOWN.items():
        if (value := getattr(settings, key, None)) not in nothing:
            raise UnsupportedError(
                describe(
                    f"{name}.generation_config.{key}={value!r}",
                    why="generation in C has no such rule",
                    way_out=f"set it to {nothing[0]} before the export",
                )
            )

    def ids(key: str) -> tuple[int, ...]:
        value = getattr(settings, key, None)
        listed = [value] if isinstance(value, int) else list(value if value is not None else ())
        return tuple(int(i) for i in listed if 0 <= int(i) < vocabulary)

    def number(key: str) -> int:
        return int(getattr(settings, key, None) or 0)

    penalty = getattr(settings, "repetition_penalty", None)
    return Rules(
        penalty=1.0 if penalty is None else float(penalty),
        unrepeated=number("no_repeat_ngram_size"),
        least=number("min_length"),
        least_new=number("min_new_tokens"),
        ends=ids("eos_token_id"),
        never=ids("suppress_tokens"),
        not_first=ids("begin_suppress_tokens"),
        first=ids("forced_bos_token_id"),
        last=ids("forced_eos_token_id"),
    )
