"""An opened host whose measuring takes no time, and gates that are opened at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tc.device import HostDevice, LogicalDevice
from tests.device.programs import SOON, Gate, fake_measure


@pytest.fixture
def host(tmp_path) -> HostDevice:
    return HostDevice(cache_dir=tmp_path, measure=fake_measure)


@pytest.fixture
def device(host) -> Iterator[LogicalDevice]:
    opened = host.open()
    yield opened
    opened.close(cancel=True, timeout=SOON)


@pytest.fixture
def gates() -> Iterator[list[Gate]]:
    """Four gates, all opened when the test ends, so that no lane is left waiting."""
    made = [Gate() for _ in range(4)]
    yield made
    for gate in made:
        gate.go.set()
