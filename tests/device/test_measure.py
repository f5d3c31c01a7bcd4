"""The measured properties: the kernels, the figures' order of magnitude, and their cache."""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import time
import warnings
from dataclasses import replace

import llvmlite.binding as llvm
import pytest

from tc.codegen.llvm import probe
from tc.device import HostDevice, Measurement
from tc.device.measure import MAX_AGE_DAYS, MeasurementCache, measure
from tc.errors import CompileError
from tc.target import Target
from tests.device.programs import fake_measure

HOST = Target.parse("host")
TODAY = datetime.date.today().isoformat()
MEASURED = Measurement(100.0, 200.0, 10.0, 20.0, TODAY)


@pytest.fixture
def cache(tmp_path) -> MeasurementCache:
    return MeasurementCache.of(tmp_path / "cache", "Some CPU", HOST, 1 << 30)


def test_the_sum_is_a_sum():
    kernels = probe.build(HOST)
    count = 3 * kernels.block_bytes // 4
    numbers = (ctypes.c_float * count)(*(n % 7 for n in range(count)))
    got = kernels.sum(ctypes.addressof(numbers), 4 * count)
    assert got == sum(n % 7 for n in range(count))
    assert kernels.sum(ctypes.addressof(numbers), 0) == 0.0
    with pytest.raises(ValueError, match="no multiple"):
        kernels.sum(ctypes.addressof(numbers), 4)


def test_the_fma_loop_has_enough_accumulators_for_every_target():
    for text in ("generic", "x86-64-v2", "x86-64-v3", "x86-64-v4", "arm-neon"):
        target = Target.parse(text)
        assert 10 <= probe.accumulators(target) <= target.vector_registers - 4


def test_the_fma_loop_takes_time_in_proportion_to_its_iterations():
    kernels = probe.build(HOST)

    def seconds(iterations: int) -> float:
        start = time.perf_counter()
        kernels.fma(iterations)
        return time.perf_counter() - start

    short = min(seconds(20_000) for _ in range(10))
    long = min(seconds(200_000) for _ in range(10))
    assert 5 < long / short < 20


def test_a_target_of_another_machine_is_refused():
    foreign = "arm-neon" if HOST.arch == "x86_64" else "x86-64-v3"
    llvm.initialize_all_targets()  # as compiling for another machine does: LLVM would not refuse
    llvm.initialize_all_asmprinters()
    with pytest.raises(CompileError, match=f"code for target {foreign}"):
        probe.build(Target.parse(foreign))


def test_this_machine_is_measured_in_no_time():
    start = time.perf_counter()
    got = measure(HOST, 8 << 30)
    assert time.perf_counter() - start < 6  # 1 on a quiet machine
    assert 0.5 < got.peak_gflops_core < 1000
    assert got.peak_gflops_core <= got.peak_gflops < 1.5 * HOST.cores * got.peak_gflops_core
    assert 0.5 < got.bandwidth_core <= got.bandwidth < 2000
    assert got.measured_on == TODAY


def test_the_cache_keeps_a_measurement(cache):
    assert cache.load() is None
    assert cache.store(MEASURED)
    assert cache.load() == MEASURED
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in cache.folder.iterdir()] == [cache.path.name]


def test_the_cache_is_of_one_machine(cache):
    cache.store(MEASURED)
    others = [
        MeasurementCache.of(cache.folder, "Another CPU", HOST, 1 << 30),
        MeasurementCache.of(cache.folder, "Some CPU", replace(HOST, cores=99), 1 << 30),
    ]
    assert [other.load() for other in others] == [None, None]
    # Even under the other's name: the fingerprint inside is compared in full.
    os.rename(cache.path, others[0].path)
    assert others[0].load() is None


def test_a_measurement_grows_old(cache):
    cache.store(MEASURED)
    today = datetime.date.today()
    assert cache.load(today + datetime.timedelta(days=MAX_AGE_DAYS)) == MEASURED
    assert cache.load(today + datetime.timedelta(days=MAX_AGE_DAYS + 1)) is None
    assert cache.load(today - datetime.timedelta(days=1)) is None  # from the future: a wrong clock


def test_a_damaged_file_counts_as_none(cache):
    cache.store(MEASURED)
    whole = cache.path.read_bytes()
    for end in range(0, len(whole), 7):
        cache.path.write_bytes(whole[:end])
        assert cache.load() is None
    for place in range(0, len(whole), 5):
        cache.path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert cache.load() in (None, MEASURED)  # a flip in the white space changes nothing
    body = {**json.loads(whole)["body"], "peak_gflops": 1e9}
    cache.path.write_text(json.dumps({"sha256": json.loads(whole)["sha256"], "body": body}))
    assert cache.load() is None
    assert cache.store(MEASURED)
    assert cache.load() == MEASURED


def test_a_folder_that_others_may_write_to_is_not_trusted(cache):
    cache.store(MEASURED)
    cache.folder.chmod(0o777)
    assert cache.load() is None
    with pytest.warns(RuntimeWarning, match="others may write to it"):
        assert not cache.store(MEASURED)


def test_a_link_is_not_followed(cache, tmp_path):
    cache.store(MEASURED)
    os.rename(cache.path, tmp_path / "elsewhere")
    cache.path.symlink_to(tmp_path / "elsewhere")
    assert cache.load() is None


def test_without_a_usable_folder_one_warning_and_no_file(tmp_path):
    (tmp_path / "file").write_text("")
    host = HostDevice(cache_dir=tmp_path / "file" / "cache", measure=fake_measure)
    with pytest.warns(RuntimeWarning, match="TC_CACHE_DIR"):
        assert host.properties.peak_gflops == 200.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert host.properties.bandwidth == 20.0


def test_a_second_process_finds_what_the_first_measured(tmp_path):
    def never(*_):
        raise AssertionError

    first = HostDevice(cache_dir=tmp_path, measure=lambda *_: MEASURED)
    assert first.properties.measured_on == TODAY
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = HostDevice(cache_dir=tmp_path, measure=never)
        assert second.properties.peak_gflops == 200.0
