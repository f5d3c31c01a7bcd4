"""Features that were counted by another list are counted again from what the database has."""

from __future__ import annotations

from pathlib import Path

from tc.autotune.database import Database
from tc.autotune.features import LAYOUT
from tc.autotune.history import groups_of
from tc.autotune.recount import recount
from tests.autotune.fake_tuning import Fake, session


def test_features_of_another_list_are_counted_again(tmp_path: Path) -> None:
    with Database.open(tmp_path / "tuning.db") as database:
        session(database).run(Fake(), 20)
        before = groups_of(database)
        assert recount(database) == 0
        with database.transaction() as connection:
            connection.execute("UPDATE features SET layout = ?, data = '[1, 2]'", (LAYOUT - 1,))
            connection.execute("DELETE FROM features WHERE trial_id = 3")
        assert groups_of(database) == []
        assert recount(database) == 20
        assert groups_of(database) == before


def test_what_is_not_legal_today_stays_as_it_is(tmp_path: Path) -> None:
    with Database.open(tmp_path / "tuning.db") as database:
        session(database).run(Fake(), 8)
        with database.transaction() as connection:
            connection.execute("UPDATE features SET layout = ?", (LAYOUT - 1,))
            connection.execute("UPDATE trials SET schedule = 'split(zz, 4)' WHERE id = 2")
        assert recount(database) == 7
        assert recount(database) == 0
        assert database.query("SELECT status FROM trials WHERE id = 2")
