"""Measuring on a cluster of dask.distributed: candidates out to workers, outcomes back, in order.

A worker announces its target, processor and versions as a resource that it has once: a measurement
takes it, so that there is one at a time on each, and only on machines that are meant. Builds run on
any worker. What a worker had when it died is given to another one. The database is not known here:
outcomes go to the one process that writes it. Nothing listens beyond this machine without TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tc.autotune import farm
from tc.autotune.bench import Task
from tc.autotune.measure import BusyError, Outcome
from tc.autotune.rows import Versions
from tc.errors import TuningError, describe
from tc.frozen import frozen

if TYPE_CHECKING:
    import distributed

PREFIX: Final = "tc measures "
PAGES: Final = "127.0.0.1:0"  # where dask's own pages are served, which know no TLS
WAIT_SECONDS: Final = 60.0  # for a worker
_LOOK_SECONDS: Final = 2.0
_CONNECT_SECONDS: Final = 3.0


@frozen
class Slot:
    """What a worker measures for: a target, a processor's name, and versions."""

    target: str
    cpu: str
    versions: Versions

    @property
    def resource(self) -> str:
        """Its name among the resources of a worker."""
        return f"{PREFIX}{self.target} on {self.cpu} by {self.versions.tc}, {self.versions.llvm}"


class Cluster:
    """Workers at an address, as `tc.autotune.session.Measures`; use it as a context manager."""

    def __init__(self, address: str, slot: Slot, wait: float = WAIT_SECONDS) -> None:
        """Connect to the scheduler there, or be it where there is none.

        Args:
            address: "tcp://127.0.0.1:8786", "tls://farm:8786", or "local:2" for so many workers
                of its own on this machine.
            wait: seconds without any worker for the slot after which measuring gives up.

        Raises:
            TuningError: no address, one beyond this machine without TLS, or nobody answers there.
        """
        self._slot = slot
        self._wait = wait
        self._own: Any = None
        self._workers: list[subprocess.Popen[bytes]] = []
        self._silence = contextlib.ExitStack()
        dask = _distributed()
        local = _local_count(address)
        where = "tcp://127.0.0.1:0" if local else check_address(address)
        try:
            # What goes wrong is said once, as an error of ours.
            self._silence.enter_context(dask.utils.silence_logging_cmgr(logging.CRITICAL))
            self._client = self._connected(dask, where, local > 0)
            for _ in range(local):
                command = [sys.executable, "-m", "tc", "worker", self.address, "--quiet"]
                command += ["--target", slot.target]
                self._workers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Of the scheduler."""
        found: str = self._client.scheduler.address
        return found

    @property
    def client(self) -> distributed.Client:
        """The connection."""
        found: distributed.Client = self._client
        return found

    @property
    def workers(self) -> list[str]:
        """The addresses of those that measure for the slot."""
        known = self._client.scheduler_info(n_workers=-1)["workers"]
        return [a for a, w in known.items() if self._slot.resource in w["resources"]]

    def close(self) -> None:
        """Let go of the workers; those that are its own end."""
        for each in (getattr(self, "_client", None), self._own):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.close()
        for process in self._workers:
            process.terminate()
        for process in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_CONNECT_SECONDS)
            process.kill()
            process.wait()
        self._silence.close()

    def get_ready(self) -> None:
        """Nothing: its workers are on their way."""

    def measure(self, task: Task, schedules: Sequence[str]) -> Iterator[Outcome]:
        """See `tc.autotune.measure.Measurer.measure`.

        Raises:
            TuningError: the workload cannot be measured.
            BusyError: no worker is there for the slot.
        """
        words = task.as_dict()
        submit = self._client.submit
        futures = []
        for schedule in schedules:
            built = submit(farm.build, words, schedule, pure=False, retries=1)
            one = {self._slot.resource: 1}
            made = submit(farm.measure, words, schedule, built, pure=False, resources=one)
            futures.append(made)
        try:
            for number, future in enumerate(futures):
                yield self._outcome(number, future)
        finally:
            self._client.cancel(futures, force=True)

    def _outcome(self, number: int, future: Any) -> Outcome:
        """What became of a candidate; waits as long as there are workers."""
        dask = _distributed()
        alone = 0.0
        while alone <= self._wait:
            try:
                values = future.result(timeout=_LOOK_SECONDS)
            except TimeoutError:
                alone = 0.0 if self.workers else alone + _LOOK_SECONDS
            except dask.KilledWorker:
                return Outcome(number, None, "the workers that had it died, one after the other")
            except CancelledError as error:
                raise BusyError(
                    describe(
                        f"cluster {self.address}",
                        why=f"its scheduler is gone: {error}",
                        way_out="start it; the same command goes on where this one stopped",
                    )
                ) from error
            except Exception as error:  # noqa: BLE001  # which a worker's disk or system raised
                why = f"a worker fails: {type(error).__name__}: {error}"
                return Outcome(number, None, why, disturbed=True)
            else:
                return farm.outcome_of(number, values)
        raise BusyError(
            describe(
                f"cluster {self.address}",
                why=f"no worker there {self._slot.resource.removeprefix('tc ')}",
                way_out=f"start one on such a machine: python -m tc worker {self.address}",
            )
        )

    def _connected(self, dask: Any, where: str, own: bool) -> Any:
        """A client of the scheduler at an address, which is started here if nobody is there."""
        security = _security(where)
        if not own:
            with contextlib.suppress(OSError):
                return dask.Client(where, timeout=_CONNECT_SECONDS, security=security)
        parts = urlsplit(where)
        try:
            self._own = dask.LocalCluster(
                n_workers=0,
                host=parts.hostname,
                scheduler_port=parts.port or 0,
                protocol=f"{parts.scheme}://",
                dashboard_address=PAGES,
                scheduler_kwargs={"dashboard": False},
                security=security,
                silence_logs=50,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise TuningError(
                describe(
                    f"cluster {where}",
                    why=f"nobody answers there, and this machine cannot listen there: {error}",
                    way_out="start `dask scheduler` there, or give another address",
                )
            ) from error
        return dask.Client(self._own, security=security)


def work(address: str, slot: Slot) -> None:
    """Be a worker of the scheduler at an address, until it ends.

    Raises:
        TuningError: as `Cluster`.
    """
    dask = _distributed()
    logging.getLogger("distributed").setLevel(logging.WARNING)  # beside the progress of a run
    where = check_address(address)
    parts = urlsplit(where)

    async def run() -> None:
        worker = dask.Worker(
            where,
            nthreads=1,
            # A run on a machine that cannot run the target knows no processor's name.
            resources={each.resource: 1 for each in (slot, replace(slot, cpu=""))},
            host="127.0.0.1" if parts.scheme == "tcp" else None,
            protocol=f"{parts.scheme}://",
            security=_security(where),
            memory_limit=0,
            death_timeout=WAIT_SECONDS,
            dashboard_address=PAGES,
            dashboard=False,
        )
        async with worker:
            await worker.finished()

    try:
        asyncio.run(run())
    except OSError as error:
        raise TuningError(
            describe(f"cluster {where}", why=f"nobody answers there: {error}", way_out=_TUNE_FIRST)
        ) from error


_TUNE_FIRST = "start `tensorc tune MODEL --cluster ADDRESS`, or a dask scheduler, there first"


def check_address(address: str) -> str:
    """The address, if something may listen there.

    Raises:
        TuningError: no address, or one beyond this machine without TLS.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or port is None:
        raise TuningError(
            describe(
                f"cluster {address!r}",
                why="no address of a scheduler",
                way_out="give local:2, tcp://127.0.0.1:8786 or tls://host:8786",
            )
        )
    if parts.scheme == "tcp" and not _is_loopback(parts.hostname):
        raise TuningError(
            describe(
                f"cluster {address!r}",
                why="others could run code here: beyond this machine it takes TLS",
                way_out="give tls://host:port, with the certificates in dask's configuration",
            )
        )
    return address


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _security(address: str) -> Any:
    """What dask's configuration says of TLS, where the address asks for it."""
    if not address.startswith("tls:"):
        return None
    found = _distributed().Security(require_encryption=True)
    if not found.tls_ca_file:
        raise TuningError(
            describe(
                f"cluster {address!r}",
                why="there are no certificates",
                way_out="set distributed.comm.tls.ca-file, .scheduler, .worker and .client in "
                "dask's configuration",
            )
        )
    return found


def _local_count(address: str) -> int:
    """How many workers "local:N" asks for; 0: it is another address."""
    word, _, count = address.partition(":")
    if word != "local":
        return 0
    if not count.isdecimal() or not 1 <= int(count) <= 64:
        raise TuningError(
            describe(f"cluster {address!r}", why="not local:N with N from 1 to 64", way_out="")
        )
    return int(count)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise TuningError(
            describe(
                "cluster",
                why="dask.distributed is not installed",
                way_out="pip install 'tensorc[dist]'",
            )
        ) from error
    return distributed
