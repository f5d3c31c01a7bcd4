"""GPT-2 as a folder of C: what exporting, building and starting it takes, in time and memory.

Everything is measured in fresh processes: each export has an empty cache folder of its own.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.compile import Figure, absent, child, seconds_figure
from benchmarks.protocol import Case
from benchmarks.zoo import prompt_ids

ROW = "GPT-2 folder"
CASE: Case = {"model": "GPT-2", "precision": "fp32", "prompt": 32, "new": 64}
MODULE = "benchmarks.standalone_child"
STARTS = 11


def digests(folder: Path) -> dict[str, str]:
    """A digest of each file of a folder, by name."""
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def equal_share(one: Mapping[str, str], other: Mapping[str, str]) -> float:
    """Share of the files of either folder that are the same in both."""
    names = one.keys() | other.keys()
    return sum(one.get(name) == other.get(name) for name in names) / len(names) if names else 0.0


def export_figures(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Figure]:
    """What an export took: the faster of two, for it reads and writes hundreds of megabytes."""
    for each in (first, second):
        if "unavailable" in each:
            return [absent("export", "c export", each)]
    found = min(first, second, key=lambda each: each["compile_seconds"] + each["export_seconds"])
    total = found["compile_seconds"] + found["export_seconds"]
    return [
        seconds_figure("tc.compile, cold", found["compile_seconds"]),
        seconds_figure("export_c alone", found["export_seconds"]),
        seconds_figure("tc.compile and export_c", total, "c export"),
        Figure("lines of C", f"{found['lines']}"),
        Figure("weights.bin", f"{found['weights_bytes'] / 1e6:.0f} MB"),
    ]


def equal_figure(one: Mapping[str, str], other: Mapping[str, str]) -> Figure:
    """The two exports held against each other."""
    share = equal_share(one, other)
    different = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    what = f"equal files of two exports ({', '.join(sorted(different))} differ)" if different else (
        "equal files of two exports")  # fmt: skip
    return Figure(what, f"{share:.0%}", share, "c equal exports", 100.0)


def build_figures(found: Mapping[str, Any]) -> list[Figure]:
    """What `make CC=gcc` took."""
    if "unavailable" in found:
        return [absent("make CC=gcc", "c build", found)]
    peak = found["peak_bytes"]
    return [
        seconds_figure("make CC=gcc", found["seconds"], "c build"),
        Figure("make CC=gcc: peak memory", f"{peak / 2**20:.0f} MiB", peak, "c build memory",
               2.0**-30),
    ]  # fmt: skip


def start_figure(found: Mapping[str, Any]) -> Figure:
    """From the start of the process to its end with the first token."""
    what = "start to first token"
    if "unavailable" in found:
        return absent(what, "c start", found)
    return seconds_figure(what, found["seconds"], "c start")


def memory_figure(found: Mapping[str, Any]) -> Figure:
    """Private memory of a process that generates."""
    what = "private memory beyond weights.bin"
    if "unavailable" in found:
        return absent(what, "c private memory", found)
    size = found["private_bytes"]
    return Figure(what, f"{size / 1e6:.1f} MB", size, "c private memory", 1e-6)


def measure_folder(cores: tuple[int, ...], quick: bool) -> list[Figure]:
    """All of it; a second export in quick mode finds the first one's compiled code."""
    about = json.dumps(dict(CASE))
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-standalone-") as scratch,
        tempfile.TemporaryDirectory(prefix="benchmarks-cache-") as cache,
        tempfile.TemporaryDirectory(prefix="benchmarks-cache-") as another,
    ):
        folders = [Path(scratch) / name for name in ("first", "second")]
        exports = []
        for folder, used in zip(folders, (cache, cache if quick else another), strict=True):
            report.announce(f"export of {CASE['model']} …")
            exports.append(child(["export", about, str(folder)], cores, used, MODULE))
        figures = export_figures(*exports)
        if any("unavailable" in each for each in exports):
            return figures
        figures.append(equal_figure(*map(digests, folders)))
        return figures + _built_figures(folders[0], cores, cache)


def _built_figures(folder: Path, cores: tuple[int, ...], cache: str) -> list[Figure]:
    def ask(what: str, *words: str) -> dict[str, Any]:
        report.announce(f"{what} of {CASE['model']} as C …")
        return child([what, str(folder), *words], cores, cache, MODULE)

    built = ask("build")
    figures = build_figures(built)
    if "unavailable" in built:
        return figures
    ids = ",".join(map(str, prompt_ids(CASE)[0].tolist()))
    figures.append(start_figure(ask("start", ids, str(STARTS))))
    figures.append(memory_figure(ask("memory", ids, str(CASE["new"]))))
    return figures


def folder_table(figures: Sequence[Figure], notes: Sequence[str]) -> report.Table:
    """All figures."""
    rows = tuple((figure.what, figure.value, figure.reason) for figure in figures)
    return report.Table(f"{CASE['model']} as a folder of C", ("what", "value", "reason"), rows,
                        tuple(notes))  # fmt: skip
