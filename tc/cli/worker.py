"""`tensorc worker ADDRESS`: measure for a tuning run on another machine, or beside it.

It runs until the run that it works for ends. This module must not measure.
"""

from __future__ import annotations

import click

from tc.cli.options import Settings, target_option, with_settings
from tc.cli.output import step


@click.command("worker")
@click.argument("address")
@target_option
@with_settings
def command(settings: Settings, address: str, target: str) -> None:
    """Build and measure what `tensorc tune --cluster ADDRESS` hands out.

    ADDRESS is tcp://127.0.0.1:8786, or tls://host:8786 with the certificates of dask's
    configuration: whoever can reach a cluster runs code on its workers.
    """
    from tc.autotune.cluster import Slot, work
    from tc.autotune.records import versions
    from tc.frontend.tuned import processor, require_here
    from tc.target import Target

    chosen = Target.parse(target)
    require_here(chosen)
    with step(settings, f"working for {address}"):
        work(address, Slot(str(chosen), processor(chosen), versions()))
