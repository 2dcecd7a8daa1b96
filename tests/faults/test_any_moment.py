"""
umd crashes at any moment of a SIP call, and the next umd ends the call exactly once.

The story of a call is run once for each of its steps: each datagram that arrives, and each commit
of the journal. umd crashes after that step. At the end the far end, which survives, has no call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase

from tests.backends.sip.memory import MemoryUdp, captured_log
from tests.backends.sip.test_sip import FAR, OURS, FarPbx, section
from tests.helpers import ALICE, capturing_log
from umd.backends.sip import SipBackend
from umd.backends.sip.udp import UdpPort
from umd.call.call import Call
from umd.call.events import LifecycleEvent
from umd.call.record import decode, encode, replay
from umd.control.control import Control
from umd.sip.framing import read_datagram
from umd.sip.session import State
from umd.sip.transaction import ServerInvite

TICK = 0.001
COMMIT_AFTER = 0.0105
"""Longer than the round trip of a datagram, so that an answer comes before its record."""


class Disk:
    """The records that are durable."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, bytes, float, bytes | None]] = []

    def calls(self) -> Iterator[tuple[Call, bytes | None]]:
        found: dict[str, tuple[Call | None, bytes | None]] = {}
        for call_id, record, at, extra in self.rows:
            call, last = found.get(call_id, (None, None))
            found[call_id] = replay(call, decode(record), at), extra or last
        for call, last in found.values():
            assert call is not None
            yield call, last

    def told(self) -> dict[str, list[str]]:
        told: dict[str, list[str]] = {}
        for call_id, record, _, _ in self.rows:
            told.setdefault(call_id, []).append(decode(record)["event"])
        return told


class SlowJournal:
    """A journal whose records become durable after a delay, unless umd has crashed by then."""

    durable = True
    refusing: str | None = None

    def __init__(self, disk: Disk, clock: MemoryUdp) -> None:
        self.died = False
        self._disk = disk
        self._clock = clock
        self._waiting: deque[tuple[Any, Callable[[Any], None] | None, Any]] = deque()

    def append(
        self,
        call: Call,
        event: LifecycleEvent,
        extra: bytes | None,
        then: Callable[[Any], None] | None,
        argument: Any,
    ) -> None:
        row = (call.id, encode(call, event), event.at, extra)
        self._waiting.append((row, then, argument))
        self._clock.callLater(COMMIT_AFTER, self._commit)

    def flush(self, then: Callable[[Any], None], argument: Any) -> None:
        self._waiting.append((None, then, argument))
        self._clock.callLater(COMMIT_AFTER, self._commit)

    def _commit(self) -> None:
        if self.died:
            return
        row, then, argument = self._waiting.popleft()
        if row is not None:
            self._disk.rows.append(row)
        if then is not None:
            then(argument)


class Umd:
    """A umd: control, a backend, and a journal on a disk."""

    def __init__(self, disk: Disk, clock: MemoryUdp) -> None:
        self.clock = clock
        self.journal = SlowJournal(disk, clock)
        self.backend = SipBackend("pbx", section(), clock)
        self.control = Control(
            backends={"pbx": self.backend},
            node="lab-1",
            clock=clock,
            wall=lambda: 1_000_000.0 + clock.seconds(),
            log=capturing_log()[0],
            journal=self.journal,
            make_leg_name=lambda: "leg-1",
        )
        for call, leg_record in disk.calls():
            self.control.recover(call, leg_record)
        _ = ensureDeferred(self.control.start())

    def die(self) -> None:
        """Crash."""
        port = self.backend.port
        assert port is not None
        self.clock.ports.pop((port.address.host, port.address.port))
        port._end = None
        port._wakeup.stop()
        self.journal.died = True


class Story:
    """A far end that survives, and a umd that crashes."""

    def __init__(self) -> None:
        self.clock = MemoryUdp()
        self.pbx = FarPbx()
        port = UdpPort(self.clock, capturing_log()[0])
        port.listen(FAR.host, FAR.port)
        port.serve(self.pbx)
        self.disk = Disk()
        self.umd = Umd(self.disk, self.clock)

    def moments(self, number: str, end_after: float | None, until: float) -> Iterator[int]:
        """Run the story, and yield after each step."""
        call = self.umd.control.place(ALICE, number)
        yield 0
        step, asked, seen = 1, False, self._seen()
        while self.clock.seconds() < until:
            self.clock.advance(TICK)
            if end_after is not None and not asked and self.clock.seconds() >= end_after:
                asked = True
                asking = ensureDeferred(self.umd.control.disconnect(ALICE, call.id))
                _ = asking.addErrback(lambda failure: None)
            now = self._seen()
            if now != seen:
                seen = now
                yield step
                step += 1

    def _seen(self) -> tuple[int, int, int]:
        journal = self.umd.journal
        return len(self.clock.carried), len(self.pbx.heard), len(self.disk.rows) + len(
            journal._waiting
        )

    def go_on(self, down_for: float) -> None:
        """Crash umd, start another after a while, and let it end all live calls."""
        self.umd.die()
        self.clock.pump([0.01] * round(down_for * 100))
        self.umd = Umd(self.disk, self.clock)
        self.clock.pump([0.01] * 50)
        for call in list(self.umd.control.live_calls()):
            asking = ensureDeferred(self.umd.control.disconnect(ALICE, call.id))
            _ = asking.addErrback(lambda failure: None)
        self.clock.pump([0.05] * 1400)


class AnyMomentTests(TestCase):
    def setUp(self) -> None:
        captured_log(self)

    def play(self, number: str, end_after: float | None, until: float, down_for: float) -> int:
        """Run a story once for each of its steps, with a crash there; return how many."""
        moment = 0
        while True:
            story = Story()
            for step in story.moments(number, end_after, until):
                if step == moment:
                    break
            else:
                return moment
            story.go_on(down_for)
            where = f"{number}, moment {moment}: {story.disk.told()} {story.clock.starts()}"
            self.assertEqual(list(story.pbx.endpoint.sessions()), [], where)
            self.assertEqual(list(story.umd.control.live_calls()), [], where)
            for told in story.disk.told().values():
                ends = [e for e in told if e in ("call.disconnected", "call.lost")]
                self.assertEqual(len(ends), 1, where)
                self.assertNotIn("call.lost", told, where)
            moment += 1

    def test_a_call_that_is_answered(self) -> None:
        self.assertGreater(self.play("5550100", None, 1.2, 0.1), 7)

    def test_a_call_that_is_answered_and_a_long_outage(self) -> None:
        self.assertGreater(self.play("5550101", None, 0.2, 10.0), 5)

    def test_a_call_that_is_ended(self) -> None:
        self.assertGreater(self.play("5550101", 0.1, 0.3, 0.1), 7)

    def test_a_call_that_rings_and_is_cancelled(self) -> None:
        self.assertGreater(self.play("5550180", 0.1, 0.3, 0.1), 7)

    def test_an_answer_that_crosses_the_cancel(self) -> None:
        self.assertGreater(self.play("5550181", 0.1, 0.3, 0.1), 7)

    def test_an_answer_that_crosses_the_record_of_the_request(self) -> None:
        self.assertGreater(self.play("5550100", 1.0, 1.2, 0.1), 7)

    def test_several_phones_that_ring(self) -> None:
        self.assertGreater(self.play("5550130", None, 1.2, 0.1), 7)

    def test_the_ack_is_sent_once_the_answer_is_recorded(self) -> None:
        story = Story()
        for _ in story.moments("5550101", None, 0.2):
            told = story.disk.told().values()
            answered = any("call.connected" in events for events in told)
            self.assertEqual("ACK" in story.pbx.methods() or "ACK sip:127.0.0.1:5070" in
                             story.clock.starts(), answered)  # fmt: skip
        self.assertEqual(story.pbx.methods(), ["INVITE", "ACK"])

    def test_a_lost_ack_is_sent_by_the_next_umd(self) -> None:
        """The far end retransmits its 200 until an ACK comes."""
        story = Story()
        deliver = story.clock.deliver
        story.clock.deliver = (  # type: ignore[method-assign]
            lambda data, *way: None if data.startswith(b"ACK") else deliver(data, *way)
        )
        for _ in story.moments("5550101", None, 0.1):
            pass
        (session,) = story.pbx.endpoint.sessions()
        self.assertIs(session.state, State.ANSWERED)
        story.clock.deliver = deliver  # type: ignore[method-assign]
        story.umd.die()
        story.umd = Umd(story.disk, story.clock)
        story.clock.pump([0.05] * 100)
        self.assertEqual(story.pbx.methods(), ["INVITE", "ACK"])
        self.assertIs(session.state, State.CONFIRMED)
        self.assertEqual(len(list(story.umd.control.live_calls())), 1)

    def test_a_second_phone_that_answers_is_hung_up_by_the_next_umd(self) -> None:
        story = Story()
        for _ in story.moments("5550101", None, 0.1):
            pass
        story.umd.die()
        story.umd = Umd(story.disk, story.clock)
        story.clock.pump([0.01] * 5)
        story.pbx.heard.clear()
        transaction, response = self.answer_of(story)
        text = response.octets().replace(b";tag=" + response.to_tag.encode(), b";tag=other", 1)
        self.assertIn(b"tag=other", text)
        for _ in range(3):
            story.clock.deliver(text, (FAR.host, FAR.port), (OURS.host, OURS.port))
        story.clock.pump([0.01] * 10)
        self.assertEqual(sorted(story.pbx.methods()), ["ACK", "ACK", "ACK", "BYE"])
        self.assertEqual(story.pbx.last("BYE").to_tag, "other")
        self.assertEqual(len(list(story.umd.control.live_calls())), 1)

    def answer_of(self, story: Story) -> tuple[Any, Any]:
        """Return the far end's 200 to the INVITE, and its transaction."""
        wire = [data for data in story.clock.carried if data.startswith(b"SIP/2.0 200")]
        response = read_datagram(wire[0])
        (transaction,) = [t for t in story.pbx.endpoint.transactions if isinstance(t, ServerInvite)]
        return transaction, response
