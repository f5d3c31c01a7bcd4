"""What every test shares: a clean environment, a private cache folder, reproducible examples."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Set before any test imports torch: the runtimes read them once, and two pytest workers that each
# start a thread per core would slow one another down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A shell lets what it starts in the background ignore interrupts; tests press Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Compiling makes an example slow now and then, so there is no deadline; derandomize makes the same
# examples run each time, so that a verdict depends on the code alone.
settings.register_profile(
    "tc", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tc")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests never read or write the user's own cache; settings of the shell do not leak in.

    All processes of a run share it: what one has compiled, the other finds.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tc-cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TC_")]:
            patch.delenv(name)
        patch.setenv("TC_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """What a test draws is the same each time, whichever tests ran before it."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.manual_seed(0)  # the other devices' are set at a cost, and unused


@pytest.fixture
def captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled is captured once for all tests, whatever they compile it for."""
    from tests.captures import shared

    monkeypatch.setattr("tc.frontend.capture.capture_request", shared)


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector of cycles need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Under `--dist loadfile`: the tests of a model together too."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.spreading import ByModelAndFile

    return ByModelAndFile(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected texts")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)`: the text is that of golden/<test file>/<name>.txt beside the test."""
    here = Path(request.path)
    folder = here.parent / "golden" / here.stem.removeprefix("test_")

    def same(name: str, text: str) -> None:
        file = folder / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n", encoding="utf-8")
        assert file.exists(), f"{file} is missing: run pytest --update-golden and read it"
        assert text + "\n" == file.read_text(encoding="utf-8")

    return same
