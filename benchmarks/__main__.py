"""`python -m benchmarks`: every benchmark, one after the other, into one report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import compile, gemm, load, models, report

PARTS = ("gemm", "models", "compile")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="gemm, models, compile (all)")
    models.add_options(parser)
    options = parser.parse_args(arguments)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; parts: {', '.join(PARTS)}")
    return options


def run_part(part: str, options: argparse.Namespace) -> tuple[list[report.Table], dict[str, Any]]:
    """One part with the shared options and its own defaults."""
    flags = ["--quick"] * options.quick + ["--force"] * options.force
    match part:
        case "gemm":
            return gemm.run(gemm.parse(flags))
        case "models":
            return models.run(models.parse(flags))
        case _:
            return compile.run(compile.parse(flags))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 when a part was refused."""
    options = parse(arguments)
    tables: list[report.Table] = []
    figures: dict[str, Any] = {}
    status = 0
    for part in options.parts or PARTS:
        try:
            more, found = run_part(part, options)
        except (load.LoadError, RuntimeError) as error:
            print(f"error: {part}: {error}", file=sys.stderr)
            status = 1
            continue
        for table in more:
            report.show(table)
        tables += more
        figures |= found
    report.write(tables, figures, load.chosen_cores(), options.json, options.markdown)
    return status


if __name__ == "__main__":
    sys.exit(main())
