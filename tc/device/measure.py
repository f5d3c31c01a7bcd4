"""Measure a host: the FMA rate of its vector units and the rate at which it reads memory.

The kernels come from the LLVM code generator, for the same target as compiled programs. Peaks are
the best of their repeats, for interference only ever slows a loop in registers; bandwidths are
medians, for a program can count on no more. All in all it takes about a second. What is measured
is kept in the cache folder by `MeasurementCache`. This module must not decide when to measure.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import hashlib
import json
import mmap
import os
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from tc.device.properties import Measurement
from tc.frozen import frozen
from tc.target import Target

if TYPE_CHECKING:
    from tc.codegen.llvm.probe import Kernels

MAX_AGE_DAYS = 7
_VERSION = 1  # of the method: another one makes older figures incomparable
# One timed FMA loop and one timed read are long beside their start, and so short that on a busy
# machine most of them are not interrupted.
_SLICE_SECONDS = 0.002
_LOOP_SECONDS = 0.2
_LEAST_TURNS = 5
_PIECE_BYTES = 4 << 20
_LEAST_BUFFER, _MOST_BUFFER = 64 << 20, 512 << 20


def measure(target: Target, memory_bytes: int | None) -> Measurement:
    """Measure this host with code for `target`.

    Args:
        memory_bytes: physical memory; the buffer that is read takes at most an eighth of it.

    Raises:
        CompileError: the code generator cannot make the kernels.
        MemoryError: there is no memory for the buffer.
    """
    from tc.codegen.llvm import probe  # LLVM is loaded only by whoever compiles or measures

    kernels = probe.build(target)
    core = _peak(kernels, 1)
    every = _peak(kernels, target.cores)
    size = _buffer_bytes(target, memory_bytes)
    with _buffer(size) as address:
        one = _read_rate(kernels, address, size, 1)
        all_ = _read_rate(kernels, address, size, target.cores)
    return Measurement(
        peak_gflops_core=core / 1e9,
        peak_gflops=max(core, every) / 1e9,
        bandwidth_core=one / 1e9,
        bandwidth=max(one, all_) / 1e9,
        measured_on=datetime.date.today().isoformat(),
    )


def _buffer_bytes(target: Target, memory_bytes: int | None) -> int:
    """Four times the last cache, so that at least three quarters of each pass miss it."""
    wanted = min(max(4 * max(target.l2_bytes, target.l3_bytes), _LEAST_BUFFER), _MOST_BUFFER)
    limit = memory_bytes // 8 if memory_bytes else wanted
    return max(min(wanted, limit) >> 20, 1) << 20


@contextlib.contextmanager
def _buffer(size: int) -> Iterator[int]:
    """The address of `size` bytes of memory, written to: unwritten pages would all be the same.

    Large pages, where the system has them, as programs use for their weights.
    """
    with mmap.mmap(-1, size) as memory:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without them
                memory.madvise(mmap.MADV_HUGEPAGE)
        view = (ctypes.c_char * size).from_buffer(memory)
        address = ctypes.addressof(view)
        try:
            ctypes.memset(address, 1, size)
            yield address
        finally:
            del view  # an exported buffer cannot be closed


def _peak(kernels: Kernels, threads: int) -> float:
    """FLOP/s of `threads` cores: the best slice of each while all of them are at it."""
    iterations = 1 << 14
    while (seconds := _timed(kernels.fma, iterations)) < _SLICE_SECONDS / 4:
        iterations *= 4
    iterations = max(1, int(iterations * _SLICE_SECONDS / seconds))
    times = _times(lambda *_: kernels.fma(iterations), threads)
    return sum(iterations * kernels.flops_per_iteration / min(each) for each in times)


def _read_rate(kernels: Kernels, address: int, size: int, threads: int) -> float:
    """Bytes per second of `threads` cores, each of which reads its share of the buffer in turns.

    The pieces follow one another through the whole share, so that none is in a cache when its
    turn comes again.
    """
    pieces = max(1, size // threads // _PIECE_BYTES)
    piece = min(_PIECE_BYTES, size // threads) // kernels.block_bytes * kernels.block_bytes

    def read(thread: int, turn: int) -> None:
        kernels.sum(address + (thread * pieces + turn % pieces) * piece, piece)

    return sum(piece / statistics.median(each) for each in _times(read, threads))


def _timed(work: Callable[[int], object], argument: int) -> float:
    start = time.perf_counter()
    work(argument)
    return time.perf_counter() - start


def _times(work: Callable[[int, int], object], threads: int) -> list[list[float]]:
    """The seconds of each turn of `work(thread, turn)`, for each of `threads` threads at a time.

    A foreign call releases the interpreter lock, so the threads do run side by side; each is put
    on a core of its own. All begin together and go on for `_LOOP_SECONDS`.
    """
    barrier = threading.Barrier(threads)
    times: list[list[float]] = [[] for _ in range(threads)]

    def loop(thread: int) -> None:
        if threads > 1:
            _pin(thread)
        barrier.wait()
        end = time.perf_counter() + _LOOP_SECONDS
        turn = 0
        while turn < _LEAST_TURNS or time.perf_counter() < end:
            start = time.perf_counter()
            work(thread, turn)
            times[thread].append(time.perf_counter() - start)
            turn += 1

    workers = [threading.Thread(target=loop, args=(n,), daemon=True) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return times


def _pin(number: int) -> None:
    """Bind the calling thread to the `number`-th usable CPU, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        with contextlib.suppress(OSError):  # a container may forbid it: then the system chooses
            os.sched_setaffinity(0, {usable[number % len(usable)]})


@frozen
class MeasurementCache:
    """Keeps one measurement per machine in a JSON file with a checksum, in a private folder.

    A file that is damaged, foreign, of another machine or older than `MAX_AGE_DAYS` counts as
    none. A folder that cannot be written is done without, with one warning.

    Attributes:
        folder: where the file lies; made with mode 0700 if it is not there.
        fingerprint: of the processor and of what the kernels depend on.
    """

    folder: Path
    fingerprint: str

    @staticmethod
    def of(folder: Path, cpu: str, target: Target, memory_bytes: int | None) -> MeasurementCache:
        """The cache in `folder` for this processor, target and size of memory."""
        text = json.dumps([_VERSION, cpu, str(target), memory_bytes])
        return MeasurementCache(folder, hashlib.sha256(text.encode()).hexdigest())

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"device-{self.fingerprint[:16]}.json"

    def load(self, today: datetime.date | None = None) -> Measurement | None:
        """What was measured here within `MAX_AGE_DAYS`, or None."""
        try:
            if not _is_private(self.folder) or self.path.is_symlink():
                return None
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            body = stored["body"]
            if stored["sha256"] != _checksum(body) or body["fingerprint"] != self.fingerprint:
                return None
            measured = Measurement(**{f.name: body[f.name] for f in fields(Measurement)})
            taken = datetime.date.fromisoformat(measured.measured_on)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # absent or damaged: measured anew
        age = (today or datetime.date.today()) - taken
        return measured if 0 <= age.days <= MAX_AGE_DAYS else None

    def store(self, measured: Measurement) -> bool:
        """Write it, whole or not at all; False, with one warning, if the folder forbids it."""
        body = {"fingerprint": self.fingerprint, **measured.as_dict()}
        text = json.dumps({"sha256": _checksum(body), "body": body}, indent=1)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_private(self.folder):
                raise PermissionError("it belongs to another user, or others may write to it")
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=self.path.name)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                os.replace(name, self.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(name)
                raise
        except OSError as error:
            warnings.warn(
                f"device properties: cache folder {self.folder}: {error}; measured anew in each "
                "process until TC_CACHE_DIR names a folder of your own",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        return True


def _is_private(folder: Path) -> bool:
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _checksum(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
