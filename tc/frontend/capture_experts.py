"""Mixtures of experts while a model is traced: what their Python cannot say of a trace.

Those of transformers have several forms. One loops over the experts that were chosen, which no
trace can hold; one copies the matrices of its expert for each token. The form with rows sorted by
their experts computes the same, and is what tc has kernels for. Other models have such a loop and
nothing else: as rows are added up, the loop may go over all experts, of which those that were not
chosen get no rows (`capture_kinds` computes the rows of all together). This module must not import
transformers where the model has not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final

import torch

_MODULE: Final = "transformers.integrations.moe"
_SORTED: Final = "grouped_mm"
_OTHERS: Final = ("eager", "batched_mm", None)
_COUNT: Final = "_tc_how_many"
# What a loop over experts does with the rows of each: without rows it does nothing.
_DOES: Final = frozenset(("where", "index_add_"))
_NONZERO: Final = torch.Tensor.nonzero
_ITER: Final = torch.Tensor.__iter__
_BETWEEN: Final = 2  # frames between the loop and what is asked for its numbers


class _Number(list[int]):
    """A row of what `nonzero` gives for a tensor of one dim."""

    def item(self) -> int:
        """The number."""
        return self[0]

    def __index__(self) -> int:
        return self[0]


def _nonzero(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """As it is, but the result knows how many numbers there are."""
    found = _NONZERO(self, *args, **kwargs)
    if isinstance(found, torch.Tensor) and self.dim() == 1 and type(self.shape[0]) is int:
        setattr(found, _COUNT, self.shape[0])
    return found


def _each(self: torch.Tensor) -> Iterator[Any]:
    """All numbers, for a loop that does nothing of those that are not among them."""
    count = getattr(self, _COUNT, None)
    code = sys._getframe(_BETWEEN).f_code
    if count is None or not _DOES.issubset(code.co_names):
        return iter(_ITER(self))  # type: ignore[no-untyped-call]  # torch's own
    return iter([_Number([n]) for n in range(count)])


def answer_for_some(question: Any, code: CodeType) -> bool | None:
    """What such a loop is told that asks whether there are rows of an expert: that there are.

    None for other questions, and other code.
    """
    symbols = question.free_symbols
    if len(symbols) != 1 or not _DOES.issubset(code.co_names):
        return None
    (rows,) = symbols
    none, *some = (question.subs(rows, count) == True for count in (0, 1, 2, 3))  # noqa: E712
    return some[0] if len(set(some)) == 1 and none != some[0] else None


def experts_functions() -> tuple[tuple[Any, str, Callable[..., Any]], ...]:
    """What is to be replaced while a model is traced: where it is, its name, its stand-in."""
    loops = (torch.Tensor, "nonzero", _nonzero), (torch.Tensor, "__iter__", _each)
    module = sys.modules.get(_MODULE)
    if module is None:
        return loops
    interface: Any = module.ExpertsInterface
    theirs = interface.get_interface

    def choose(self: Any, name: str | None, default: Any) -> Any:
        return theirs(self, _SORTED if name in _OTHERS else name, default)

    return (*loops, (interface, "get_interface", choose))
