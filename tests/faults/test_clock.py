"""The wall clock jumps by an hour, forward or back: no call ends early, no timer stops."""

from __future__ import annotations

import subprocess
import time

from tests.faults.stories import FaultCase
from tests.helpers import program
from umd.testing import UmdProcess

HOUR = 3600


class ClockTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = self.directory / "clock"
        self.step(0)
        faketime = program("faketime", "faketime")
        # The library alone: the command would be the parent of umd and get its signals.
        library = subprocess.run(
            [faketime, "-f", "+0", "printenv", "LD_PRELOAD"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        self.environ = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
        }

    def step(self, seconds: int) -> None:
        """Set the wall clock of umd to this many seconds from the real one."""
        self.clock.write_text(f"{seconds:+d}\n")

    def running(self) -> UmdProcess:
        options = ("-o", "call.deadline=2s", "-o", "drain.deadline=200ms")
        return self.umd(*options, environ=self.environ)

    def story(self, step: int) -> None:
        with self.running() as umd:
            stays, mute, gone = (self.place(umd, f"55501{n}") for n in ("01", "99", "01"))
            self.assertEqual(self.end(umd, gone), "ended")
            self.step(step)
            # Timers still work: a deadline passes, and a ringing call is answered.
            self.assertEqual(self.end(umd, mute), "ended-unconfirmed")
            late = self.place(umd, "5550115")
            (line,) = umd.events("call.placed")[-1:]
            self.assertAlmostEqual(_hour(line["at"]), time.time() // HOUR + step / HOUR, delta=1)
            self.assertEqual(self.end(umd, gone), "already-ended")
            self.assertEqual({e["call"] for e in umd.events("call.disconnected")}, {gone})
            self.assertEqual(umd.stop(), 0)
        # The clock also jumps while umd does not run.
        self.step(0)
        with self.running() as umd:
            self.assertEqual([self.end(umd, call) for call in (stays, late)], ["ended", "ended"])
            self.assertEqual(self.end(umd, gone), "already-ended")
            self.assertEqual(umd.events("call.lost"), [])
            for line in umd.events("call.disconnected"):
                self.assertGreaterEqual(line["lived_s"], 0)
            umd.stop()
        self.check(ended=False)

    def test_an_hour_forward(self) -> None:
        self.story(HOUR)

    def test_an_hour_back(self) -> None:
        self.story(-HOUR)


def _hour(at: str) -> float:
    return time.mktime(time.strptime(at[:19], "%Y-%m-%dT%H:%M:%S")) // HOUR
