"""Finding and selecting devices, and what their properties promise."""

from __future__ import annotations

import warnings

import pytest

from tc.device import (
    HOST_PROPERTIES,
    HostDevice,
    Property,
    devices,
    host_device,
    register_provider,
    supported_properties,
    unregister_provider,
)
from tc.errors import CompileError, DeviceError
from tc.target import Target
from tests.device.programs import fake_measure


class Model:
    """A device of another kind, as a provider would give it."""

    def __init__(self, name: str, latency: float) -> None:
        self.name, self.kind, self.latency_ms = name, "model", latency
        self.capabilities = ("text-embedding",)
        self.properties = self

    def preference(self, prefer: str) -> float | None:
        return -self.latency_ms if prefer == "fastest" else None


@pytest.fixture
def models():
    table = (Property("latency_ms", "float", "ms", "of one call"),)
    register_provider("model", lambda: [Model("slow", 9.0), Model("fast", 1.0)], table)
    yield
    unregister_provider("model")


def test_this_host_is_listed():
    (host,) = devices()
    assert host is host_device()
    assert (host.name, host.kind) == ("cpu:0", "cpu")


def test_the_facts_are_those_of_the_target(host):
    target = Target.parse("host")
    got = host.properties
    assert Target.parse(got.target) == target
    assert (got.cores, got.vector_bits, got.l1d_bytes, got.l2_bytes, got.l3_bytes) == (
        target.cores,
        target.vector_bits,
        target.l1d_bytes,
        target.l2_bytes,
        target.l3_bytes,
    )
    assert got.triple == target.llvm_triple
    assert all(target.has(feature) for feature in got.features)
    assert got.memory_bytes > 1 << 26
    assert got.cpu


def test_the_table_is_what_there_is(host):
    keys = [row.key for row in host.properties.supported()]
    assert keys == list(host.properties) == list(host.properties.as_dict())
    assert len(set(keys)) == len(keys) == len(host.properties)
    for row in HOST_PROPERTIES:
        assert row.doc
        value = host.properties[row.key]
        assert type(value).__name__ in row.type or value is None
        assert row.unit or not isinstance(value, float)
    assert host.properties["tuned_coverage"] is None


def test_an_unknown_property(host):
    with pytest.raises(DeviceError, match=r"property 'colour': cpu:0: no such.*known: name, kind"):
        host.properties["colour"]


def test_properties_print_with_units(host):
    text = str(host.properties)
    assert "peak_gflops       200.0 GFLOP/s (measured)" in text
    assert "tuned_coverage    absent" in text
    assert "features" in text
    assert "cpu:0" in repr(host)
    assert "cpu:0" in repr(host.properties)


@pytest.mark.usefixtures("models")
def test_supported_properties():
    assert supported_properties("cpu") == HOST_PROPERTIES
    assert [row.key for row in supported_properties("model")] == ["latency_ms"]
    assert {row.key for row in supported_properties()} > {"latency_ms", "cores"}
    with pytest.raises(DeviceError, match="device kind 'gpu': unknown; known: cpu, model"):
        supported_properties("gpu")


@pytest.mark.usefixtures("models")
def test_selection():
    assert [d.name for d in devices()] == ["cpu:0", "slow", "fast"]
    assert [d.name for d in devices("text-embedding", prefer="fastest")] == ["fast", "slow"]
    assert [d.name for d in devices(where=lambda p: p.latency_ms < 5)] == ["fast"]
    assert [d.name for d in devices(prefer="cheapest")] == ["cpu:0", "slow", "fast"]  # no prices
    assert [d.name for d in devices(capability="programs")] == ["cpu:0"]


@pytest.mark.usefixtures("models")
def test_nothing_matching_says_what_failed_which_condition():
    with pytest.raises(DeviceError) as caught:
        devices(capability="text-embedding", where=lambda p: p.latency_ms < 0.5)
    text = str(caught.value)
    assert "cpu:0 failed capability='text-embedding' (it has: programs)" in text
    assert "slow failed where (it was false); fast failed where (it was false)" in text
    with pytest.raises(DeviceError, match="cpu:0 failed where .a property is absent: .*latency_ms"):
        devices(where=lambda p: p.latency_ms < 0.5)


def test_an_unknown_preference():
    with pytest.raises(DeviceError, match="prefer='prettiest': unknown; known: fastest, cheapest"):
        devices(prefer="prettiest")


@pytest.mark.usefixtures("models")
def test_a_kind_has_one_provider():
    with pytest.raises(DeviceError, match="device kind 'cpu': it has a provider already"):
        register_provider("cpu", list, ())


def test_measured_lazily_and_once(tmp_path):
    calls = []

    def count(*arguments):
        calls.append(arguments)
        return fake_measure()

    host = HostDevice(cache_dir=tmp_path, measure=count)
    assert host.properties.cores >= 1
    assert calls == []
    assert host.properties.peak_gflops == 200.0
    assert host.properties.bandwidth_core == 10.0
    assert len(calls) == 1
    host.measurement(again=True)
    assert len(calls) == 2


def test_where_measuring_fails_the_properties_are_absent(tmp_path):
    def fail(*_):
        raise CompileError("no kernels")

    host = HostDevice(cache_dir=tmp_path, measure=fail)
    with pytest.warns(RuntimeWarning, match="cpu:0: cannot be measured: no kernels"):
        assert host.properties.peak_gflops is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert host.properties.measured_on is None
    assert list(tmp_path.iterdir()) == []
