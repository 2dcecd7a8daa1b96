"""The requests of the control socket and their replies, without a socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, BOB, ControlRoom
from umd.backend import Changed, Direction, Ended, FoundLeg, LegId
from umd.backends.sim import SimBackend
from umd.backends.sim.section import SimSection
from umd.call.call import Call, CallState
from umd.call.cause import Cause, EndedBy
from umd.control.errors import NoSuchCall
from umd.management import console, requests
from umd.management.console import ANSWERS, Console
from umd.management.refusals import Refused, error_reply
from umd.management.requests import REQUESTS, ControlRequest
from umd.runtime import turns
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
        self.pauses = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.console = Console(self.control, self.capture, self.wall, self.pause)

    def wall(self) -> float:
        return 1_000_000.0 + self.room.clock.seconds()

    async def pause(self) -> None:
        self.pauses += 1
        self.meanwhile()

    def ask(self, request: Any, **fields: Any) -> list[Any]:
        """Return the replies to a request; the last may be an error."""
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

        # Every reply can be written as JSON.
        collected = self.successResultOf(ensureDeferred(collect()))
        return [json.loads(json.dumps(reply)) for reply in collected]

    def error(self, request: Any, **fields: Any) -> tuple[str, str]:
        (reply,) = self.ask(request, **fields)
        return reply["kind"], reply["error"]


class CallsTests(ConsoleCase):
    def test_none(self) -> None:
        self.assertEqual(self.ask("calls"), [{"done": {"count": 0}}])

    def test_a_live_call_is_listed_with_all_keys(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.control.place(ALICE, "rejects")
        reply, done = self.ask("calls")
        self.assertEqual(done, {"done": {"count": 1}})
        self.assertEqual(
            reply["call"],
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
                "overdue": False, "suspect": None,
                "aliases": {},
                "labels": [],
                "partners": [],
                "direction": None,
                "shown_by": None,
                "caused_by": None,
                "lease_s": None,
                "lease_ends_at": None,
            },
        )

    def test_a_call_is_overdue_after_its_deadline(self) -> None:
        call = self.control.place(ALICE, "silent")
        _ = ensureDeferred(self.control.disconnect(ALICE, call.id))
        self.assertFalse(self.ask("calls")[0]["call"]["overdue"])
        self.room.clock.advance(self.control.settings.deadline + 0.5)
        described = self.ask("calls")[0]["call"]
        self.assertTrue(described["overdue"])
        self.assertEqual(described["state"], "disconnecting")
        self.assertEqual(described["asked_at"], "1970-01-12T13:46:40.000Z")

    def test_a_long_list_is_made_in_turns(self) -> None:
        """A call that ends between two turns is not listed."""
        self.patch(turns, "MAX_ITEMS_PER_TURN", 10)
        calls = [self.control.place(ALICE, "answers") for _ in range(35)]

        def end_one() -> None:
            self.meanwhile = lambda: None
            _ = ensureDeferred(self.control.disconnect(ALICE, calls[-1].id))

        self.meanwhile = end_one
        self.assertEqual(self.ask("calls")[-1], {"done": {"count": 34}})
        self.assertEqual(self.pauses, 3)


class StatusTests(ConsoleCase):
    def test_every_call_is_counted_once(self) -> None:
        calls = [self.control.place(ALICE, "answers") for _ in range(3)]
        self.successResultOf(ensureDeferred(self.control.disconnect(ALICE, calls[0].id)))
        status = self.ask("status")[0]["status"]
        counts = [status[f"calls_{name}"] for name in ("begun", "ended", "live")]
        self.assertEqual((counts, status["events_refused"]), ([3, 1, 2], 0))
        self.assertTrue(status["counts_agree"])

    def test_a_second_end_is_refused_and_counted(self) -> None:
        call = self.control.place(ALICE, "answers")
        end = Ended(call.leg, Cause(by=EndedBy.FAR_END))
        for _ in range(2):
            self.control.links["fake"].leg_event(end)
        status = self.ask("status")[0]["status"]
        self.assertEqual((status["events_refused"], status["calls_ended"]), (1, 1))
        self.assertTrue(status["counts_agree"])

    def test_a_call_that_is_missing_in_the_counts_is_reported(self) -> None:
        self.control.place(ALICE, "answers")
        self.control.links["fake"].calls.clear()  # a fault in umd
        self.assertFalse(self.ask("status")[0]["status"]["counts_agree"])


class EndTests(ConsoleCase):
    def test_a_confirmed_end(self) -> None:
        call = self.control.place(ALICE, "answers")
        for outcome in ("ended", "already-ended"):
            end = self.ask("end", call=call.id)[0]["end"]
            self.assertEqual((end["outcome"], end["confirmed"]), (outcome, True))

    def test_an_unconfirmed_end_stays_unconfirmed(self) -> None:
        call = self.control.place(ALICE, "answers")
        lost = Ended(call.leg, Cause(by=EndedBy.DAEMON), confirmed=False)
        self.control.links["fake"].leg_event(lost)
        end = self.ask("end", call=call.id)[0]["end"]
        self.assertEqual((end["outcome"], end["confirmed"]), ("already-ended", False))

    def test_a_prefix_ends_nothing(self) -> None:
        """The reply has the complete ids of the calls that begin so, to send one of them."""
        calls = [self.control.place(ALICE, "answers") for _ in range(2)]
        for text, candidates in (("leg-", calls), ("leg", calls), (calls[0].id[:-2], calls[:1])):
            (refused,) = self.ask("end", call=text)
            self.assertEqual(refused["kind"], "no-such-call")
            found = [candidate["id"] for candidate in refused["candidates"]]
            self.assertLessEqual({call.id for call in candidates}, set(found))
        self.assertIn("1 call begins with it: give a complete id",
                      self.ask("end", call=calls[0].id[:-4])[0]["error"])  # fmt: skip
        self.assertEqual(self.error("end", call="x"), ("no-such-call", "no call begins with 'x'"))
        self.assertEqual([command for command, _ in self.room.fake.commands], ["place"] * 2)


class ForgetTests(ConsoleCase):
    def test_a_call_is_given_up(self) -> None:
        """The operator's words are in the record; the request is in the log."""
        call = self.control.place(ALICE, "silent")
        reply = self.ask("forget", call=call.id, reason="its PBX was replaced")[0]["forget"]
        self.assertEqual((reply["was"], reply["outcome"]), ("connected", "forgotten"))
        self.assertEqual(self.room.event_names(call)[-1], "Forgotten")
        self.assertEqual(self.error("forget", call=call.id, reason="again")[0], "no-such-call")

    def test_nothing_is_given_up_by_mistake(self) -> None:
        call = self.control.place(ALICE, "silent")
        self.assertEqual(self.error("forget", call=call.id, reason="")[0], "bad-request")
        self.assertEqual(self.error("forget", call=call.id[:-2], reason="x")[0], "no-such-call")
        self.assertFalse(call.ended)

    def test_suspect_calls_are_listed_and_counted(self) -> None:
        call, young = (self.control.place(ALICE, "silent") for _ in range(2))
        call.max_age = 1.0
        self.room.clock.advance(2.0)
        found = [reply["call"] for reply in self.ask("calls", suspect=True)[:-1]]
        self.assertEqual([(each["id"], each["suspect"]) for each in found], [(call.id, "too-old")])
        self.assertEqual(len(self.ask("calls", suspect=False)), 2)
        self.assertEqual(self.ask("status")[0]["status"]["suspect_calls"], 1)
        self.assertFalse(young.ended)


class AliasTests(ConsoleCase):
    """A call of a PBX is found by each of its ids."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("a", "b"):
            self.room.fake.appear(
                FoundLeg(
                    leg=LegId(f"chan-{name}"), state=CallState.CONNECTED, number="100",
                    aliases={"sip-call-id": f"{name}@pbx", "channel": f"SIP/{name}"},
                    labels=("ci", f"only-{name}"), direction=Direction.INBOUND,
                )
            )  # fmt: skip
        self.a, self.b = self.control.live_calls()
        self.capture.tap(US, THEM, message("a@pbx"))
        self.capture.tap(US, THEM, message("b@pbx"))

    def test_every_id_and_its_beginning_finds_the_messages(self) -> None:
        """The captured messages have the SIP Call-ID, which is not the name of the leg."""
        for text in ("chan-a", "a@pbx", "SIP/a", "only-a", self.a.id, "a@", "only-a"[:6]):
            about, first, _ = self.ask("trace", call=text)
            self.assertEqual((about["call"]["id"], about["call"]["sip_call_id"]),
                             (self.a.id, "a@pbx"), text)  # fmt: skip
            self.assertEqual(first["message"]["sip_call_id"], "a@pbx")

    def test_a_label_of_two_calls_lists_both(self) -> None:
        for request in ("trace", "end"):
            (refused,) = self.ask(request, call="ci")
            self.assertEqual(refused["kind"], "ambiguous")
            self.assertEqual(refused["error"], "2 calls have the id 'ci'")
            self.assertEqual([c["id"] for c in refused["candidates"]], [self.a.id, self.b.id])
        self.assertEqual(self.room.fake.commands, [])

    def test_a_complete_id_ends_the_call(self) -> None:
        for text, outcome in (("a@pbx", "ended"), ("only-a", "already-ended"), ("ci", "ended")):
            self.assertEqual(self.ask("end", call=text)[0]["end"]["outcome"], outcome)
        self.assertEqual([leg for _, leg in self.room.fake.commands], ["chan-a", "chan-b"])

    def test_a_call_is_described_with_its_ids_and_its_proof(self) -> None:
        sink = self.room.fake.sink
        assert sink is not None
        sink.leg_event(Changed(leg=self.a.leg, partners=(self.b.leg,)))
        end = self.ask("end", call="a@pbx")[0]["end"]
        expected = {
            "aliases": {"sip-call-id": "a@pbx", "channel": "SIP/a"}, "labels": ["ci", "only-a"],
            "partners": [self.b.id], "direction": "inbound", "shown_by": "far-end",
            "caused_by": None,
        }  # fmt: skip
        self.assertEqual({key: end[key] for key in expected}, expected)
        partner = self.ask("trace", call="b@pbx")[0]["call"]
        self.assertEqual((partner["state"], partner["caused_by"]), ("disconnected", self.a.id))


class ManyCallsTests(ConsoleCase):
    """A dry run shows and counts, and a second request ends exactly that."""

    def setUp(self) -> None:
        super().setUp()
        self.calls = [self.control.place(ALICE, "answers") for _ in range(3)]
        self.other = self.control.place(BOB, "rings")
        self.control.settings = replace(self.control.settings, protected_labels=("keep",))

    def appear(self, leg: str, label: str, *partners: str) -> Call:
        self.room.fake.appear(
            FoundLeg(
                leg=LegId(leg), state=CallState.CONNECTED, number="100", labels=(label,),
                partners=tuple(map(LegId, partners)),
            )
        )  # fmt: skip
        return self.control.resolve(leg)

    def test_the_list_takes_the_selectors(self) -> None:
        for selectors, count in (
            ({"owner": "bob"}, 1), ({"number": "ans*"}, 3), ({"state": "alerting"}, 1),
            ({"older_than": 5}, 0), ({"id": "leg-2"}, 1), ({"backend": "none"}, 0), ({}, 4),
        ):  # fmt: skip
            self.assertEqual(self.ask("calls", **selectors)[-1], {"done": {"count": count}})

    def test_a_dry_run_and_the_end(self) -> None:
        selected, *found, _ = self.ask("end-many", owner="alice", dry_run=True)
        self.assertEqual(selected, {"selected": {"count": 3, "partners": 0, "protected": 0}})
        self.assertEqual([reply["call"]["id"] for reply in found], [c.id for c in self.calls])
        self.assertFalse(any(call.ended for call in self.calls))
        replies = self.ask("end-many", owner="alice", max=10, expect=3)
        self.assertEqual(replies[0], selected)
        self.assertEqual(
            replies[1]["result"],
            {
                "id": self.calls[0].id, "leg": "leg-1", "to": "answers", "state": "disconnected",
                "backend": "fake", "outcome": "ended", "confirmed": True, "shown_by": "far-end",
                "why": "",
            },
        )  # fmt: skip
        self.assertEqual(
            replies[-2],
            {
                "summary": {
                    "selected": 3, "ended": 3, "ended_unconfirmed": 0, "already_ended": 0,
                    "protected": 0, "failed": 0,
                }
            },
        )  # fmt: skip
        self.assertEqual(list(self.control.live_calls()), [self.other])

    def test_partners_and_protected_calls_are_shown(self) -> None:
        a = self.appear("a", "ci")
        b = self.appear("b", "x", "a")
        self.appear("c", "keep")
        d = self.appear("d", "ci", "c")
        assert self.room.fake.sink is not None
        self.room.fake.sink.leg_event(Changed(leg=a.leg, partners=(b.leg,)))
        selected, *found, _ = self.ask("end-many", label="ci", dry_run=True)
        self.assertEqual(selected, {"selected": {"count": 2, "partners": 1, "protected": 1}})
        self.assertEqual(
            [(r["call"]["id"], r["call"]["protected"], r["call"]["ends_with"]) for r in found],
            [(a.id, False, None), (b.id, False, a.id), (d.id, True, None)],
        )
        results = self.ask("end-many", label="ci", max=9, expect=2)[1:-2]
        self.assertEqual(
            [(reply["result"]["id"], reply["result"]["outcome"]) for reply in results],
            [(d.id, "protected"), (a.id, "ended"), (b.id, "ended")],
        )

    def test_what_is_refused_ends_nothing(self) -> None:
        for fields, kind, words in (
            ({}, "bad-request", "no selector is given"),
            ({"owner": "alice"}, "bad-request", "needs `max` and `expect`"),
            ({"owner": "alice", "max": 5}, "bad-request", "needs `max` and `expect`"),
            ({"owner": "alice", "max": 2, "expect": 3}, "too-many", "more than the maximum of 2"),
            ({"owner": "alice", "max": 5, "expect": 4}, "count-changed", "now, not 4 as expected"),
            ({"state": "ringing", "max": 5, "expect": 1}, "bad-request", "state: 'ringing'"),
            ({"state": "ringing", "dry_run": True}, "bad-request", "state: 'ringing'"),
            ({"owner": "alice", "max": 5, "expect": 3, "rate": 0}, "bad-request", "'rate'"),
            ({"owner": "alice", "max": -1, "expect": 3}, "bad-request", "'max'"),
            ({"owners": "alice", "dry_run": True}, "bad-request", "'owners'"),
        ):
            found_kind, text = self.error("end-many", **fields)
            self.assertEqual(found_kind, kind, fields)
            self.assertIn(words, text)
        self.assertEqual([command for command, _ in self.room.fake.commands], ["place"] * 4)


class TraceTests(ConsoleCase):
    def setUp(self) -> None:
        super().setUp()
        self.call = self.control.place(ALICE, "answers")
        self.capture.tap(US, THEM, message("leg-1"))
        self.capture.tap(US, THEM, message("other"))
        self.capture.tap(US, THEM, message("leg-1"))

    def test_only_the_messages_of_the_call(self) -> None:
        about, first, again, done = self.ask("trace", call="leg-1")
        self.assertEqual(about["call"]["id"], self.call.id)
        self.assertEqual(about["call"]["sip_call_id"], "leg-1")
        self.assertEqual(first["message"]["start_line"], "BYE sip:x SIP/2.0")
        self.assertEqual([m["message"]["retransmission"] for m in (first, again)], [0, 1])
        self.assertNotIn("octets", first["message"])
        self.assertEqual(done, {"done": {"count": 3}})

    def test_octets_on_request(self) -> None:
        self.capture.tap(US, THEM, message("leg-1", Reason="a\r\nb"))
        _, first, _, bad, _ = self.ask("trace", call="leg-1", octets=True)
        octets = base64.b64decode(first["message"]["octets"])
        self.assertTrue(octets.startswith(b"BYE sip:x SIP/2.0\r\nVia: "), octets)
        self.assertIsNone(bad["message"]["octets"])

    def test_any_id_or_prefix_finds_the_call(self) -> None:
        """A CallId, a leg, a SIP Call-ID, and a prefix of each."""
        for text in (self.call.id, self.call.id[:6], "leg-1", "leg", "le"):
            self.assertEqual(len(self.ask("trace", call=text)), 4, text)

    def test_an_ended_call(self) -> None:
        self.successResultOf(ensureDeferred(self.control.disconnect(ALICE, self.call.id)))
        about = self.ask("trace", call="leg-1")[0]["call"]
        self.assertEqual((about["state"], about["ended_at"]), ("disconnected", about["asked_at"]))

    def test_messages_of_an_unknown_call(self) -> None:
        about = self.ask("trace", call="oth")[0]
        self.assertEqual(about, {"call": {"sip_call_id": "other"}})

    def test_an_ambiguous_prefix_lists_the_candidates(self) -> None:
        for _ in range(12):
            self.control.place(ALICE, "answers")
        self.capture.tap(US, THEM, message("leg-x\udcff"))
        (reply,) = self.ask("trace", call="leg-")
        self.assertEqual(reply["kind"], "ambiguous")
        self.assertEqual(reply["error"], "14 calls begin with 'leg-'")
        self.assertEqual(len(reply["candidates"]), 10)
        self.assertEqual(reply["candidates"][0]["id"], self.call.id)
        # "leg-1" is a complete name, although "leg-10" begins with it.
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

    def test_a_long_search_pauses_for_other_work(self) -> None:
        self.patch(turns, "MAX_ITEMS_PER_TURN", 1)
        self.ask("trace", call="leg")
        self.assertEqual(self.pauses, 2 + 2)


class NoCaptureTests(ConsoleCase):
    size = 0

    def test_the_error_names_the_setting(self) -> None:
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

        async def pause() -> None:
            """There is no other work."""

        async def collect() -> list[Any]:
            console = Console(room.control, capture, clock.seconds, pause)
            line = json.dumps({"request": "trace", "call": call.leg}).encode()
            return [reply async for reply in console.answer(line)]

        replies = self.successResultOf(ensureDeferred(collect()))
        found = [reply["message"] for reply in replies[1:-1]]
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
    def test_an_invalid_request_is_refused_with_its_field(self) -> None:
        for line, words in (
            (b"", "a JSON object on a line"),
            (b"[]", "a JSON object on a line"),
            (b"{", "a JSON object on a line"),
            (b'"calls"', "a JSON object on a line"),
            (b"\xff\xff", "a JSON object on a line"),
            (b"[" * 10_000, "a JSON object on a line"),
            (b"{}", "no request 'None'; there is: calls, check, copy, end, end-many, events"),
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

    def test_an_internal_error_has_no_error_reply(self) -> None:
        self.assertIsNone(error_reply(RuntimeError("secret")))
        self.assertEqual(error_reply(NoSuchCall("x")), {"error": "x", "kind": "no-such-call"})
        self.assertEqual(error_reply(Refused("x")), {"error": "x", "kind": "bad-request"})


class PlaceTests(ConsoleCase):
    def test_a_number_is_normalised(self) -> None:
        for text, number in (
            ("+44 (20) 7946", "+44207946"),
            ("tel:7042;ext=1-2", "tel:7042;ext=12"),
            ("bob@example.com", "sip:bob@example.com"),
            ("front desk", "front desk"),
        ):
            placed, _ = self.ask("place", number=text)
            self.assertEqual(placed["call"]["to"], number)

    def test_a_number_that_cannot_be_dialled_is_refused_with_its_reason(self) -> None:
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

    def test_labels_and_a_lease(self) -> None:
        placed, _ = self.ask("place", number="answers", labels=["ci", "nightly", "ci"], lease_s=300)
        described = placed["call"]
        self.assertEqual(described["labels"], ["ci", "nightly"])
        self.assertEqual(described["lease_s"], 300)
        self.assertEqual(described["lease_ends_at"], "1970-01-12T13:51:40.000Z")

    def test_wrong_labels_and_leases_are_refused(self) -> None:
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"labels": [""]}, "a label is not a text of 1 to 255 characters"),
            ({"labels": ["a\nb"]}, "a character that cannot be printed"),
            ({"labels": [str(number) for number in range(17)]}, "at most 16 labels, not 17"),
            ({"labels": "ci"}, "'labels'"),
            ({"lease_s": 0}, "greater than 0"),
            ({"lease_s": -1}, "greater than 0"),
            ({"lease_s": 1e300}, "less than or equal"),
            ({"lease_s": "5m"}, "'lease_s'"),
        ]
        for fields, why in wrong:
            kind, error = self.error("place", number="answers", **fields)
            self.assertEqual(kind, "bad-request")
            self.assertIn(why, error)
        self.assertEqual(self.room.fake.commands, [])


class LeaseRenewTests(ConsoleCase):
    def place(self, label: str, lease: float | None = 300.0) -> Call:
        return self.control.place(ALICE, "answers", labels=[label], lease=lease)

    def test_the_leases_of_all_calls_with_the_label_count_from_now_on(self) -> None:
        calls = [self.place("ci"), self.place("ci")]
        other, without = self.place("other"), self.place("ci", lease=None)
        self.room.clock.advance(200.0)
        renewed, *found, done = self.ask("lease-renew", label="ci")
        self.assertEqual(renewed, {"renewed": {"label": "ci", "count": 2}})
        self.assertEqual([reply["call"]["id"] for reply in found], [call.id for call in calls])
        self.assertEqual(found[0]["call"]["lease_ends_at"], "1970-01-12T13:55:00.000Z")
        self.assertEqual(done, {"done": {"count": 3}})
        self.room.clock.advance(200.0)
        self.assertEqual(
            [call.ended for call in (*calls, other, without)], [False, False, True, False]
        )

    def test_no_such_call(self) -> None:
        """A label must be complete, and an ended call is no more there."""
        call = self.place("ci-run-7", lease=1.0)
        self.place("no-lease", lease=None)
        for label in ("ci-run", "no-lease", call.leg, call.id):
            self.assertEqual(
                self.error("lease-renew", label=label),
                ("no-such-call", f"no live call with a lease has the label {label!r}"),
            )
        self.room.clock.advance(2.0)
        self.assertEqual(self.error("lease-renew", label="ci-run-7")[0], "no-such-call")

    def test_many_leases_are_renewed_in_turns(self) -> None:
        """A call that ends between two turns is not counted."""
        self.patch(turns, "MAX_ITEMS_PER_TURN", 10)
        calls = [self.place("ci") for _ in range(35)]

        def end_one() -> None:
            self.meanwhile = lambda: None
            _ = ensureDeferred(self.control.disconnect(ALICE, calls[-1].id))

        self.meanwhile = end_one
        self.assertEqual(self.ask("lease-renew", label="ci")[0]["renewed"]["count"], 34)
