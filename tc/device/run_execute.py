"""Running the items of a program one after the other: foreign calls and eager operators.

This module must not know where the memory comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns

from tc.device.arrays import Arrays
from tc.device.artifact import FIRST_SLOT, PROFILE, Artifact, FallbackCall
from tc.device.run_call import Arena, Frame
from tc.device.run_items import Item, raise_reported
from tc.device.run_plan import Plan, Planner
from tc.device.run_profile import Profile
from tc.device.run_stats import Stats


class Executor:
    """Runs items of one artifact."""

    def __init__(self, artifact: Artifact, arrays: Arrays, planner: Planner, stats: Stats) -> None:
        self._artifact = artifact
        self._arrays = arrays
        self._planner = planner
        self._stats = stats

    def __call__(
        self,
        items: Sequence[Item],
        arena: Arena,
        frame: Frame,
        plan: Plan,
        profile: Profile | None,
    ) -> int:
        """Run the items in order; the nanoseconds inside compiled code."""
        spent = 0
        for item in items:
            begin = perf_counter_ns()
            if isinstance(item, FallbackCall):
                self._fall_back(item, frame, plan)
                if profile is not None:
                    profile.fallback(item, begin, perf_counter_ns())
                continue
            if profile is not None:
                frame.table[PROFILE] = profile.begin(len(item.calls))
                begin = perf_counter_ns()
            try:
                item.function(frame.address)
            finally:
                frame.table[PROFILE] = 0
            spent += perf_counter_ns() - begin
            if arena.error.value:
                if profile is None:
                    raise_reported(arena, item.messages)
                arena.error.value = 0
            if profile is not None:
                turns = [self._planner.turns(call, plan.values) for call in item.calls]
                profile.kernels(item.calls, plan.values, turns)
        return spent

    def _fall_back(self, call: FallbackCall, frame: Frame, plan: Plan) -> None:
        self._stats.count_fallback(call.op)
        storages = self._artifact.storages
        views = {
            s: (frame.table[FIRST_SLOT + s], self._planner.shape(s, plan.values), storages[s].dtype)
            for s in (*call.inputs, *call.outputs)
        }
        self._arrays.fallback(call, views, self._planner.fallback_dims(call, plan.values))
