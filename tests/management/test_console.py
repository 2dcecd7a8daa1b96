"""What can be asked over the control socket, without a socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, ControlRoom
from umd.backend import Ended
from umd.backends.sim import SimBackend
from umd.backends.sim.section import SimSection
from umd.call.cause import Cause, EndedBy
from umd.control.errors import NoSuchCall
from umd.management import call_search, console, requests
from umd.management.console import ANSWERS, Console
from umd.management.refusals import Refused, error_reply
from umd.management.requests import REQUESTS, ControlRequest
from umd.sip.message import Request
from umd.sip.transaction import Hop
from umd.trace.capture import Capture

US, THEM = Hop("umd.sim", 5060), Hop("far.sim", 5060)


def message(call_id: str, **more: str) -> Request:
    headers = [("Via", "SIP/2.0/UDP umd.sim;branch=z9hG4bK1"), ("Call-ID", call_id)]
    return Request("BYE", "sip:x", [*headers, ("CSeq", "2 BYE"), *more.items()])


class ConsoleCase(SynchronousTestCase):
    size = 100

    def setUp(self) -> None:
        self.room = ControlRoom()
        self.control = self.room.control
        self.successResultOf(ensureDeferred(self.control.start()))
        self.capture = Capture(self.size, self.wall)
        self.breaths = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.console = Console(self.control, self.capture, self.wall, self.breathe)

    def wall(self) -> float:
        return 1_000_000.0 + self.room.clock.seconds()

    async def breathe(self) -> None:
        self.breaths += 1
        self.meanwhile()

    def ask(self, request: Any, **fields: Any) -> list[Any]:
        """The replies to a request, a refusal too."""
        line = request
        if not isinstance(line, bytes):
            line = json.dumps({"request": request, **fields}).encode()

        async def collect() -> list[Any]:
            replies: list[Any] = []
            try:
                async for reply in self.console.answer(line):
                    replies.append(reply)
            except Exception as error:
                last = error_reply(error)
                if last is None:
                    raise
                replies.append(last)
            return replies

        # Everything that is answered can be written as JSON.
        collected = self.successResultOf(ensureDeferred(collect()))
        return [json.loads(json.dumps(reply)) for reply in collected]

    def error(self, request: Any, **fields: Any) -> tuple[str, str]:
        (reply,) = self.ask(request, **fields)
        return reply["kind"], reply["error"]


class CallsTests(ConsoleCase):
    def test_none(self) -> None:
        self.assertEqual(self.ask("calls"), [{"done": {"count": 0}}])

    def test_the_live_ones_with_all_that_is_known(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.control.place(ALICE, "rejects")
        one, done = self.ask("calls")
        self.assertEqual(done, {"done": {"count": 1}})
        self.assertEqual(
            one["call"],
            {
                "id": call.id,
                "leg": "leg-1",
                "owner": "alice",
                "to": "answers",
                "state": "connected",
                "backend": "fake",
                "began_at": "1970-01-12T13:46:40.000Z",
                "asked_at": None,
                "ended_at": None,
                "overdue": False,
            },
        )

    def test_one_that_was_asked_to_end_and_does_not_is_overdue(self) -> None:
        call = self.control.place(ALICE, "silent")
        _ = ensureDeferred(self.control.disconnect(ALICE, call.id))
        self.assertFalse(self.ask("calls")[0]["call"]["overdue"])
        self.room.clock.advance(self.control.settings.deadline + 0.5)
        described = self.ask("calls")[0]["call"]
        self.assertTrue(described["overdue"])
        self.assertEqual(described["state"], "disconnecting")
        self.assertEqual(described["asked_at"], "1970-01-12T13:46:40.000Z")

    def test_many_are_listed_in_turns_with_others(self) -> None:
        """What ends in the meantime is not listed as live."""
        self.patch(call_search, "MAX_ITEMS_PER_TURN", 10)
        calls = [self.control.place(ALICE, "answers") for _ in range(35)]

        def end_one() -> None:
            self.meanwhile = lambda: None
            _ = ensureDeferred(self.control.disconnect(ALICE, calls[-1].id))

        self.meanwhile = end_one
        self.assertEqual(self.ask("calls")[-1], {"done": {"count": 34}})
        self.assertEqual(self.breaths, 3)


class StatusTests(ConsoleCase):
    def test_every_call_is_counted_once(self) -> None:
        calls = [self.control.place(ALICE, "answers") for _ in range(3)]
        self.successResultOf(ensureDeferred(self.control.disconnect(ALICE, calls[0].id)))
        told = self.ask("status")[0]["status"]
        counts = [told[f"calls_{name}"] for name in ("begun", "ended", "live")]
        self.assertEqual((counts, told["events_refused"]), ([3, 1, 2], 0))
        self.assertTrue(told["counts_agree"])

    def test_a_second_end_is_refused_and_counted_and_counts_stay_right(self) -> None:
        call = self.control.place(ALICE, "answers")
        end = Ended(call.leg, Cause(by=EndedBy.FAR_END))
        for _ in range(2):
            self.control.links["fake"].leg_event(end)
        told = self.ask("status")[0]["status"]
        self.assertEqual((told["events_refused"], told["calls_ended"]), (1, 1))
        self.assertTrue(told["counts_agree"])

    def test_a_call_that_got_lost_from_the_count_is_told(self) -> None:
        self.control.place(ALICE, "answers")
        self.control.links["fake"].calls.clear()  # a mistake of umd's own
        self.assertFalse(self.ask("status")[0]["status"]["counts_agree"])


class EndTests(ConsoleCase):
    def test_whether_the_end_is_confirmed_is_told(self) -> None:
        call = self.control.place(ALICE, "answers")
        for outcome in ("ended", "already-ended"):
            end = self.ask("end", call=call.id)[0]["end"]
            self.assertEqual((end["outcome"], end["confirmed"]), (outcome, True))

    def test_a_call_that_ended_unconfirmed_stays_so(self) -> None:
        call = self.control.place(ALICE, "answers")
        lost = Ended(call.leg, Cause(by=EndedBy.DAEMON), confirmed=False)
        self.control.links["fake"].leg_event(lost)
        end = self.ask("end", call=call.id)[0]["end"]
        self.assertEqual((end["outcome"], end["confirmed"]), ("already-ended", False))


class TraceTests(ConsoleCase):
    def setUp(self) -> None:
        super().setUp()
        self.call = self.control.place(ALICE, "answers")
        self.capture.tap(US, THEM, message("leg-1"))
        self.capture.tap(US, THEM, message("other"))
        self.capture.tap(US, THEM, message("leg-1"))

    def test_the_messages_of_the_call_and_of_no_other(self) -> None:
        about, first, again, done = self.ask("trace", call="leg-1")
        self.assertEqual(about["call"]["id"], self.call.id)
        self.assertEqual(about["call"]["sip_call_id"], "leg-1")
        self.assertEqual(first["message"]["start_line"], "BYE sip:x SIP/2.0")
        self.assertEqual([m["message"]["retransmission"] for m in (first, again)], [0, 1])
        self.assertNotIn("octets", first["message"])
        self.assertEqual(done, {"done": {"count": 3}})

    def test_octets_when_they_are_asked_for(self) -> None:
        self.capture.tap(US, THEM, message("leg-1", Reason="a\r\nb"))
        _, first, _, bad, _ = self.ask("trace", call="leg-1", octets=True)
        octets = base64.b64decode(first["message"]["octets"])
        self.assertTrue(octets.startswith(b"BYE sip:x SIP/2.0\r\nVia: "), octets)
        self.assertIsNone(bad["message"]["octets"])

    def test_any_id_will_do(self) -> None:
        """CallId, leg, SIP Call-ID, or a beginning of one that no other has."""
        for text in (self.call.id, self.call.id[:6], "leg-1", "leg", "le"):
            self.assertEqual(len(self.ask("trace", call=text)), 4, text)

    def test_a_call_that_has_ended_too(self) -> None:
        self.successResultOf(ensureDeferred(self.control.disconnect(ALICE, self.call.id)))
        about = self.ask("trace", call="leg-1")[0]["call"]
        self.assertEqual((about["state"], about["ended_at"]), ("disconnected", about["asked_at"]))

    def test_messages_of_a_call_that_nobody_knows(self) -> None:
        about = self.ask("trace", call="oth")[0]
        self.assertEqual(about, {"call": {"sip_call_id": "other"}})

    def test_an_ambiguous_beginning_lists_the_candidates(self) -> None:
        for _ in range(12):
            self.control.place(ALICE, "answers")
        self.capture.tap(US, THEM, message("leg-x\udcff"))
        (reply,) = self.ask("trace", call="leg-")
        self.assertEqual(reply["kind"], "ambiguous")
        self.assertEqual(reply["error"], "14 calls begin with 'leg-'")
        self.assertEqual(len(reply["candidates"]), 10)
        self.assertEqual(reply["candidates"][0]["id"], self.call.id)
        # "leg-1" is a whole name, though "leg-10" begins with it.
        self.assertEqual(self.ask("trace", call="leg-1")[0]["call"]["id"], self.call.id)
        (reply,) = self.ask("trace", call="leg-x")[:1]
        self.assertEqual(reply, {"call": {"sip_call_id": "leg-x?"}})

    def test_no_such_call(self) -> None:
        self.assertEqual(
            self.error("trace", call="nope"), ("no-such-call", "no call begins with 'nope'")
        )

    def test_a_call_without_messages(self) -> None:
        self.control.place(ALICE, "answers")
        kind, text = self.error("trace", call="leg-2")
        self.assertEqual(kind, "no-messages")
        self.assertIn("only the last 100 of all calls are (trace.messages)", text)

    def test_a_long_search_lets_others_have_their_turn(self) -> None:
        self.patch(call_search, "MAX_ITEMS_PER_TURN", 1)
        self.ask("trace", call="leg")
        self.assertEqual(self.breaths, 2 + 2)


class NothingKeptTests(ConsoleCase):
    size = 0

    def test_it_says_that_nothing_is_kept(self) -> None:
        self.control.place(ALICE, "answers")
        self.assertEqual(
            self.error("trace", call="leg-1"),
            ("no-messages", "SIP messages are not kept: trace.messages = 0 in the configuration"),
        )


class SimulatedCallTests(SynchronousTestCase):
    def test_a_simulated_call_from_invite_to_the_second_bye(self) -> None:
        clock = Clock()
        sim = SimBackend("sim", SimSection(), clock)
        room = ControlRoom({"sim": sim})
        capture = Capture(100, clock.seconds)
        sim.capture_to(capture.tap)
        self.successResultOf(ensureDeferred(room.control.start()))
        call = room.control.place(ALICE, "5550199")
        clock.pump([0.001] * 3 + [1.0] + [0.001] * 3)
        _ = ensureDeferred(room.control.disconnect(ALICE, call.id))
        clock.advance(0.5)

        async def breathe() -> None:
            """There is nobody else."""

        async def collect() -> list[Any]:
            console = Console(room.control, capture, clock.seconds, breathe)
            line = json.dumps({"request": "trace", "call": call.leg}).encode()
            return [reply async for reply in console.answer(line)]

        found = [one["message"] for one in self.successResultOf(ensureDeferred(collect()))[1:-1]]
        self.assertEqual(
            [(m["method"] or m["status"], m["sdp"], m["retransmission"]) for m in found],
            [
                ("INVITE", True, 0),
                (180, False, 0),
                (200, True, 0),
                ("ACK", False, 0),
                ("BYE", False, 0),
                ("BYE", False, 1),
            ],
        )


class WrongRequestTests(ConsoleCase):
    def test_what_is_no_request_is_told(self) -> None:
        for line, words in (
            (b"", "a JSON object on a line"),
            (b"[]", "a JSON object on a line"),
            (b"{", "a JSON object on a line"),
            (b'"calls"', "a JSON object on a line"),
            (b"\xff\xff", "a JSON object on a line"),
            (b"[" * 10_000, "a JSON object on a line"),
            (b"{}", "no request 'None'; there is: calls, check, copy, end, events, place"),
            (b'{"request": {"a": 1}}', "no request"),
            (b'{"request": "reboot"}', "no request 'reboot'; there is: calls, check, copy"),
            (b'{"request": "calls", "all": true}', "request calls, field 'all'"),
            (b'{"request": "trace"}', "request trace, field 'call'"),
            (b'{"request": "trace", "call": 5}', "request trace, field 'call'"),
            (b'{"request": "trace", "call": ""}', "request trace, field 'call'"),
            (b'{"request": "trace", "call": "x", "octets": "yes"}', "field 'octets'"),
            (json.dumps({"request": "trace", "call": "x" * 1025}).encode(), "field 'call'"),
        ):
            kind, text = self.error(line)
            self.assertEqual(kind, "bad-request", line)
            self.assertIn(words, text)

    def test_a_new_request_is_an_entry_in_two_tables(self) -> None:
        class EchoRequest(ControlRequest):
            text: str

        async def echo(_: Console, request: EchoRequest) -> Any:
            yield {"echo": request.text}

        self.patch(requests, "REQUESTS", {**REQUESTS, "echo": EchoRequest})
        self.patch(console, "ANSWERS", {**ANSWERS, EchoRequest: echo})
        self.assertEqual(
            self.ask("echo", text="x"), [{"echo": "x"}, {"done": {"count": 1}}]
        )

    def test_every_request_is_answered(self) -> None:
        self.assertEqual(set(REQUESTS.values()), set(ANSWERS))

    def test_only_what_is_foreseen_is_told(self) -> None:
        self.assertIsNone(error_reply(RuntimeError("secret")))
        self.assertEqual(error_reply(NoSuchCall("x")), {"error": "x", "kind": "no-such-call"})
        self.assertEqual(error_reply(Refused("x")), {"error": "x", "kind": "bad-request"})


class PlaceTests(ConsoleCase):
    def test_a_number_is_placed_as_it_is_read(self) -> None:
        for text, number in (
            ("+44 (20) 7946", "+44207946"),
            ("tel:7042;ext=1-2", "tel:7042;ext=12"),
            ("bob@example.com", "sip:bob@example.com"),
            ("front desk", "front desk"),
        ):
            placed, _ = self.ask("place", number=text)
            self.assertEqual(placed["call"]["to"], number)

    def test_what_cannot_be_dialled_is_refused_with_its_reason(self) -> None:
        for number, why in (
            ("", "empty"),
            ("sips:bob@example.com", "asks for TLS"),
            ("7042\x1b[2J", "invisible characters"),
            ("7" * 5000, "5000 characters"),
            ("caf\udce9", "invisible characters"),  # not UTF-8 on the command line
        ):
            (refused,) = self.ask("place", number=number)
            self.assertEqual(refused["kind"], "not-dialable")
            self.assertIn(why, refused["error"])
        self.assertEqual(self.room.fake.commands, [])
