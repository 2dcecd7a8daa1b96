"""Reads a journal in SQLite that no umd has open."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from umd.journal.queries import JournalQueries, explain
from umd.journal.schema import APPLICATION_ID, INDEX, MIGRATIONS


class JournalReader(JournalQueries):
    """Reads a journal that no umd has open; changes nothing."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._aside = False
        """Some of the index is not in the file."""

    def open(self) -> None:
        """
        Raises:
            CannotOpen: there is none, it is in use, or not for us.
        """
        if not os.path.exists(self.path):
            raise self._cannot("there is no such file")
        if not os.path.isfile(self.path):
            raise self._cannot("not a regular file")
        if not os.access(self.path, os.R_OK):
            owner = os.stat(self.path).st_uid
            raise self._cannot(f"only user {owner} and root may read it")
        try:
            uri = Path(os.path.abspath(self.path)).as_uri()
            self._db = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=1.0)
            self._check_kind()
            self._find_end()
        except sqlite3.OperationalError as error:
            raise self._cannot(explain(error)) from error
        except sqlite3.DatabaseError as error:
            raise self._cannot(f"it is damaged: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._disconnect()

    def _index(self) -> None:
        """Index what a umd that was killed has not, beside the file, which stays as it is."""
        if self._indexed < self.last:
            for statement in _ASIDE:
                self._connection.execute(statement)
            for statement in INDEX:
                values = {"after": self._indexed, "last": self.last}
                self._connection.execute(statement, values)
            self._indexed = self.last
            self._aside = True

    def _of_index(self, statement: str) -> str:
        if not self._aside:
            return super()._of_index(statement)
        return statement.format(
            parts="(SELECT * FROM main.parts UNION ALL SELECT * FROM temp.parts)",
            names="(SELECT * FROM main.names UNION ALL SELECT * FROM temp.names)",
            aside="UNION ALL SELECT min(batch) FROM temp.names",
        )

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the whole file; at most so many lines."""
        said = [line for (line,) in self._connection.execute("PRAGMA integrity_check(20)")]
        return [] if said == ["ok"] else said

    def _check_kind(self) -> None:
        if self._one("PRAGMA application_id") != APPLICATION_ID:
            raise self._cannot("it is no journal")
        version = self._one("PRAGMA user_version")
        if version > len(MIGRATIONS):
            raise self._cannot(f"a newer umd has written it (schema {version})")
        if version < len(MIGRATIONS):
            raise self._cannot(
                f"an older umd has written it (schema {version}); start umd with it once"
            )


_ASIDE: Final = (
    "CREATE TEMP TABLE indexed AS SELECT * FROM main.indexed",
    "CREATE TEMP TABLE live (call TEXT PRIMARY KEY, begun INTEGER) WITHOUT ROWID",
    "INSERT INTO temp.live SELECT * FROM main.live",
    "CREATE TEMP TABLE parts (begun, position, PRIMARY KEY (begun, position)) WITHOUT ROWID",
    "CREATE TEMP TABLE names (batch, call, begun, PRIMARY KEY (batch, call, begun)) WITHOUT ROWID",
)
"""Tables that stand before those of the file: a name without a schema is that of temp first."""
