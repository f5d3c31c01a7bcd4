"""`tensorc devices`: what this machine can run programs on."""

from __future__ import annotations

from typing import Any

import click

from tc.cli.options import Settings, with_settings
from tc.cli.output import print_json, print_table, step


@click.command("devices")
@click.option("--capability", metavar="NAME", help="Only devices that have this capability.")
@click.option("--no-measure", is_flag=True, help="Leave out what has to be measured.")
@with_settings
def command(settings: Settings, capability: str | None, no_measure: bool) -> None:
    """List the devices with their properties, measured where they say so."""
    from tc.api import devices

    found = devices(capability)
    with step(settings, "measuring") if not no_measure else _nothing():
        values = [_values(device, measured=not no_measure) for device in found]
    if settings.json:
        print_json({"devices": values})
        return
    for device, properties in zip(found, values, strict=True):
        rows = [
            (row.key, _text(properties[row.key]), row.unit, "measured" if row.measured else "")
            for row in device.properties.supported()
            if row.key in properties
        ]
        print_table(device.name, ("property", "value", "unit", ""), rows, left=4)


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _values(device: Any, measured: bool) -> dict[str, object]:
    rows = device.properties.supported()
    return {
        row.key: getattr(device.properties, row.key) for row in rows if measured or not row.measured
    }


def _text(value: object) -> str:
    match value:
        case None:
            return "unknown"
        case float():
            return f"{value:.1f}"
        case tuple():
            return " ".join(map(str, value))
    return str(value)
