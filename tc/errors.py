"""The exception tree of tc: every error that a caller may catch.

One root (`TcError`), five kinds that the caller can act on, and one (`InternalError`) that is a
defect of tc itself. This module must not import anything but the standard library, and no other
module defines a public exception outside this tree.

A message names the thing, the place, the reason and the way out; `describe` puts the four
together so that every message reads alike.
"""

from __future__ import annotations


def describe(what: str, *, where: str = "", why: str, way_out: str = "") -> str:
    """Put an error message together: ``what: where: why; way out``.

    Args:
        what: the thing that is wrong, as the user named it.
        where: the place (a loop as text, a file, an operator, an argument); may be empty.
        why: the reason.
        way_out: what to do instead; may be empty only where nothing can be done.
    """
    head = ": ".join(part for part in (what, where, why) if part)
    return f"{head}; {way_out}" if way_out else head


class TcError(Exception):
    """The root of every error raised by tc on purpose; `message` is the whole text, one line."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ScheduleError(TcError):
    """A scheduling primitive does not apply: names the loop, the reason and legal alternatives."""


class CompileError(TcError):
    """A model or an expression cannot be compiled: an ill-formed expression, input or artifact."""


class UnsupportedError(TcError):
    """A target, type, operator or option that tc does not know: lists what it does know."""


class DeviceError(TcError):
    """A device, queue or fence failed: a lost device, a failed submission, a timeout."""


class TuningError(TcError):
    """Tuning or its database failed: an unreadable record, a workload that cannot be measured."""


class InternalError(TcError):
    """A defect of tc, not of its caller: a broken invariant or an IR that fails verification."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} (a defect of tc: please report it with this message)")
        self._given = message

    def __reduce__(self) -> tuple[type[InternalError], tuple[str]]:
        # Unpickling calls the constructor again, which must not append its note twice.
        return type(self), (self._given,)
