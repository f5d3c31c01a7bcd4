"""Trees of results as JSON and back.

Classes are named by module and name, and are looked for among the modules that the process has
already: nothing is imported. This module must not make an object of a class that it reads.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import torch

from tc.frontend import capture_tree as tree

_NODES: Final = {
    kind.__name__: kind
    for kind in (
        *(tree.ValueNode, tree.SequenceNode, tree.MappingNode, tree.LayerNode, tree.CacheNode),
        *(tree.PairNode, tree.LeafNode, tree.InputNode, tree.GivenNode),
    )
}


def to_json(part: Any) -> Any:
    """A node, or a part of one.

    Raises:
        TypeError: it holds what cannot be written and read again.
    """
    kind = type(part)
    if _NODES.get(kind.__name__) is kind:
        return {"node": kind.__name__, "parts": [to_json(each) for each in part]}
    if part is None or kind in (bool, int, str):
        return part
    if kind is float:
        return {"float": part.hex()}
    if kind is tuple:
        return [to_json(each) for each in part]
    if kind is torch.dtype:
        return {"dtype": str(part).removeprefix("torch.")}
    if isinstance(part, type) and _class(part.__module__, part.__qualname__) is part:
        return {"class": [part.__module__, part.__qualname__]}
    raise TypeError(f"{part!r} in a result")


def from_json(data: Any) -> Any:
    """What `to_json` wrote. Raises KeyError, TypeError or ValueError: it is none."""
    match data:
        case {"node": str(name), "parts": list(parts)}:
            return _NODES[name](*[from_json(each) for each in parts])
        case {"float": str(text)}:
            return float.fromhex(text)
        case {"dtype": str(name)}:
            found = getattr(torch, name, None)
            if isinstance(found, torch.dtype):
                return found
        case {"class": [str(module), str(name)]}:
            found = _class(module, name)
            if found is not None:
                return found
        case list():
            return tuple([from_json(each) for each in data])
        case None | bool() | int() | str():
            return data
    raise TypeError(f"{data!r} is no part of a result")


def _class(module: str, name: str) -> type | None:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None
