"""The entry point of a program as LLVM text: one foreign call, one parallel region, all kernels.

    void entry(i64 *args)    args: the slots of `Slot`, then buffer addresses and symbol values

Threads come from `GOMP_parallel`; the size of the team is asked inside, since the runtime may give
fewer threads than were wanted. Kernels are separated by barriers of our own: the runtime's spin for
milliseconds, and where other work has taken a core so that two of the threads share one, each spins
while the other waits for that core. Ours count arrivals and give the core away after some
microseconds. This module must not know what a kernel does.
"""

from __future__ import annotations

from collections.abc import Sequence

from tc.codegen.abi import INDEX, Call, Slot, stamp_count, turns_of


def entry_text(symbols: Sequence[str], calls: Sequence[Call], arch: str) -> str:
    """The module of the entry point; `symbols` are the names of the kernels' functions."""
    # Equal kernels have one symbol; its calls have the same arity.
    arity = {symbols[c.kernel]: (len(c.buffers), len(c.symbols)) for c in calls}
    declared = [
        f"declare void @{symbol}({', '.join(['ptr'] * n + ['i64'] * (m + 2) + ['ptr'] * 2)})"
        for symbol, (n, m) in sorted(arity.items())
    ]
    declaration, pause = _PAUSES.get(arch, ("", ""))
    head = _HEAD.replace("{pause}", pause)
    return "\n".join([declaration, head, *declared, _region(symbols, calls), _ENTRY])


def _region(symbols: Sequence[str], calls: Sequence[Call]) -> str:
    lines = [_WORK, "entry:"]
    for slot in (Slot.PROFILE, Slot.SCRATCH, Slot.SCRATCH_BYTES, Slot.ERROR, Slot.HINTS):
        lines += _slot(f"s{slot.value}", slot)
    lines += [
        f"  %share = mul i64 %tid, %s{Slot.SCRATCH_BYTES.value}",
        f"  %base = inttoptr i64 %s{Slot.SCRATCH.value} to ptr",
        "  %scratch = getelementptr i8, ptr %base, i64 %share",
        f"  %error = inttoptr i64 %s{Slot.ERROR.value} to ptr",
        f"  %hints = inttoptr i64 %s{Slot.HINTS.value} to ptr",
        f"  %profiles = icmp ne i64 %s{Slot.PROFILE.value}, 0",
        f"  %stamps = inttoptr i64 %s{Slot.PROFILE.value} to ptr",
        f"  %mine = mul i64 %tid, {stamp_count(len(calls), 1)}",
        "  %times = getelementptr i64, ptr %stamps, i64 %mine",
    ]
    times = {c.loop[1] for c in calls if c.loop is not None}
    used = sorted({n for c in calls for n in (*c.buffers, *c.symbols)} - {INDEX} | times)
    for n in used:
        lines += _slot(f"s{n}", n)
    pointers = sorted({n for c in calls for n in c.buffers})
    lines += [f"  %p{n} = inttoptr i64 %s{n} to ptr" for n in pointers]
    steps = [n for n, call in enumerate(calls) if call.loop is None][-_HINT_STEPS:]
    due, block = "0", "entry"
    for often, run in turns_of(calls):
        if often is None:
            made, due = _turn(symbols, run, due, "", steps)
            lines += made
            continue
        loop = f"loop{run[0][0]}"
        made, after = _turn(symbols, run, f"%{loop}.due", f"%{loop}.index", steps)
        lines += [
            f"  br label %{loop}",
            f"{loop}:",
            f"  %{loop}.index = phi i64 [ 0, %{block} ], [ %{loop}.next, %{loop}.turn ]",
            f"  %{loop}.due = phi i64 [ {due}, %{block} ], [ {after}, %{loop}.turn ]",
            f"  %{loop}.more = icmp slt i64 %{loop}.index, %s{often}",
            f"  br i1 %{loop}.more, label %{loop}.turn, label %{loop}.done",
            f"{loop}.turn:",
            *made,
            f"  %{loop}.next = add i64 %{loop}.index, 1",
            f"  br label %{loop}",
            f"{loop}.done:",
        ]
        due, block = f"%{loop}.due", f"{loop}.done"
    return "\n".join([*lines, "  ret void", "}"])


def _turn(
    symbols: Sequence[str],
    run: Sequence[tuple[int, Call]],
    due: str,
    index: str,
    steps: Sequence[int],
) -> tuple[list[str], str]:
    """Calls one after the other, after so many arrivals as are `due`; what is due then.

    Before each of `steps` a part of the hints is followed.
    """
    lines: list[str] = []
    for number, call in run:
        args = [f"ptr %p{n}" for n in call.buffers]
        args += [f"i64 {index if n == INDEX else f'%s{n}'}" for n in call.symbols]
        args += ["i64 %tid", "i64 %team", "ptr %scratch", "ptr %error"]
        # The end of the region is a barrier too, but the runtime's.
        if number in steps:
            at = f"i64 {steps.index(number)}, i64 {len(steps)}"
            lines.append(f"  call void @tc.hint(ptr %hints, i64 %tid, {at})")
        lines += [
            f"  call void @tc.stamp(i1 %profiles, ptr %times, i64 {2 * number})",
            f"  call void @{symbols[call.kernel]}({', '.join(args)})",
            f"  call void @tc.stamp(i1 %profiles, ptr %times, i64 {2 * number + 1})",
            f"  %due{number} = add i64 {due}, %team",
            f"  call void @tc.barrier(ptr %arrived, i64 %due{number})",
        ]
        due = f"%due{number}"
    return lines, due


def _slot(name: str, slot: int) -> list[str]:
    return [
        f"  %a.{name} = getelementptr i64, ptr %args, i64 {int(slot)}",
        f"  %{name} = load i64, ptr %a.{name}, align 8",
    ]


# What tells the processor that a thread only waits: (declaration, call). Not as assembly text,
# which LLVM can read for this machine alone.
_PAUSES = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
# The caller's own memory has left the caches by the end of a large program. What it wants then is
# asked for in parts so small that the kernel after each does not wait for them.
_HINT_STEPS = 32
_SPINS = 500  # some 10 to 20 microseconds, longer than threads of equal shares are apart

_HEAD = f"""\
declare void @GOMP_parallel(ptr, ptr, i32, i32)
declare i32 @omp_get_thread_num()
declare i32 @omp_get_num_threads()
declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_yield()

; Returns when the arrivals of the whole region are as many as are due here.
define internal void @tc.barrier(ptr %arrived, i64 %due) nounwind {{
  %before = atomicrmw add ptr %arrived, i64 1 acq_rel
  %now = add i64 %before, 1
  %last = icmp sge i64 %now, %due
  br i1 %last, label %done, label %wait
wait:
  %spins = phi i64 [ 0, %0 ], [ %more, %spin ], [ {_SPINS}, %give ]
  %count = load atomic i64, ptr %arrived acquire, align 8
  %all = icmp sge i64 %count, %due
  br i1 %all, label %done, label %early
early:
  %soon = icmp slt i64 %spins, {_SPINS}
  br i1 %soon, label %spin, label %give
spin:
  {{pause}}
  %more = add i64 %spins, 1
  br label %wait
give:
  %given = call i32 @sched_yield()
  br label %wait
done:
  ret void
}}

declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare i64 @llvm.smin.i64(i64, i64)

; Asks for one of so many parts of the hints, into the caches of the caller's own thread. That never
; faults, wherever they lead.
define internal void @tc.hint(ptr %hints, i64 %tid, i64 %step, i64 %steps) nounwind {{
  %none = icmp eq ptr %hints, null
  %other = icmp ne i64 %tid, 0
  %idle = or i1 %none, %other
  br i1 %idle, label %done, label %some
some:
  %n = load i64, ptr %hints, align 8
  %up = add i64 %n, %steps
  %most = sub i64 %up, 1
  %each = sdiv i64 %most, %steps
  %first = mul i64 %each, %step
  %behind = add i64 %first, %each
  %stop = call i64 @llvm.smin.i64(i64 %behind, i64 %n)
  br label %head
head:
  %i = phi i64 [ %first, %some ], [ %next, %body ]
  %more = icmp slt i64 %i, %stop
  br i1 %more, label %body, label %done
body:
  %next = add i64 %i, 1
  %at = getelementptr i64, ptr %hints, i64 %next
  %place = load ptr, ptr %at, align 8
  call void @llvm.prefetch.p0(ptr %place, i32 0, i32 3, i32 1)
  br label %head
done:
  ret void
}}

define internal void @tc.stamp(i1 %wanted, ptr %times, i64 %n) nounwind {{
  br i1 %wanted, label %read, label %done
read:
  %t = alloca [2 x i64], align 8
  %ok = call i32 @clock_gettime(i32 1, ptr %t)
  %s = load i64, ptr %t, align 8
  %pf = getelementptr i64, ptr %t, i64 1
  %f = load i64, ptr %pf, align 8
  %whole = mul i64 %s, 1000000000
  %ns = add i64 %whole, %f
  %at = getelementptr i64, ptr %times, i64 %n
  store i64 %ns, ptr %at, align 8
  br label %done
done:
  ret void
}}
"""

_WORK = "define internal void @tc.work(ptr %args, i64 %tid, i64 %team, ptr %arrived) nounwind {"

_LINE = 128  # bytes; no two threads write to what the processor fetches together

_ENTRY = f"""\
define internal void @tc.region(ptr %shared) nounwind {{
  %args = load ptr, ptr %shared, align 8
  %arrived = getelementptr i8, ptr %shared, i64 {_LINE}
  %tid32 = call i32 @omp_get_thread_num()
  %team32 = call i32 @omp_get_num_threads()
  %tid = sext i32 %tid32 to i64
  %team = sext i32 %team32 to i64
  call void @tc.work(ptr %args, i64 %tid, i64 %team, ptr %arrived)
  ret void
}}

define void @tc.entry(ptr %args) nounwind {{
  %a = getelementptr i64, ptr %args, i64 {int(Slot.THREADS)}
  %n = load i64, ptr %a, align 8
  %shared = alloca [{2 * _LINE} x i8], align {_LINE}
  store ptr %args, ptr %shared, align 8
  %arrived = getelementptr i8, ptr %shared, i64 {_LINE}
  store i64 0, ptr %arrived, align 8
  %many = icmp sgt i64 %n, 1
  br i1 %many, label %team, label %alone
team:
  %n32 = trunc i64 %n to i32
  call void @GOMP_parallel(ptr @tc.region, ptr %shared, i32 %n32, i32 0)
  ret void
alone:
  call void @tc.work(ptr %args, i64 0, i64 1, ptr %arrived)
  ret void
}}
"""

# Stands in for the OpenMP runtime where there is none: a team of one.
SINGLE_THREAD = """\
define void @GOMP_parallel(ptr %region, ptr %args, i32 %n, i32 %flags) nounwind {
  call void %region(ptr %args)
  ret void
}
define i32 @omp_get_thread_num() nounwind {
  ret i32 0
}
define i32 @omp_get_num_threads() nounwind {
  ret i32 1
}
"""
