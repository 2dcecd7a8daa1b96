"""The check of a journal: it lists what is wrong, and nothing else."""

from __future__ import annotations

import sqlite3

from tests.journal.rows import Event, write
from tests.journal.test_file import FileCase
from umd.call.record import seq_of
from umd.journal.check import MAX_PROBLEMS_LISTED, JournalCheck
from umd.journal.file import JournalFile
from umd.journal.queries import JournalQueries
from umd.journal.reader import JournalReader


def event(call: str, step: int, seq: int, at: float = 1000.0) -> Event:
    return Event(call, step, at, b'{"seq":%d}' % seq, None)


class CheckTests(FileCase):
    def story(self) -> JournalFile:
        """Write twenty calls of three records each, and the end of every second one."""
        file = self.opened()
        for seq in (1, 2, 3):
            write(file, [event(f"call-{n:02}", int(seq == 1), seq) for n in range(20)])
        write(file, [event(f"call-{n:02}", -1, 4) for n in range(0, 20, 2)])
        return file

    def checked(self, file: JournalQueries, rows: int = 3) -> JournalCheck:
        check = JournalCheck(file, seq_of, rows)
        while check.step():
            pass
        return check

    def problems(self, *statements: str) -> list[str]:
        """Return the problems found after the file was changed by these statements."""
        self.story().close()
        db = sqlite3.connect(self.path, isolation_level=None)
        for statement in statements:
            db.execute(statement)
        db.close()
        reader = JournalReader(self.path)
        reader.open()
        self.addCleanup(reader.close)
        self.assertEqual(reader.damages(), [])
        return self.checked(reader).problems

    def test_a_sound_journal_has_no_problems(self) -> None:
        for rows in (1, 7, 1000):
            check = self.checked(self.story(), rows)
            self.assertEqual(check.problems, [])
            self.assertEqual((check.records, check.calls, check.live_calls), (70, 20, 10))
            self.path += "-next"

    def test_a_sound_journal_whose_umd_was_killed(self) -> None:
        """Its index is incomplete; the reader completes it in temporary tables."""
        self.assertEqual(self.checked(self.after_a_kill(self.story())).problems, [])

    def test_a_journal_that_is_written_during_the_check(self) -> None:
        file = self.story()
        check = JournalCheck(file, seq_of, 3)
        number = 0
        while check.step():
            write(file, [event(f"new-{number}", 1, 1), event(f"new-{number}", -1, 2)])
            if number < 10:
                write(file, [event(f"call-{2 * number + 1:02}", -1, 4)])
            number += 1
        self.assertGreater(number, 20)
        self.assertEqual(check.problems, [])
        self.assertEqual((check.calls, check.live_calls), (20 + number, 0))

    def test_a_call_whose_id_begins_again(self) -> None:
        file = self.story()
        write(file, [event("call-00", 1, 1), event("call-00", 0, 2)])
        self.assertEqual(self.checked(file).problems, [])

    def test_a_pruned_call_is_no_problem(self) -> None:
        file = self.story()
        file._keep = 10.0
        self.assertEqual(file.prune(9000.0), 40)
        self.assertEqual(self.checked(file).problems, [])

    def test_a_missing_record(self) -> None:
        found = self.problems("DELETE FROM events WHERE position = 25")
        self.assertIn("position 45: call call-04: record 3 follows 1", found)
        self.assertTrue(any(problem.startswith("index") for problem in found))

    def test_a_missing_first_record(self) -> None:
        found = self.problems("DELETE FROM events WHERE position = 1")
        self.assertIn("position 21: call call-00 has no beginning", found)

    def test_a_record_that_cannot_be_read(self) -> None:
        (found,) = self.problems("UPDATE events SET record = x'7B' WHERE position = 30")
        self.assertIn("position 30: call call-09: not a record", found)

    def test_an_index_that_lacks_a_record(self) -> None:
        self.assertEqual(
            self.problems("DELETE FROM parts WHERE position = 33"),
            ["the index has 69 of 70 records"],
        )

    def test_an_index_that_has_a_record_of_another_call(self) -> None:
        found = self.problems("UPDATE parts SET begun = 1 WHERE position = 22")
        self.assertEqual(found, ["index: 1 records of the call that began at 1"])

    def test_a_record_that_says_that_its_call_begins_elsewhere(self) -> None:
        """When that call ends, the index would take another call for ended."""
        found = self.problems("UPDATE events SET begun = 3 WHERE position = 25")
        self.assertEqual(
            found,
            [
                "position 25: call call-04 begins at 5, and the record says at 3",
                "index: 1 records of the call that began at 5",
            ],
        )

    def test_a_call_that_begins_again_although_it_has_not_ended(self) -> None:
        file = self.story()
        write(file, [event("call-01", 1, 1)])
        found = self.checked(file).problems
        self.assertIn("position 71: call call-01 begins again, and has not ended", found)

    def test_an_index_that_lacks_a_name(self) -> None:
        found = self.problems("DELETE FROM names WHERE call = 'call-11'")
        self.assertEqual(found, ["index: 19 names of 20 calls"])

    def test_an_index_with_another_name(self) -> None:
        (found,) = self.problems("UPDATE names SET call = 'call-x' WHERE call = 'call-11'")
        self.assertRegex(found, "1 names of batch .* lead to another call")

    def test_an_index_that_lacks_a_live_call(self) -> None:
        """After a restart umd would not know that call."""
        self.assertEqual(
            self.problems("DELETE FROM live WHERE begun = 14"),
            ["index: call call-13 is live, and the index does not say so"],
        )

    def test_an_index_with_an_ended_call_as_live(self) -> None:
        self.assertEqual(
            self.problems("INSERT INTO live VALUES (3)"),
            ["index: call call-02 is not live"],
        )

    def test_more_problems_than_are_listed(self) -> None:
        file = self.opened()
        write(file, [event("lonely", 0, n) for n in range(2)])
        write(file, [Event("odd", 1, 0.0, b"no", None) for _ in range(MAX_PROBLEMS_LISTED + 50)])
        check = self.checked(file)
        self.assertEqual(len(check.problems), MAX_PROBLEMS_LISTED)
        self.assertGreater(check.found, MAX_PROBLEMS_LISTED + 49)
