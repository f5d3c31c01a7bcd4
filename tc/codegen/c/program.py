"""The entry point of a program as C: one foreign call, one parallel region, all kernels.

For programs that are loaded into a process of Python. Threads come from the OpenMP runtime of that
process, whose functions are given by `tc_use_threads`; without it there is one thread. Kernels are
separated by barriers of our own, for the reasons that the entry of the LLVM generator has them.
This module must not know what a kernel does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tc.codegen.abi import INDEX, Call, Slot, stamp_count, turns_of

_HEAD: Final = r"""#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() ((void)0)
#endif

typedef void (*parallel_fn)(void (*)(void *), void *, unsigned, unsigned);
typedef int (*count_fn)(void);
static parallel_fn parallel;
static count_fn thread_number, team_size;

void tc_use_threads(void *start, void *number, void *size)
{
    parallel = (parallel_fn)start;
    thread_number = (count_fn)number;
    team_size = (count_fn)size;
}

/* No two threads write to what the processor fetches together. */
typedef struct {
    int64_t *args;
    char gap[128];
    _Atomic int64_t arrived;
    char more[128];
} shared_state;

/* Returns when the arrivals of the whole region are as many as are due here. */
static void barrier(shared_state *s, int64_t due)
{
    if (atomic_fetch_add_explicit(&s->arrived, 1, memory_order_acq_rel) + 1 >= due) return;
    for (int spins = 0; atomic_load_explicit(&s->arrived, memory_order_acquire) < due; spins++) {
        if (spins < 500) PAUSE();
        else sched_yield();
    }
}

/* The first failure of all threads is the one that is told: kernels come one after the other. */
static void tell(int64_t *error, int32_t failed)
{
    int32_t none = 0;
    if (failed)
        atomic_compare_exchange_strong_explicit((_Atomic int32_t *)*error, &none, failed,
                                                memory_order_relaxed, memory_order_relaxed);
}

static void stamp(int64_t *times, int64_t n)
{
    struct timespec t;
    if (!times) return;
    clock_gettime(CLOCK_MONOTONIC, &t);
    times[n] = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
"""

_TAIL: Final = f"""
static void region(void *state)
{{
    shared_state *s = state;
    work(s, thread_number(), team_size());
}}

void tc_entry(int64_t *args)
{{
    shared_state s = {{.args = args}};
    if (args[{int(Slot.THREADS)}] > 1 && parallel)
        parallel(region, &s, (unsigned)args[{int(Slot.THREADS)}], 0);
    else
        work(&s, 0, 1);
}}
"""

TYPES: Final = ("void *", "int64_t")


def entry_text(symbols: Sequence[str], calls: Sequence[Call]) -> str:
    """The C file of the entry point; `symbols` are the names of the kernels' functions."""
    arity = {symbols[c.kernel]: (len(c.buffers), len(c.symbols)) for c in calls}
    return "\n".join([_HEAD, *_declared(arity), *_work(symbols, calls), _TAIL])


def _declared(arity: Mapping[str, tuple[int, int]]) -> list[str]:
    out = []
    for symbol, (n, m) in sorted(arity.items()):
        kinds = ["void *"] * n + ["int64_t"] * (m + 2) + ["void *", "int32_t *"]
        out.append(f"void {symbol}({', '.join(kinds)});")
    return out


def _work(symbols: Sequence[str], calls: Sequence[Call]) -> list[str]:
    profile, scratch = int(Slot.PROFILE), int(Slot.SCRATCH)
    lines = [
        "",
        "static void work(shared_state *s, int64_t tid, int64_t team)",
        "{",
        "    int64_t *const a = s->args;",
        f"    char *const scratch = (char *)a[{scratch}] + tid * a[{int(Slot.SCRATCH_BYTES)}];",
        f"    int64_t *const times = a[{profile}] ? (int64_t *)a[{profile}] + "
        f"tid * {stamp_count(len(calls), 1)} : 0;",
        "    int32_t failed = 0;",
        "    int64_t due = 0;",
    ]
    for often, run in turns_of(calls):
        indent = "    " if often is None else "        "
        if often is not None:
            lines.append(f"    for (int64_t index = 0; index < a[{often}]; index++) {{")
        for number, call in run:
            args = [f"(void *)a[{n}]" for n in call.buffers]
            args += ["index" if n == INDEX else f"a[{n}]" for n in call.symbols]
            args += ["tid", "team", "scratch", "&failed"]
            lines += [
                f"{indent}stamp(times, {2 * number});",
                f"{indent}{symbols[call.kernel]}({', '.join(args)});",
                f"{indent}stamp(times, {2 * number + 1});",
                f"{indent}tell(&a[{int(Slot.ERROR)}], failed);",
                f"{indent}barrier(s, due += team);",
            ]
        lines += ["    }"] if often is not None else []
    return [*lines, "}"]
