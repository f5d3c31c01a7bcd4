"""Captures that tests share: exporting a model takes longer than most tests of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from tc.frontend.capture import capture_request
from tc.frontend.captured import Captured, Request, own_tensors
from tc.frontend.recall_key import description_of
from tc.frontend.recall_walk import IndescribableError
from tests.models import entry

_SHARED: dict[str, Captured] = {}


@cache
def captured(name: str) -> Captured:
    """The model called `name`, captured on a call of batch 1, length 1. Not to be changed."""
    each = entry(name)
    return shared(Request.of(each.build(), (), each.inputs(1, 1)))


def shared(request: Request) -> Captured:
    """What `capture_request` gives, captured once for all that ask for the same of equal models.

    The weights are those of the model that asks. The graph is not to be changed.
    """
    try:
        description = description_of(request)
    except IndescribableError:
        return capture_request(request)
    found = _SHARED.get(description)
    if found is None:
        found = _SHARED[description] = capture_request(request)
        return found
    own = own_tensors(request.model)
    weights = [w if w.constant else replace(w, tensor=own[w.name]) for w in found.weights]
    return replace(found, weights=tuple(weights), arguments=request.arguments)
