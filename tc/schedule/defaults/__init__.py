"""Analytical default schedules: already near the machine's limit, with no measurement.

Each family has its own module; `default_schedule` only recognises the family. Numbers come from
the target: vector width, registers, cache sizes.
"""

from __future__ import annotations

from tc.ir.lower import Lowered, lower_named
from tc.ir.tensor import Compute, Placeholder, Tensor
from tc.schedule.apply import remember
from tc.schedule.defaults.attention import attention_of, query_dim, schedule_attention
from tc.schedule.defaults.contraction import schedule_contraction
from tc.schedule.defaults.experts import is_of_experts, schedule_experts
from tc.schedule.defaults.few_queries import are_few, schedule_few_queries
from tc.schedule.defaults.grouped import grouped_of, schedule_grouped
from tc.schedule.defaults.plan import Plan
from tc.schedule.defaults.pointwise import schedule_pointwise
from tc.schedule.defaults.rowwise import schedule_columns, schedule_rows
from tc.schedule.defaults.shape import (
    computed,
    is_column_reduction,
    is_irregular,
    is_pointwise,
    products_of,
    streams,
)
from tc.schedule.step import Schedule
from tc.target import Target


def default_schedule(
    outputs: tuple[Tensor, ...],
    inputs: tuple[Placeholder, ...] | None,
    constants: frozenset[str],
    target: Target,
    lowered: Lowered | None = None,
) -> Schedule:
    """The schedule for one kernel that computes `outputs`.

    `constants` names the inputs whose data can be laid out once; `lowered` is
    `lower_named(outputs, inputs)` where the caller has it already.
    """
    given = lower_named(outputs, inputs) if lowered is None else lowered
    plan = default_plan(outputs, constants, Plan(given, target))
    remember(given.func, plan.schedule, plan.func)
    return plan.schedule


def default_plan(outputs: tuple[Tensor, ...], constants: frozenset[str], plan: Plan) -> Plan:
    """A plan for the naive loops of `outputs`, with all steps of their family."""
    tensors = computed(outputs)
    if not tensors or is_irregular(tensors):
        plan.family = "irregular"
        return plan
    last = tensors[-1]
    parts = attention_of(tensors)
    products = list(products_of(last)) if len(tensors) == 1 else []
    experts = next((p for p in products if is_of_experts(last, p, constants)), None)
    product = next((p for p in products if streams(last, p, constants)), None)
    grouped = grouped_of(last, constants) if len(tensors) == 1 else None
    query = None if parts is None or are_few(plan, parts) else query_dim(parts)
    if parts is not None and query is not None:
        plan.family = "attention"
        schedule_attention(plan, parts, query)
    elif parts is not None:
        plan.family = "few queries"
        schedule_few_queries(plan, parts)
    elif experts is not None:
        plan.family = "experts"
        schedule_experts(plan, last, experts)
    elif product is not None:
        plan.family = "contraction"
        schedule_contraction(plan, last, product, constants)
    elif grouped is not None and isinstance(last, Compute):
        plan.family = "grouped"
        schedule_grouped(plan, last, grouped, constants)
    elif is_pointwise(tensors):
        plan.family = "pointwise"
        schedule_pointwise(plan, tensors, outputs)
    elif len(tensors) == 1 and is_column_reduction(last):
        plan.family = "columns"
        schedule_columns(plan, last)
    else:
        plan.family = "rows"
        schedule_rows(plan, tensors, outputs)
    return plan


__all__ = ["default_plan", "default_schedule"]
