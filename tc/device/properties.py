"""What is known of a physical device: typed, documented, measured where it says so.

`HOST_PROPERTIES` is the one table of the keys, their units and their meaning; the reader of a
property that could not be found out gets None, never a guess. This module must not measure: a
device hands it a function that does, called at the first reading of a measured property.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from tc.errors import DeviceError, describe
from tc.frozen import frozen


@frozen
class Property:
    """A row of the table: one key that a kind of device has.

    Attributes:
        key: its name.
        type: the type of its value as text; None is always possible where it says so.
        unit: of its value, "" for none.
        doc: what it is.
        measured: whether it is measured on this machine, rather than read or known.
    """

    key: str
    type: str
    unit: str
    doc: str
    measured: bool = False


HOST_PROPERTIES = (
    Property("name", "str", "", "the device's name, unique on this machine"),
    Property("kind", "str", "", "cpu: this host itself"),
    Property("capabilities", "tuple[str, ...]", "", "what it can be asked for by"),
    Property("triple", "str", "", "LLVM's target triple"),
    Property("cpu", "str", "", "the processor's name as the operating system gives it"),
    Property("target", "str", "", "the compilation target, as tc.compile takes it"),
    Property("features", "tuple[str, ...]", "", "instruction sets, in LLVM's names"),
    Property("vector_bits", "int", "bit", "width of a vector register"),
    Property("vector_registers", "int", "", "number of vector registers"),
    Property("cores", "int", "", "physical cores that this process may use"),
    Property("l1d_bytes", "int", "byte", "first-level data cache of one core"),
    Property("l2_bytes", "int", "byte", "second-level cache that one core sees; 0: none"),
    Property("l3_bytes", "int", "byte", "third-level cache that one core sees; 0: none"),
    Property("memory_bytes", "int | None", "byte", "physical memory"),
    Property("peak_gflops_core", "float | None", "GFLOP/s", "fp32 FMA, one core", True),
    Property("peak_gflops", "float | None", "GFLOP/s", "fp32 FMA, all cores", True),
    Property("bandwidth_core", "float | None", "GB/s", "streaming read, one core", True),
    Property("bandwidth", "float | None", "GB/s", "streaming read, all cores", True),
    Property("measured_on", "str | None", "date", "when the measured ones were taken", True),
    Property(
        "tuned_coverage",
        "Coverage | None",
        "",
        "what the tuning database holds for it; None while there is no database",
    ),
)


@frozen
class Measurement:
    """The measured speed of a host: fp32 FMA in GFLOP/s, streaming reads in GB/s (10^9 byte/s).

    `measured_on` is the date as YYYY-MM-DD.
    """

    peak_gflops_core: float
    peak_gflops: float
    bandwidth_core: float
    bandwidth: float
    measured_on: str

    def as_dict(self) -> dict[str, float | str]:
        """The fields by name, for a file."""
        return asdict(self)


@frozen
class Coverage:
    """What tuning knows of a device.

    Attributes:
        workloads, trials: how many have a record, and how many there are.
        best_gflops: by family of workloads.
        fraction_of_bound: of the machine's bound, the greatest share reached; None: not known.
        last_tuned: when, as ISO 8601.
        tc_version, llvm_version: with which of them, at last.
    """

    workloads: int
    trials: int
    best_gflops: Mapping[str, float]
    fraction_of_bound: float | None
    last_tuned: str
    tc_version: str
    llvm_version: str

    def __str__(self) -> str:
        best = ", ".join(f"{k} {v:.1f}" for k, v in self.best_gflops.items())
        share = (
            "" if self.fraction_of_bound is None else f", {self.fraction_of_bound:.0%} of the bound"
        )
        return (
            f"{self.workloads} workloads, {self.trials} trials; best GFLOP/s: {best or 'none'}"
            f"{share}; last {self.last_tuned[:19]}, tc {self.tc_version}, LLVM {self.llvm_version}"
        )


class Properties(Protocol):
    """The properties of a device of any kind: attributes named by the keys of its table."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What the device can be asked for by."""

    def supported(self) -> tuple[Property, ...]:
        """The table of its kind."""

    def as_dict(self) -> dict[str, object]:
        """All values by key; measures what is to be measured."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HostProperties(Mapping[str, object]):
    """A host's properties, as attributes and as a mapping by key; see `HOST_PROPERTIES`.

    Reading a measured one measures the machine, in about a second, unless that was done before;
    it is None where measuring is not possible. As an item, a key that is not in the table raises
    DeviceError.
    """

    name: str
    kind: str
    capabilities: tuple[str, ...]
    triple: str
    cpu: str
    target: str
    features: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    cores: int
    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int
    memory_bytes: int | None
    measure: Callable[[], Measurement | None]
    coverage: Callable[[], Coverage | None] = lambda: None

    def supported(self) -> tuple[Property, ...]:
        """The table of this kind of device."""
        return HOST_PROPERTIES

    def as_dict(self) -> dict[str, object]:
        """All values by key; measures what is to be measured."""
        return dict(self)

    @property
    def tuned_coverage(self) -> Coverage | None:
        """What the tuning database holds for this device; None: nothing, or there is none."""
        return self.coverage()

    @property
    def peak_gflops_core(self) -> float | None:
        """Measured fp32 FMA of one core in GFLOP/s."""
        measured = self.measure()
        return measured.peak_gflops_core if measured else None

    @property
    def peak_gflops(self) -> float | None:
        """Measured fp32 FMA of all cores in GFLOP/s."""
        measured = self.measure()
        return measured.peak_gflops if measured else None

    @property
    def bandwidth_core(self) -> float | None:
        """Measured streaming read of one core in GB/s."""
        measured = self.measure()
        return measured.bandwidth_core if measured else None

    @property
    def bandwidth(self) -> float | None:
        """Measured streaming read of all cores in GB/s."""
        measured = self.measure()
        return measured.bandwidth if measured else None

    @property
    def measured_on(self) -> str | None:
        """The date of the measurement, YYYY-MM-DD."""
        measured = self.measure()
        return measured.measured_on if measured else None

    def __getitem__(self, key: str) -> object:
        if key not in self:
            raise DeviceError(
                describe(
                    f"property {key!r}",
                    where=self.name,
                    why="no such property",
                    way_out=f"known: {', '.join(self)}",
                )
            )
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return any(row.key == key for row in HOST_PROPERTIES)

    def __iter__(self) -> Iterator[str]:
        return (row.key for row in HOST_PROPERTIES)

    def __len__(self) -> int:
        return len(HOST_PROPERTIES)

    def __str__(self) -> str:
        """One property a line: key, value, unit."""
        lines = []
        for row in HOST_PROPERTIES:
            value = getattr(self, row.key)
            match value:
                case None:
                    text = "absent"
                case float():
                    text = f"{value:.1f} {row.unit}"
                case tuple():
                    text = " ".join(value)
                case _:
                    text = f"{value} {row.unit}"
            note = " (measured)" if row.measured and value is not None else ""
            lines.append(f"{row.key:18}{text.rstrip()}{note}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<HostProperties of {self.name}: {self.cpu}, {self.cores} cores>"
