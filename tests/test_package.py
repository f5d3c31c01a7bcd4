"""The distribution: built from its own source archive, tried in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("tc", "tuning_db", "pyproject.toml", "README.md", "LICENSE")

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made from the source archive, that from a copy: the checkout stays clean."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=ignore)
        else:
            shutil.copy2(ROOT / part, source / part)
    # No isolation: the build's only requirement, setuptools, is here; nothing is downloaded.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", "out", cwd=source)
    (built,) = (source / "out").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment's interpreter: tc from the wheel, its requirements from this one's."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    interpreter = folder / "env/bin/python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(interpreter, "-c", query, cwd=folder).strip())
    install = ("-m", "pip", "--python", interpreter, "install", "--no-deps", "--no-index", wheel)
    run(sys.executable, *install, cwd=folder)
    # A line of a .pth file only appends to the path: .pth files of the folder named, that of an
    # editable tc above all, are not read.
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def test_the_wheel_holds_every_module_and_the_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "tc").rglob("*.py")}
    data = {f"tc/{p.relative_to(ROOT)}" for p in (ROOT / "tuning_db").rglob("*") if p.is_file()}
    assert data
    assert (modules | data | {"tc/py.typed"}) - names == set()
    assert {name.split("/")[0] for name in names} == {"tc", f"tensorc-{version(wheel)}.dist-info"}


def version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


def test_the_metadata(wheel: Path) -> None:
    info = f"tensorc-{version(wheel)}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        meta = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
        entries = archive.read(f"{info}/entry_points.txt").decode()
        assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert (meta["Name"], meta["License-Expression"]) == ("tensorc", "Apache-2.0")
    assert meta["Requires-Python"] == ">=3.11"
    extras = {"torch", "hf", "tune", "dist", "plot", "bench", "llamacpp", "dev"}
    assert set(meta.get_all("Provides-Extra", [])) == extras
    assert "tensorc = tc.cli:main" in entries
    assert "[torch_dynamo_backends]\ntc = tc.frontend.dynamo:backend" in entries


def test_the_installed_package(python: Path, wheel: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.resources as r, sys, tc\n"
        "files = r.files('tc')\n"
        "print(tc.__version__, tc.__file__.startswith(sys.prefix),\n"
        "      (files / 'py.typed').is_file(), (files / 'tuning_db/README.md').is_file(),\n"
        "      'torch' in sys.modules, tc.Target.parse('x86-64-v3').vector_bits)\n"
    )
    said = run(python, "-c", code, cwd=tmp_path).split()
    assert said == [version(wheel), "True", "True", "True", "False", "256"]


def test_the_console_script(python: Path, tmp_path: Path) -> None:
    said = run(python.parent / "tensorc", "--help", cwd=tmp_path)
    assert "Usage: tensorc" in said
