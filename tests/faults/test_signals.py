"""Signals under load: to stop, to reload, and to pause."""

from __future__ import annotations

import random
import signal
import time

from tests.faults.clients import Load
from tests.faults.stories import LONG, FaultCase, Served
from umd.testing import UmdProcess

STANDS_STILL = 40.0 if LONG else 2.5  # seconds; longer than any SIP transaction, or not


class SignalTests(FaultCase):
    def load(self, umd: UmdProcess) -> Load:
        return Load(Served(umd), self.log, 6, random.Random(1))

    def answers(self, more: int) -> None:
        """Wait until clients got this many more responses."""
        before = self.log.told.total()
        self.until(lambda: self.log.told.total() >= before + more)

    def test_a_stop_under_load(self) -> None:
        """No response is cut off, and all promises hold."""
        with self.umd("-o", "drain.deadline=60s") as umd, self.load(umd) as load:
            self.answers(100)
            self.assertEqual(umd.stop(), 0)
            load.stop()
            self.assertEqual(umd.events("daemon.drain-expired"), [])
        self.assertEqual(self.log.cut, 0)
        with self.umd() as umd:
            self.end_what_is_left(umd)
            self.assertEqual(umd.stop(), 0)
        self.check()

    def test_a_hundred_reloads_under_load(self) -> None:
        """Every second configuration has mistakes; no request is refused or dropped."""
        file = self.directory / "umd.toml"
        file.write_text("")
        with self.umd("-c", str(file)) as umd, self.load(umd) as load:
            self.answers(50)
            for number in range(100):
                file.write_text("[call]\n" + ("ended_iz = 1" if number % 2 else "retained = 50000"))
                umd.process.send_signal(signal.SIGHUP)
                self.answers(2)
            load.stop()
            self.assertGreater(len(umd.events("config.refused")), 10)
            self.assertGreater(len(umd.events("config.reloaded")), 10)
            self.assertEqual(dict(self.log.broken), {})
            self.end_what_is_left(umd)
            self.assertEqual(umd.stop(), 0)
        self.check()

    def test_umd_is_paused(self) -> None:
        """Teardowns go on with one BYE transaction each, and late timers cause no burst."""
        far_end = self.far_end()
        with self.umd("-o", "call.deadline=60s", far_end=far_end) as umd:
            calls = [self.place(umd, "5550199", "pbx") for _ in range(5)]
            with self.ending(umd, *calls) as outcomes:
                self.until(lambda: len(self.byes()) >= 5)
                umd.process.send_signal(signal.SIGSTOP)
                time.sleep(STANDS_STILL)
                umd.process.send_signal(signal.SIGCONT)
                self.assertEqual(set(outcomes()), {"ended"})
            self.assertEqual(umd.stop(), 0)
        self.check(far_end)
        self.assertEqual(len({bye["branch"] for bye in self.byes()}), 5)

    def test_a_response_that_comes_while_umd_is_paused(self) -> None:
        """A pause longer than a transaction: the response received meanwhile still counts."""
        far_end = self.far_end()
        options = ("-o", "call.deadline=60s", "-o", "backend.pbx.t1=20ms")
        with self.umd(*options, far_end=far_end) as umd:
            calls = [self.place(umd, "5550199", "pbx") for _ in range(5)]
            with self.ending(umd, *calls) as outcomes:
                self.until(lambda: len({bye["call"] for bye in self.byes()}) == 5)
                umd.process.send_signal(signal.SIGSTOP)
                self.until(lambda: sum(bye["said"] == "200" for bye in self.byes()) == 5)
                umd.process.send_signal(signal.SIGCONT)
                self.assertEqual(set(outcomes()), {"ended"})
            self.assertEqual(umd.stop(), 0)
        self.check(far_end)

    def test_the_far_end_is_paused(self) -> None:
        """Clients get a reply at the deadline; the BYE goes on, and is confirmed later."""
        far_end = self.far_end()
        with self.umd("-o", "call.deadline=2s", far_end=far_end) as umd:
            calls = [self.place(umd, "5550101", "pbx") for _ in range(5)]
            far_end.signal(signal.SIGSTOP)
            with self.ending(umd, *calls) as outcomes:
                self.assertEqual(set(outcomes()), {"ended-unconfirmed"})
            self.assertEqual(self.end(umd, calls[0]), "ended-unconfirmed")
            far_end.signal(signal.SIGCONT)
            for call in calls:
                umd.wait_for("call.disconnected", call=call, confirmed=True)
            self.assertIn(self.end(umd, calls[0]), ("ended", "already-ended"))
            self.assertEqual(umd.stop(), 0)
        self.check(far_end)

    def test_a_tenth_of_the_processor(self) -> None:
        """umd is paused and continued all the time: timers are late, and none is lost."""
        far_end = self.far_end()
        with self.umd(far_end=far_end) as umd, self.load(umd) as load:
            calls = [self.place(umd, "5550199", "pbx") for _ in range(3)]
            with self.ending(umd, *calls) as outcomes:
                for _ in range(300 if LONG else 30):
                    umd.process.send_signal(signal.SIGSTOP)
                    time.sleep(0.09)
                    umd.process.send_signal(signal.SIGCONT)
                    time.sleep(0.01)
                self.assertEqual(set(outcomes()) - {"ended", "ended-unconfirmed"}, set())
            load.stop()
            self.end_what_is_left(umd)
            self.assertEqual(umd.stop(), 0)
        self.check(far_end)

    def byes(self) -> list[dict[str, object]]:
        return [one for one in self.heard() if one["method"] == "BYE"]
