"""A schedule as data: a tuple of steps that prints as one line of text and parses back.

    split(i, 8) reorder(i0, j0, k, i1, j1) vectorize(j1, 16) unroll(i1)

That line is the value in the database, in the log and in the tests. Applying steps is the
business of tc.schedule.apply.
"""

from __future__ import annotations

import re
from typing import Final

from tc.errors import ScheduleError
from tc.frozen import frozen

Arg = str | int

_STEP: Final = re.compile(r"\s*([a-z_]+)\(([^()]*)\)")
_NAME: Final = re.compile(r"[A-Za-z_]\w*\Z")


@frozen
class Step:
    """One primitive with its arguments: loop and buffer names, and integers."""

    name: str
    args: tuple[Arg, ...] = ()
    options: tuple[tuple[str, Arg], ...] = ()

    def __str__(self) -> str:
        parts = [str(a) for a in self.args] + [f"{k}={v}" for k, v in self.options]
        return f"{self.name}({', '.join(parts)})"


@frozen
class Schedule:
    """Steps in the order in which they are applied."""

    steps: tuple[Step, ...] = ()

    def then(self, name: str, *args: Arg, **options: Arg) -> Schedule:
        """This schedule and one more step."""
        return Schedule((*self.steps, Step(name, args, tuple(sorted(options.items())))))

    def __str__(self) -> str:
        return " ".join(map(str, self.steps))

    @staticmethod
    def parse(text: str) -> Schedule:
        """The schedule whose text this is; ScheduleError names the part that is not a step."""
        steps, at = [], 0
        while text[at:].strip():
            found = _STEP.match(text, at)
            if found is None:
                raise ScheduleError(
                    f"schedule: {text[at:].strip()!r} is not a step; "
                    "steps read like split(i, 8), separated by spaces"
                )
            steps.append(_step(found[1], found[2]))
            at = found.end()
        return Schedule(tuple(steps))


def _step(name: str, inside: str) -> Step:
    args: list[Arg] = []
    options: list[tuple[str, Arg]] = []
    for part in (p.strip() for p in inside.split(",") if p.strip()):
        key, equals, value = part.partition("=")
        if equals:
            options.append((key.strip(), _arg(value.strip(), name)))
        else:
            args.append(_arg(part, name))
    return Step(name, tuple(args), tuple(options))


def _arg(text: str, step: str) -> Arg:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if _NAME.match(text):
        return text
    raise ScheduleError(f"{step}: argument {text!r} is neither a name nor an integer")
