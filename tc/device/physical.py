"""Physical devices: what can run programs, how it is found, and how it is selected.

Each kind of device has a provider, a function that lists the devices of that kind which are there.
This host, kind "cpu", is one; emulated targets, remote workers and models are further providers.
This module must not run programs, nor know what a provider other than the host's does.
"""

from __future__ import annotations

import os
import platform
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tc.device.logical import DeviceOptions, LogicalDevice
from tc.device.measure import MeasurementCache, measure
from tc.device.properties import (
    HOST_PROPERTIES,
    Coverage,
    HostProperties,
    Measurement,
    Properties,
    Property,
)
from tc.errors import DeviceError, TcError, describe
from tc.target import Target


class PhysicalDevice(Protocol):
    """Something that can run programs; a provider returns such objects."""

    @property
    def name(self) -> str:
        """Its name, unique on this machine, such as "cpu:0"."""

    @property
    def kind(self) -> str:
        """The kind of device: the name of its provider."""

    @property
    def properties(self) -> Properties:
        """What is known of it; measured properties are measured when they are read."""

    def preference(self, prefer: str) -> float | None:
        """How well it does by `prefer`, one of `PREFERENCES`, the greater the better; None: no
        figure is known."""

    def open(
        self,
        credentials: Mapping[str, str] | None = None,
        options: DeviceOptions | Mapping[str, int | None] | None = None,
    ) -> LogicalDevice:
        """Open it: a logical device with queues of its own."""


PREFERENCES = ("fastest", "cheapest", "most_accurate")


class HostDevice:
    """This host: its usable cores, as one device that runs programs compiled for it."""

    def __init__(
        self,
        *,
        target: Target | None = None,
        cache_dir: Path | None = None,
        measure: Callable[[Target, int | None], Measurement] = measure,
    ) -> None:
        """A device for this host.

        Args:
            target: what programs are compiled for; default: "host".
            cache_dir: folder that keeps what was measured; None: kept in this process only.
            measure: how to measure; another one in tests.
        """
        self._target = target or Target.parse("host")
        self.cache_dir = cache_dir
        self._measure = measure
        self._lock = threading.Lock()
        self._measured: Measurement | None = None
        self._tried = False
        self.coverage: Callable[[], Coverage | None] | None = None
        self._memory = _memory_bytes()
        self._properties = HostProperties(
            name="cpu:0",
            kind="cpu",
            capabilities=("programs",),
            triple=self._target.llvm_triple,
            cpu=cpu_name(),
            target=str(self._target),
            features=tuple(f[1:] for f in self._target.llvm_features.split(",") if f[:1] == "+"),
            vector_bits=self._target.vector_bits,
            vector_registers=self._target.vector_registers,
            cores=self._target.cores,
            l1d_bytes=self._target.l1d_bytes,
            l2_bytes=self._target.l2_bytes,
            l3_bytes=self._target.l3_bytes,
            memory_bytes=self._memory,
            measure=self.measurement,
            coverage=self._coverage,
        )

    @property
    def name(self) -> str:
        """ "cpu:0"."""
        return self._properties.name

    @property
    def kind(self) -> str:
        """ "cpu"."""
        return self._properties.kind

    @property
    def target(self) -> Target:
        """What programs for this device are compiled for."""
        return self._target

    @property
    def properties(self) -> HostProperties:
        """What is known of it; measured properties are measured when they are first read."""
        return self._properties

    def measurement(self, *, again: bool = False) -> Measurement | None:
        """The measured properties: from this process, else the cache folder, else measured now.

        `again` measures in any case. None, with a warning, where measuring fails.
        """
        with self._lock:
            if self._tried and not again:
                return self._measured
            cache = self._cache()
            self._measured = cache.load() if cache and not again else None
            if self._measured is None:
                try:
                    self._measured = self._measure(self._target, self._memory)
                except (TcError, MemoryError, ImportError) as error:
                    warnings.warn(
                        f"{self.name}: cannot be measured: {error}", RuntimeWarning, stacklevel=2
                    )
                if cache and self._measured:
                    cache.store(self._measured)
            self._tried = True
            return self._measured

    def _coverage(self) -> Coverage | None:
        """What tuning knows of it, where somebody has said who can tell."""
        return None if self.coverage is None else self.coverage()

    def _cache(self) -> MeasurementCache | None:
        if self.cache_dir is None:
            return None
        return MeasurementCache.of(self.cache_dir, self._properties.cpu, self._target, self._memory)

    def preference(self, prefer: str) -> float | None:
        """By speed: the measured peak; a host has neither a price nor an accuracy."""
        return self.properties.peak_gflops if prefer == "fastest" else None

    def open(
        self,
        credentials: Mapping[str, str] | None = None,
        options: DeviceOptions | Mapping[str, int | None] | None = None,
    ) -> LogicalDevice:
        """Open it: a logical device with queues of its own.

        Raises:
            DeviceError: credentials, of which a host takes none; an unknown or bad option.
        """
        if credentials:
            raise DeviceError(
                describe(
                    "credentials", where=self.name, why="this host takes none", way_out="omit them"
                )
            )
        return LogicalDevice(self, DeviceOptions.of(options))

    def __repr__(self) -> str:
        return f"<PhysicalDevice {self.name}: {self.properties.cpu}, {self.properties.cores} cores>"


Provider = Callable[[], Iterable[PhysicalDevice]]
_LOCK = threading.RLock()  # a provider may itself look for devices
_HOST: list[HostDevice] = []
_SHARED: list[LogicalDevice] = []


def host_device(cache_dir: Path | None = None) -> HostDevice:
    """This host, the same object at every call.

    Args:
        cache_dir: folder that keeps what is measured, from now on; None: as it was.
    """
    with _LOCK:
        if not _HOST:
            _HOST.append(HostDevice())
        if cache_dir is not None:
            _HOST[0].cache_dir = cache_dir
        return _HOST[0]


_PROVIDERS: dict[str, Provider] = {"cpu": lambda: (host_device(),)}
_TABLES: dict[str, tuple[Property, ...]] = {"cpu": HOST_PROPERTIES}


def register_provider(kind: str, provider: Provider, table: tuple[Property, ...]) -> None:
    """Add a kind of device: its provider and the table of its properties.

    Raises:
        DeviceError: the kind has a provider already.
    """
    with _LOCK:
        if kind in _PROVIDERS:
            raise DeviceError(
                describe(
                    f"device kind {kind!r}",
                    why="it has a provider already",
                    way_out="choose another name",
                )
            )
        _PROVIDERS[kind], _TABLES[kind] = provider, table


def unregister_provider(kind: str) -> None:
    """Take a kind of device away again; devices that are open stay open."""
    with _LOCK:
        _PROVIDERS.pop(kind, None)
        _TABLES.pop(kind, None)


def supported_properties(kind: str | None = None) -> tuple[Property, ...]:
    """The keys that devices have, with types, units and meaning: of one kind, or of all."""
    with _LOCK:
        if kind is not None and kind not in _TABLES:
            raise DeviceError(
                describe(
                    f"device kind {kind!r}", why="unknown", way_out=f"known: {', '.join(_TABLES)}"
                )
            )
        tables = list(_TABLES.values()) if kind is None else [_TABLES[kind]]
    return tuple({row.key: row for table in tables for row in table}.values())


def devices(
    capability: str | None = None,
    where: Callable[[Any], bool] | None = None,
    prefer: str | None = None,
    *,
    cache_dir: Path | None = None,
) -> list[PhysicalDevice]:
    """The devices that fulfil every condition; all devices that there are, without one.

    Args:
        capability: what the device must be able to do, such as "text-generation".
        where: a condition on its properties; one that reads an absent property is not fulfilled.
        prefer: one of `PREFERENCES`: sorts the list, the best device first.
        cache_dir: folder that keeps what is measured of this host, see `host_device`.

    Raises:
        DeviceError: no device fulfils the conditions: says which failed which; or an unknown
            preference.
    """
    if prefer is not None and prefer not in PREFERENCES:
        raise DeviceError(
            describe(
                f"prefer={prefer!r}", why="unknown", way_out=f"known: {', '.join(PREFERENCES)}"
            )
        )
    if cache_dir is not None:
        host_device(cache_dir)
    with _LOCK:
        present = [device for provider in _PROVIDERS.values() for device in provider()]
    failures = {device.name: _failed_condition(device, capability, where) for device in present}
    found = [device for device in present if failures[device.name] is None]
    if not found:
        listed = "; ".join(f"{name} failed {why}" for name, why in failures.items())
        raise DeviceError(
            describe(
                "devices",
                why=f"none fulfils the conditions ({listed or 'there is no device at all'})",
                way_out="loosen the conditions, or add a device that fulfils them",
            )
        )
    if prefer is not None:
        found.sort(key=lambda device: _rank(device.preference(prefer)))
    return found


def shared_device() -> LogicalDevice:
    """The logical device of this host that the programs of this process share.

    Opened at first use, and anew after it was closed or lost.
    """
    with _LOCK:
        if not _SHARED or _SHARED[0].error is not None:
            _SHARED[:] = [host_device().open()]
        return _SHARED[0]


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as the operating system gives it, else the type of the machine."""
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass  # not Linux: the platform's own words will do
    return platform.processor() or platform.machine()


def _rank(score: float | None) -> tuple[bool, float]:
    return (score is None, -(score or 0.0))


def _failed_condition(
    device: PhysicalDevice,
    capability: str | None,
    where: Callable[[Any], bool] | None,
) -> str | None:
    """Which condition the device fails, as text; None if it fails none."""
    able = device.properties.capabilities
    if capability is not None and capability not in able:
        return f"capability={capability!r} (it has: {', '.join(able)})"
    if where is None:
        return None
    try:
        return None if where(device.properties) else "where (it was false)"
    except (AttributeError, TypeError, DeviceError) as error:
        return f"where (a property is absent: {error})"


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None  # the system does not tell


def _unlock_after_fork() -> None:
    global _LOCK
    _LOCK = threading.RLock()
    for device in _HOST:
        device._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_after_fork)
