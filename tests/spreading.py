"""How `make test` spreads the tests over processes: what shares something costly stays together.

A model of the zoo is captured once for all its tests, whichever files these are in; what a file
shares is made once for the rest of its tests. This module must not import the zoo, nor torch.
"""

from __future__ import annotations

import re
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

_ZOO = (Path(__file__).parent / "models.py").read_text(encoding="utf-8")
MODELS = frozenset(re.findall(r'^    _entry\(\s*"([\w-]+)"', _ZOO, re.MULTILINE))
_CASE = re.compile(rf"[\[-]({'|'.join(sorted(MODELS, key=len, reverse=True))})\]$")


def group_of(nodeid: str) -> str:
    """The model whose name ends the case of a test, else its file."""
    case = _CASE.search(nodeid)
    return f"model {case[1]}" if case else nodeid.partition("::")[0]


class ByModelAndFile(LoadFileScheduling):
    """`--dist loadfile`, with the tests of a model taken out of their files."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
