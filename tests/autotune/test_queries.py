"""The queries of docs/tuning.md run, and answer what they ask."""

from __future__ import annotations

import re
from pathlib import Path

from tc.autotune.database import Database
from tc.autotune.rows import FAILED
from tests.autotune.conftest import a_trial, fill

PAGE = (Path(__file__).resolve().parents[2] / "docs/tuning.md").read_text(encoding="utf-8")


def test_the_documented_queries(path: Path) -> None:
    fill(path, [a_trial(0, 1.0), a_trial(1, 0.5), a_trial(2, 0.8), a_trial(3, None, status=FAILED)])
    gains, speed, failures = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    with Database.open(path) as database:
        (gain,) = database.utils.query(gains)
        assert (gain["workload"], gain["gain"], gain["schedule"]) == ("add", 2.0, "split(j, 2)")
        assert list(database.utils.query(speed)) == [{"workload": "add", "trials": 2}]
        assert list(database.utils.query(failures)) == [{"error": "", "trials": 1}]
