"""The figures in the README: rewritten from records, between two markers. Must not measure."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.record import Record, doubt, place, verdict_table
from benchmarks.report import Table, markdown
from benchmarks.verdict import Verdict

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PICTURE = "models.png"
PLACE = Path("docs") / "measured.png"
"""Where the picture is kept, from the README's folder."""
TABLES = 1
"""Of each part so many of its tables are shown, from the first on."""
SHOWN = ("models", "decode", "t5")


def renew(readme: Path, folder: Path, records: Sequence[Record]) -> None:
    """Put the figures of the folder's records into `readme`, and the picture beside it.

    Raises ValueError: no markers, nothing to show, or figures taken on a busy machine.
    """
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise ValueError(f"{readme}: no {BEGIN} with {END} after it")
    if not records:
        raise ValueError(f"{folder}: holds no figures; run python -m benchmarks --out {folder}")
    for found in records:
        if why := doubt(found):
            raise ValueError(f"{folder / found.part}.json:{why} Measure it again.")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    picture = folder / PICTURE
    if picture.exists():
        (readme.parent / PLACE).parent.mkdir(exist_ok=True)
        shutil.copyfile(picture, readme.parent / PLACE)
    block = measured(records, picture.exists())
    readme.write_text(f"{head}{BEGIN}\n{block}\n{END}{tail}", encoding="utf-8")


def measured(records: Sequence[Record], picture: bool) -> str:
    """The block: tables, picture, how many goals are met, and how to repeat it."""
    sections = []
    for found in records:
        if found.part in SHOWN:
            sections += [_bare(table) for table in found.tables[:TABLES]]
    if picture:
        sections.append(f"![Times of whole models over tc's]({PLACE.as_posix()})\n")
    rest = [each for found in records if found.part not in SHOWN for each in found.verdicts]
    if rest:
        sections.append(
            _bare(verdict_table(rest, "Other figures, with what they are held against"))
        )
    sections += [f"{line}\n" for line in origins(records)]
    sections.append(state(verdict for found in records for verdict in found.verdicts))
    return "\n".join(sections)


def _bare(table: Table) -> str:
    """The table with its title as a line of text."""
    return markdown(table).replace("### ", "", 1).replace("\n\n", ":\n\n", 1)


def origins(records: Sequence[Record]) -> list[str]:
    """One line for each day and machine: when, where, and the commands."""
    commands: dict[str, list[str]] = {}
    for found in records:
        line = f"{found.about['date'][:10]}, {place(found)}"
        commands.setdefault(line, []).append(f"`{found.about['command']}`")
    return [f"{line}. {', '.join(dict.fromkeys(each))}" for line, each in commands.items()]


def state(verdicts: Iterable[Verdict]) -> str:
    """How many goals are met."""
    listed = list(verdicts)
    must = sum(each.reaches(each.wanted.must) for each in listed)
    aim = sum(each.reaches(each.wanted.aim) for each in listed)
    return f"Of {len(listed)} goals {must} are met, {aim} with the margin that is aimed at.\n"
