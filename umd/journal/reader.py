"""Reads a journal in SQLite that no umd has open, and changes nothing in it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from umd.journal.queries import JournalQueries, explain
from umd.journal.schema import APPLICATION_ID, MIGRATIONS, UPDATE_INDEX

MAX_DAMAGES_LISTED: Final = 20


class JournalReader(JournalQueries):
    """
    A journal opened read-only, for commands while no umd runs.

    A umd that was killed leaves an index without the latest events. The reader completes the index
    in temporary tables, and the file stays as it is.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._has_temporary_index = False

    def open(self) -> None:
        """
        Open the file.

        Raises:
            CannotOpen: there is no such file, it is in use or damaged, it belongs to another
                program, or its schema is that of another version of umd.
        """
        if not os.path.exists(self.path):
            raise self._cannot_open("there is no such file")
        if not os.path.isfile(self.path):
            raise self._cannot_open("not a regular file")
        if not os.access(self.path, os.R_OK):
            owner = os.stat(self.path).st_uid
            raise self._cannot_open(f"only user {owner} and root may read it")
        try:
            uri = Path(os.path.abspath(self.path)).as_uri()
            self._db = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=1.0)
            self._check_schema()
            self._find_end()
        except sqlite3.OperationalError as error:
            raise self._cannot_open(explain(error)) from error
        except sqlite3.DatabaseError as error:
            raise self._cannot_open(f"it is damaged: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._disconnect()

    def update_index(self) -> None:
        """Add the events that the index lacks to temporary tables."""
        if self._indexed < self.last:
            for statement in _MAKE_TEMPORARY_INDEX:
                self._connection.execute(statement)
            values = {"after": self._indexed, "last": self.last}
            for statement in UPDATE_INDEX:
                self._connection.execute(statement, values)
            self._indexed = self.last
            self._has_temporary_index = True

    def _with_index_tables(self, statement: str) -> str:
        if not self._has_temporary_index:
            return super()._with_index_tables(statement)
        return statement.format(
            parts="(SELECT * FROM main.parts UNION ALL SELECT * FROM temp.parts)",
            names="(SELECT * FROM main.names UNION ALL SELECT * FROM temp.names)",
            more_batches="UNION ALL SELECT min(batch) FROM temp.names",
        )

    def damages(self) -> list[str]:
        """Return what SQLite finds wrong in the file, at most `MAX_DAMAGES_LISTED` lines."""
        rows = self._connection.execute(f"PRAGMA integrity_check({MAX_DAMAGES_LISTED})")
        lines = [line for (line,) in rows]
        return [] if lines == ["ok"] else lines

    def _check_schema(self) -> None:
        if self._value("PRAGMA application_id") != APPLICATION_ID:
            raise self._cannot_open("not a journal of umd")
        version = self._value("PRAGMA user_version")
        if version > len(MIGRATIONS):
            raise self._cannot_open(f"a newer umd has written it (schema {version})")
        if version < len(MIGRATIONS):
            raise self._cannot_open(
                f"an older umd has written it (schema {version}); start this umd with it once"
            )


_MAKE_TEMPORARY_INDEX: Final = (
    "CREATE TEMP TABLE indexed AS SELECT * FROM main.indexed",
    "CREATE TEMP TABLE live (begun INTEGER PRIMARY KEY)",
    "INSERT INTO temp.live SELECT * FROM main.live",
    "CREATE TEMP TABLE parts (begun, position, PRIMARY KEY (begun, position)) WITHOUT ROWID",
    "CREATE TEMP TABLE names (batch, call, begun, PRIMARY KEY (batch, call, begun)) WITHOUT ROWID",
)
"""Makes tables that hide those of the file: SQLite looks up a bare table name in `temp` first."""
