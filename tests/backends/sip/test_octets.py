"""A far end may use any octets in its header fields: its calls work like all others."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase

from tests.backends.sip.memory import MemoryUdp, captured_log
from tests.backends.sip.test_sip import ANSWER, FAR, section
from tests.helpers import ALICE
from umd.backend import Answered, LegEvent, LegId
from umd.backends.sip import SipBackend
from umd.backends.sip_legs import SipLegs
from umd.call.call import Call, CallState
from umd.call.cause import Cause
from umd.cli.event_text import call_report, event_line
from umd.control.control import Control
from umd.control.errors import NoSuchCall
from umd.control.journal import CallJournal, NullJournal
from umd.control.links import BackendLink
from umd.control.outcome import Outcome
from umd.journal.file import JournalFile
from umd.journal.ledger import CallLog, Ledger
from umd.journal.replay import ended_calls, live_calls
from umd.journal.store import Row, Store, Stored
from umd.management.console import Console
from umd.management.journal_queries import read_call_history, read_calls, read_events
from umd.runtime.log import configure
from umd.sip import build
from umd.sip.framing import read_datagram
from umd.sip.message import Request
from umd.trace.capture import Capture
from umd.trace.ladder import LadderStep, draw
from umd.trace.pcap import Packet, capture_file
from umd.trace.summary import CallSummaries

OCTETS = [octet for octet in range(1, 256) if octet not in b"\r\n"]
"""Those that can stand in a line; the others end it."""
QUOTED = [octet for octet in OCTETS if octet not in b'"\\']
IN_URI = [octet for octet in range(0x21, 0x7F) if octet not in b'"<>']
NAMES: dict[str, tuple[list[int], bytes]] = {
    "a quoted display name": (QUOTED, b'"a%cz" <sip:100@pbx>'),
    "an escaped octet": ([octet for octet in OCTETS if octet < 0x80], b'"a\\%cz" <sip:100@pbx>'),
    "a display name": (
        [octet for octet in range(0x80, 256)] + [*b"!%'*+-._`~ \t"],
        b"a%cz <sip:100@pbx>",
    ),
    "a user part": (IN_URI, b"<sip:a%cz@pbx>"),
    "a parameter of the URI": (IN_URI, b"<sip:100@pbx;x=a%cz>"),
    "a quoted parameter": (QUOTED, b'<sip:100@pbx>;x="a%cz"'),
}
"""Where an octet may stand in a To, and which ones can."""


def odd_names() -> Iterator[bytes]:
    for octets, form in NAMES.values():
        for octet in octets:
            yield form.replace(b"%c", bytes([octet]))


class OddFarEnd(DatagramProtocol):
    """
    Answers each call, with the next of the given names in the To.

    Args:
        names: as octets, without tag.
        route: a Record-Route of the answer, "" for none.
    """

    def __init__(self, names: Iterator[bytes], route: bytes = b"") -> None:
        self._names = names
        self._numbers = count(1)
        self._route = route
        self.called: dict[str, bytes] = {}
        """The To of each answer, by Call-ID."""
        self.requests: dict[str, list[bytes]] = {}
        """The requests that came, by Call-ID."""

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        request = read_datagram(datagram)
        if not isinstance(request, Request):
            return
        self.requests.setdefault(request.call_id, []).append(datagram)
        if request.method == "INVITE":
            self._answer(request, addr)
        elif request.method == "BYE":
            self._write(build.response(request, 200).octets(), addr)

    def _answer(self, request: Request, addr: Any) -> None:
        if request.call_id not in self.called:
            self.called[request.call_id] = b"%s;tag=f%d" % (
                next(self._names), next(self._numbers)
            )  # fmt: skip
        contact = f"<sip:far@{FAR.host}:{FAR.port}>"
        answer = build.response(request, 200, to_tag="x", contact=contact, body=ANSWER).octets()
        before, to, after = answer.partition(f"To: {request.get('To')};tag=x".encode())
        assert to
        named = b"To: " + self.called[request.call_id] + self._route
        self._write(before + named + after, addr)

    def _write(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        self.transport.write(datagram, addr)

    def methods(self, call_id: str) -> list[bytes]:
        return [request.split(b" ")[0] for request in self.requests[call_id]]

    def last(self, call_id: str, field: bytes) -> list[bytes]:
        """Return the values of a field of the last request that arrived."""
        lines = self.requests[call_id][-1].partition(b"\r\n\r\n")[0].split(b"\r\n")
        return [line[len(field) + 2 :] for line in lines if line.startswith(field + b": ")]


class FileStore(Store):
    """A journal on disk. A commit takes one turn of the reactor."""

    trouble = None

    def __init__(self, path: str) -> None:
        self.file = JournalFile(path)
        self.next_position = 1
        self._acts: deque[tuple[Callable[[Any], None], Any]] = deque()

    def open(self) -> None:
        self.file.open()
        self.next_position = self.file.last + 1

    def close(self) -> Deferred[None]:
        self.file.close()
        return succeed(None)

    def live(self) -> Iterator[tuple[int, list[Stored]]]:
        return self.file.live()

    def ended(self, since: float, limit: int) -> list[Stored]:
        return self.file.ended(since, limit)

    def append(
        self, row: Row, then: Callable[[Any], None] | None = None, argument: Any = None
    ) -> None:
        self.next_position = row.position + 1
        self.file.write([row])
        if then is not None:
            self._acts.append((then, argument))

    def flush(self, then: Callable[[Any], None], argument: Any = None) -> None:
        self._acts.append((then, argument))

    def read(self, after: int, limit: int, call: str | None = None) -> Deferred[list[Stored]]:
        return succeed(self.file.read(after, limit, call))

    def find(self, text: str, limit: int) -> Deferred[list[str]]:
        return succeed(self.file.find(text, limit))

    def commit(self) -> None:
        while self._acts:
            then, argument = self._acts.popleft()
            then(argument)


class LineSink:
    """A pipe that keeps what is written."""

    def __init__(self) -> None:
        self.octets = b""

    def write(self, octets: bytes, /) -> int:
        self.octets += octets
        return len(octets)

    def fileno(self) -> int:
        return -1

    def isatty(self) -> bool:
        return False


class OddCase(TestCase):
    """A umd with a journal on disk and without sockets, which the test can kill and restart."""

    keeps_journal = True

    def setUp(self) -> None:
        captured_log(self)  # its clean-up is that of `configure` too
        self.clock = MemoryUdp()
        self.path = self.mktemp()
        self.store: FileStore | None = None
        self.leg_names = map("leg-{}".format, count(1))
        self.format = "json"

    def far_end(self, names: Iterator[bytes], route: bytes = b"") -> OddFarEnd:
        far = OddFarEnd(names, route)
        self.clock.listenUDP(FAR.port, far, FAR.host, 65535)
        return far

    def wall(self) -> float:
        return 1_000_000.0 + self.clock.seconds()

    async def start(self) -> None:
        self.sink = LineSink()
        self.log = configure("debug", self.format, self.sink)
        self.backend = SipBackend("pbx", section(), self.clock)
        self.capture = Capture(100_000, self.wall)
        call_log = CallLog(self.log)
        journal: CallJournal = NullJournal(call_log.record)
        wire = None
        if self.keeps_journal:
            self.store = FileStore(self.path)
            self.store.open()
            journal, wire = Ledger(self.store, call_log, True), CallSummaries(self.wall)
        self.backend.capture_to(self.capture.tap)
        self.control = Control(
            backends={"pbx": self.backend}, node="lab-1", clock=self.clock, wall=self.wall,
            log=self.log, journal=journal, summaries=wire,
            make_leg_name=lambda: next(self.leg_names),
        )  # fmt: skip
        if self.store is not None:
            for call in ended_calls(self.store, 0.0, 10_000, self.unreadable):
                self.control.recover(call, None)
            for call, leg_record, heard_at in live_calls(self.store, self.unreadable):
                self.control.recover(call, leg_record, heard_at)
        await self.control.start()
        self.run_for(0.1)

    def unreadable(self, stored: Stored, why: Exception) -> None:
        self.log.error("journal.record-unreadable", call=stored.call, why=str(why))

    async def stop(self) -> None:
        await self.control.stop()
        self.run_for(0.1)
        if self.store is not None:
            await self.store.close()
            self.store = None

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def run_for(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            if self.store is not None:
                self.store.commit()
            self.clock.advance(0.01)

    def place(self, how_many: int) -> list[Call]:
        calls = [self.control.place(ALICE, "100") for _ in range(how_many)]
        self.run_for(0.5)
        return calls

    def connected(self, calls: list[Call]) -> None:
        odd = [c.leg for c in calls if self.control.find(c.id).state is not CallState.CONNECTED]
        self.assertEqual(odd, [])

    def end(self, calls: list[Call]) -> list[Outcome]:
        ends = [ensureDeferred(self.control.disconnect(ALICE, call.id)) for call in calls]
        self.run_for(1)
        return [self.successResultOf(end) for end in ends]

    def console(self) -> Console:
        return Console(
            self.control, self.capture, self.wall, lambda: succeed(None), self.store
        )

    async def ask(self, line: bytes) -> list[Any]:
        return [reply async for reply in self.console().answer(line)]


HUNT_GROUP = b"<sip:hunt@group@pbx.example.com>"
LATIN_1 = '"Caf\u00e9 Zo\u00eb" <sip:100@pbx>'.encode("latin-1")


class SweepTests(OddCase):
    async def test_every_octet_in_every_place_of_a_far_ends_name(self) -> None:
        """Any octet in a name is returned unchanged, also after a restart."""
        names = list(odd_names())
        far = self.far_end(iter(names), b"\r\nRecord-Route: \"r\xe9\xff\" <sip:127.0.0.1:5070;lr>")
        await self.start()
        calls = self.place(len(names))
        self.connected(calls)
        await self.restart()
        self.connected(calls)
        self.assertEqual(set(self.end(calls)), {Outcome.ENDED})
        for call in calls:
            self.assertEqual(far.methods(call.leg), [b"INVITE", b"ACK", b"BYE"])
            self.assertEqual(far.last(call.leg, b"To"), [far.called[call.leg]])
            route = b'"r\xe9\xff" <sip:127.0.0.1:5070;lr>'
            self.assertEqual(far.last(call.leg, b"Route"), [route])

    async def test_without_a_journal(self) -> None:
        """Without a journal odd calls are reported, listed and ended."""
        self.keeps_journal = False
        names = list(odd_names())
        far = self.far_end(iter(names))
        await self.start()
        calls = self.place(len(names))
        self.assertEqual(len(await self.backend.legs()), len(names))
        listed = await self.ask(b'{"request":"calls"}')
        self.assertEqual(len(listed), len(names) + 1)
        for call in calls[:: len(calls) // 50]:
            replies = await self.ask(b'{"request":"trace","octets":true,"call":"%s"}' % (
                call.id.encode()
            ))  # fmt: skip
            messages = [one["message"] for one in replies if "message" in one]
            steps = [LadderStep.from_json(message) for message in messages]
            self.assertEqual(len(steps), 3)
            self.assertTrue(all(line.isprintable() for line in draw(steps)))
            octets = [b64decode(message["octets"]) for message in messages]
            packets = [
                Packet(step.at, step.source, step.target, data)
                for step, data in zip(steps, octets, strict=True)
            ]
            self.assertIn(b"To: " + far.called[call.leg] + b"\r\n", capture_file(packets))
        await self.stop()
        for call in calls:
            self.assertEqual(far.methods(call.leg), [b"INVITE", b"ACK", b"BYE"])
            self.assertEqual(far.last(call.leg, b"To"), [far.called[call.leg]])

    async def test_records_are_shown(self) -> None:
        """The commands that read the journal show the calls of odd far ends."""
        reason = b'\r\nReason: Q.850;cause=16;text="adi\xf3s \x1b[31m"'
        far = self.far_end(iter([LATIN_1]))
        await self.start()
        (call,) = self.place(1)
        invite = read_datagram(far.requests[call.leg][0])
        assert isinstance(invite, Request)
        bye = build.request(
            "BYE", "sip:umd@127.0.0.1", sent_by=f"{FAR.host}:{FAR.port}", branch="z9hG4bKx",
            from_="FROM", to=invite.get("From") or "", call_id=call.leg, cseq=7,
        ).octets()  # fmt: skip
        bye = bye.replace(b"From: FROM", b"From: " + far.called[call.leg] + reason)
        far._write(bye, ("127.0.0.1", 5060))
        self.run_for(0.5)
        await self.stop()
        records, crossed = read_call_history(None, self.path, call.id)
        told = "\n".join([*call_report(records, crossed), *map(event_line, records)])
        self.assertIn('Reason: Q.850;cause=16;text="adi\\udcf3s', told)
        self.assertEqual(list(read_events(None, self.path, 0, None)), records)
        lines = self.sink.octets.decode()
        self.assertNotIn("\x1b", lines)
        self.assertEqual(len([one for one in map(json.loads, lines.splitlines())]), 4)
        await self.start()
        cause = self.control.find(call.id).cause
        assert cause is not None
        said = 'Q.850;cause=16;text="adi\udcf3s \x1b[31m"'
        self.assertEqual(cause.reasons, (said,))

    async def test_terminal_output_is_safe(self) -> None:
        """A terminal gets no control characters from a far end."""
        self.format = "console"
        far = self.far_end(iter(odd_names()), b'\r\nReason: x\x1b[2J\xe9')
        await self.start()
        calls = self.place(100)
        self.end(calls)
        self.assertEqual(far.methods(calls[-1].leg)[-1], b"BYE")
        told = self.sink.octets.decode()
        self.assertEqual(told.count("call.disconnected"), 100)
        self.assertTrue(told.replace("\n", "").isprintable())


class OneOfManyTests(OddCase):
    """One odd call among fifty normal ones."""

    names = [b"<sip:100@pbx>"] * 25 + [HUNT_GROUP, LATIN_1] + [b"<sip:100@pbx>"] * 25

    async def test_stop_without_a_journal(self) -> None:
        """A stop without a journal ends every call."""
        self.keeps_journal = False
        far = self.far_end(iter(self.names))
        await self.start()
        calls = self.place(len(self.names))
        self.connected(calls)
        await self.stop()
        for call in calls:
            self.assertEqual(far.methods(call.leg), [b"INVITE", b"ACK", b"BYE"])

    async def test_leg_that_cannot_be_ended_at_a_stop(self) -> None:
        """The log names a leg that could not be ended at a stop."""
        self.keeps_journal = False
        far = self.far_end(iter(self.names))
        await self.start()
        calls = self.place(len(self.names))
        hang_up = SipLegs.hang_up

        def failing(legs: SipLegs, leg: LegId, cause: Cause, now: float) -> None:
            if leg == calls[3].leg:
                raise RuntimeError("a mistake")
            hang_up(legs, leg, cause, now)

        self.patch(SipLegs, "hang_up", failing)
        await self.stop()
        byes = [call for call in calls if b"BYE" in far.methods(call.leg)]
        self.assertEqual([call for call in calls if call not in byes], [calls[3]])
        self.assertIn(b'"sip.leg-not-ended"', self.sink.octets)

    async def test_exception_in_the_sink_delays_no_message(self) -> None:
        """Messages leave even if the receiver of an event raises."""
        far = self.far_end(iter(self.names))
        await self.start()
        leg_event = Control.leg_event

        def failing(control: Control, link: BackendLink, event: LegEvent) -> None:
            leg_event(control, link, event)
            if event in (Answered(LegId("leg-2")), Answered(LegId("leg-26"))):
                raise RuntimeError("a mistake")

        self.patch(Control, "leg_event", failing)
        calls = self.place(len(self.names))
        self.connected(calls)
        for call in calls:
            self.assertEqual(far.methods(call.leg), [b"INVITE", b"ACK"])
        self.assertEqual(set(self.end(calls)), {Outcome.ENDED})

    async def test_leg_without_a_record(self) -> None:
        """The far end gets its ACK, and a BYE at a hang-up or when umd stops."""
        far = self.far_end(iter(self.names))
        await self.start()
        record = SipLegs.record
        unrecordable = ["leg-1", "leg-7"]

        def failing(legs: SipLegs, leg: LegId) -> bytes | None:
            if leg in unrecordable:
                raise ValueError("nothing that could be written")
            return record(legs, leg)

        self.patch(SipLegs, "record", failing)
        calls = self.place(len(self.names))
        self.connected(calls)
        refused = [
            line for line in map(json.loads, self.sink.octets.splitlines())
            if line["event"] == "leg.record-failed"
        ]  # fmt: skip
        self.assertEqual([line["leg"] for line in refused], unrecordable)
        self.assertEqual(self.end(calls[:1]), [Outcome.ENDED])
        await self.stop()
        for call in calls:
            ended = call.leg in unrecordable
            self.assertEqual(b"BYE" in far.methods(call.leg), ended, call.leg)
        await self.start()
        lost = self.control.find(calls[6].id)
        self.assertTrue(lost.ended)
        self.assertFalse(lost.confirmed)
        rest = calls[1:6] + calls[7:]
        self.connected(rest)
        self.assertEqual(set(self.end(rest)), {Outcome.ENDED})

    async def test_damaged_leg_record(self) -> None:
        """A damaged leg record loses only that leg."""
        damages = [
            b"", b"[]", b"null", b"{}", b"[" * 5000, b"\xff\xfe", b"[1,2,3,4,5,6,7,8,9,10]",
            b'["a","b","c","d",["127.0.0.1",70000,"UDP",0],"sip:x@y",[],1,-1,""]',
            b'["a","b","c","d",["127.0.0.1",5070,"UDP",0],"sip:x@y",[],2147483647,-1,""]',
            b'["a","b","c","d",["127.0.0.1",5070,"UDP",0],"sip:x@y",[],1e400,-1,""]',
            b'["a","b","c","d",["127.0.0.1",5070,"UDP",0],"sip:x@y",[7],1,-1,""]',
            b'["a","b","c","d",["127.0.0.1",5070,"UDP",0],"sip:x@y",["no route"],1,-1,""]',
            b'["a","b","c","d",["127.0.0.1",5070,"UDP",0],"sip:x@y",[],1,-1,"\xe2\x82\xac"]',
            b'["a","b","c","d",["127.0.0.1",5070,"UDP",0],"sip:x@y\\r\\nX: y",[],1,-1,""]',
            b'["a","b","c\\nX: y","d",["127.0.0.1",5070,"UDP",0],"sip:x@y",[],1,-1,""]',
            b'["a","b","c","d",["127.0.0.1",5070,"UDP",0],"\\u0000",["<sip:r;lr>\\n"],1,-1,""]',
        ]  # fmt: skip
        self.far_end(iter(self.names))
        await self.start()
        calls = self.place(len(self.names))
        await self.stop()
        odd = calls[: len(damages)]
        with closing(sqlite3.connect(self.path)) as db, db:
            for call, damage in zip(odd, damages, strict=True):
                db.execute(
                    "UPDATE events SET extra = ? WHERE call = ? AND extra IS NOT NULL",
                    (damage, call.id),
                )
        await self.start()
        self.connected(calls[len(damages) :])
        self.assertEqual(set(self.end(calls[len(damages) :])), {Outcome.ENDED})
        self.end(odd)
        self.assertEqual([self.control.find(call.id).confirmed for call in odd], [False] * len(odd))
        self.assertEqual(self.control.counts().live, 0)

    async def test_damaged_event_record(self) -> None:
        """A damaged event record loses only that call."""
        damages = [b"", b"\x00", b"[]", b'{"event":[]}', b'{"event":"call.placed"}', b"{" * 5000]
        self.far_end(iter(self.names))
        await self.start()
        calls = self.place(len(self.names))
        self.assertEqual(set(self.end(calls[-6:])), {Outcome.ENDED})
        await self.stop()
        begun, over = calls[: len(damages)], calls[-6:]
        with closing(sqlite3.connect(self.path)) as db, db:
            for call, damage in zip(begun, damages, strict=True):
                db.execute(
                    "UPDATE events SET record = ? WHERE call = ? AND step = 1", (damage, call.id)
                )
            for call, damage in zip(over, damages, strict=True):
                db.execute(
                    "UPDATE events SET record = ? WHERE call = ? AND step = -1", (damage, call.id)
                )
        listed, _ = read_calls(None, self.path)
        self.assertEqual(len(listed), len(calls) - len(over))
        records = list(read_events(None, self.path, 0, None))
        self.assertTrue(all(event_line(record) for record in records))
        unreadable = [one for one in records if one["event"] == "record.unreadable"]
        self.assertEqual({one["call"] for one in unreadable} & {one.id for one in over},
                         {one.id for one in over})  # fmt: skip
        for call in [*begun, *over]:
            self.assertTrue(list(call_report(*read_call_history(None, self.path, call.id))))
        await self.start()
        for call in begun:
            self.assertTrue(self.control.find(call.id).ended)
        for call in over:
            with self.assertRaises(NoSuchCall):
                self.control.find(call.id)
        rest = calls[len(damages) : -6]
        self.connected(rest)
        self.assertEqual(set(self.end(rest)), {Outcome.ENDED})
        await self.restart()  # each damaged call has one end event now
        self.assertEqual(self.control.counts().live, 0)
