"""`python -m benchmarks`: tc beside its peers, part by part.

Every part checks the outputs of all contenders before it times anything, refuses to time on cores
that other processes use, and prints its tables. With --out everything is also written to a folder,
as JSON, Markdown and pictures, which `--readme` makes the README's figures of.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    compile,
    decode,
    gemm,
    load,
    models,
    operators,
    precision,
    readme,
    record,
    report,
    standalone,
    sweep,
)
from benchmarks.part import Options
from benchmarks.pictures import draw

PARTS = {
    "models": models.PART,
    "precision": precision.PART,
    "decode": decode.PART,
    "t5": decode.T5_PART,
    "gemm": gemm.PART,
    "sweep": sweep.PART,
    "attention": operators.ATTENTION_PART,
    "operators": operators.PART,
    "compile": compile.PART,
    "standalone": standalone.PART,
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    add("--list", action="store_true", help="name the parts, their rows and contenders, and end")
    add("--rows", nargs="+", default=[], metavar="TEXT", help="only rows whose name contains one")
    add("--peers", nargs="+", default=[], metavar="NAME", help="only these contenders")
    add("--quick", action="store_true", help="fewer and shorter rounds, a sample of the grid")
    add("--force", action="store_true", help="time on a busy machine all the same")
    add("--cores", type=int, metavar="COUNT", help="cores to use (all)")
    add("--out", type=Path, metavar="FOLDER", help="write JSON, Markdown and pictures to it")
    add("--readme", type=Path, metavar="FILE",
        help="only renew this file's figures from what --out holds")  # fmt: skip
    options = parser.parse_intermixed_args(arguments)
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"unknown part {part!r}; parts: {', '.join(PARTS)}")
    if options.readme is not None and options.out is None:
        parser.error("--readme takes the figures from the folder given with --out")
    return options


def listing() -> str:
    """Parts with their rows and contenders."""
    lines = []
    for name, part in PARTS.items():
        lines.append(f"{name}: {part.doc}")
        lines.append(f"  contenders: {', '.join(part.peers)}")
        lines += [f"  {row}" for row in part.rows()]
    return "\n".join(lines)


def run_part(name: str, options: Options, out: Path | None) -> bool:
    """Run one part, show and keep what it found; whether all was well."""
    try:
        outcome = PARTS[name].run(options)
    except (load.LoadError, RuntimeError, ValueError) as error:
        print(f"error: {name}: {error}", file=sys.stderr)
        return False
    for table in outcome.tables:
        report.show(table)
    if outcome.verdicts:
        report.show(record.verdict_table(outcome.verdicts))
    if out is not None:
        record.store(record.record(name, outcome, options.cores), out)
    return not outcome.failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when all was measured, 1 when something was refused, wrong or broken."""
    given = parse(arguments)
    if given.list:
        print(listing())
        return 0
    if given.readme is not None:
        try:
            readme.renew(given.readme, given.out, record.load_records(given.out, tuple(PARTS)))
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0
    options = Options(
        tuple(given.rows),
        tuple(given.peers),
        given.quick,
        given.force,
        load.chosen_cores(given.cores),
    )
    every = [run_part(name, options, given.out) for name in given.parts or PARTS]
    if given.out is not None and given.out.is_dir():
        every.append(write_report(given.out))
    return int(not all(every))


def write_report(folder: Path) -> bool:
    """The report and the pictures of all that a folder holds; whether that can be read."""
    try:
        records = record.load_records(folder, tuple(PARTS))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    text = record.report_text(records) + "\n"
    (folder / "report.md").write_text(text, encoding="utf-8")
    draw(records, folder)
    return True


if __name__ == "__main__":
    sys.exit(main())
