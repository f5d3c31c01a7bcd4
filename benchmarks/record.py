"""What a part found as a file, and the files of a folder as one report.

A folder holds `<part>.json` for each part that was run into it, at whatever time; `report.md` and
the pictures are made of those files alone, so that running one part again renews the whole. Must
not measure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import BUSY_LIMIT
from benchmarks.part import Outcome
from benchmarks.report import Table, markdown, metadata, plain_values, with_notes
from benchmarks.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Record:
    """One part's outcome with what is needed to repeat it; `busy` is the cores' foreign load."""

    part: str
    about: dict[str, Any]
    tables: tuple[Table, ...]
    verdicts: tuple[Verdict, ...]
    figures: dict[str, Any]
    busy: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "part": self.part,
            **self.about,
            "busy": self.busy,
            "verdicts": [plain_values(verdict.to_json()) for verdict in self.verdicts],
            "tables": [asdict(table) for table in self.tables],
            "figures": plain_values(self.figures),
        }

    @staticmethod
    def from_json(held: dict[str, Any]) -> Record:
        """The inverse of `to_json`. Raises KeyError: something is missing."""
        own = ("part", "busy", "verdicts", "tables", "figures")
        return Record(
            held["part"],
            {key: value for key, value in held.items() if key not in own},
            tuple(
                Table(
                    table["title"],
                    tuple(table["columns"]),
                    tuple(tuple(row) for row in table["rows"]),
                    tuple(table["notes"]),
                )
                for table in held["tables"]
            ),
            tuple(Verdict.from_json(verdict) for verdict in held["verdicts"]),
            held["figures"],
            held["busy"],
        )


def record(part: str, outcome: Outcome, cores: Sequence[int]) -> Record:
    """An outcome of now."""
    figures: dict[str, Any] = plain_values(outcome.figures)
    return Record(part, metadata(cores), outcome.tables, outcome.verdicts, figures, outcome.busy)


def store(found: Record, folder: Path) -> None:
    """Write it to the folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n"
    (folder / f"{found.part}.json").write_text(text, encoding="utf-8")


def load_records(folder: Path, parts: Sequence[str]) -> list[Record]:
    """The records of a folder, in the order of `parts`. Raises ValueError: one cannot be read."""
    found = []
    for path in (folder / f"{part}.json" for part in parts):
        if not path.exists():
            continue
        try:
            found.append(Record.from_json(json.loads(path.read_text(encoding="utf-8"))))
        except (KeyError, TypeError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}: not a record of this version ({why}); delete it") from error
    return found


def verdict_table(verdicts: Sequence[Verdict], title: str = "Goals") -> Table:
    """Each figure beside what must be reached, what is aimed at, and whether it is; a second line
    where the machine rules it out, and a note for each reason why there is no figure."""
    lines: list[tuple[str, ...]] = []
    missing: dict[str, list[str]] = {}
    for each in verdicts:
        unit = each.goal.unit
        space = " " if unit[0].isalpha() else ""
        value = "-" if each.value is None else f"{each.value:.3g}{space}{unit}"
        over = f"over {each.against}" if each.against and unit == "×" else each.against
        state = "no figure" if each.value is None else each.text
        lines.append(
            (each.row, value, over, f"{each.wanted.must:.3g}", f"{each.wanted.aim:.3g}", state)
        )
        if each.beyond:
            lines.append((f"  {each.beyond}", "", "", "", "", ""))
        if each.value is None:
            missing.setdefault(each.reason, []).append(each.row)
    notes = tuple(f"no figure of {', '.join(rows)}: {why}" for why, rows in missing.items())
    return Table(title, ("row", "figure", "of", "must", "aim", "state"), tuple(lines), notes)


def report_text(records: Sequence[Record]) -> str:
    """All records as Markdown: the goals first, then every table with how to repeat it."""
    goals = verdict_table([verdict for found in records for verdict in found.verdicts])
    doubts = [f"{found.part}:{text}" for found in records if (text := doubt(found))]
    sections = [markdown(with_notes(goals, doubts))]
    for found in records:
        sections += [f"## {found.part}", "", *map(markdown, found.tables), origin(found), ""]
    return "\n".join(sections)


def origin(found: Record) -> str:
    """When, where, with what and how, on one line."""
    about = found.about
    return f"{about['date']}, {place(found)}. `{about['command']}`{doubt(found)}"


def place(found: Record) -> str:
    """The machine and the versions."""
    about = found.about
    released = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"{about['cpu']}, {len(about['cores'])} cores, {released}"


def doubt(found: Record) -> str:
    """That others used the cores, if they did."""
    if found.busy <= BUSY_LIMIT:
        return ""
    return f" UNRELIABLE: the cores were up to {found.busy:.0%} busy with other work (--force)."
