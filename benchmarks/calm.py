"""Is a core all ours just now? What no process list shows: a neighbour on its second thread.

On a virtual machine the other hardware thread of a core may belong to somebody else. It leaves
pure arithmetic alone but not the reads beside it, for seconds or minutes at a time. A loop of
multiply-adds that each read an operand shows it. Must not start anything by itself.
"""

from __future__ import annotations

from benchmarks.peak import Machine

LEAST = 0.95
"""Share of its best that the loop reaches on a core of one's own."""
KIND = "loaded"


class Calm:
    """Tells, whenever it is called, whether `threads` cores are as free as they ever were seen."""

    def __init__(self, machine: Machine, threads: int) -> None:
        self._machine, self._threads = machine, threads
        self._best = machine.gflops(KIND, threads)

    def __call__(self) -> bool:
        rate = self._machine.now().gflops(KIND, self._threads)
        self._best = max(self._best, rate)
        return rate >= LEAST * self._best


def always() -> bool:
    """Calm that is not looked for."""
    return True
