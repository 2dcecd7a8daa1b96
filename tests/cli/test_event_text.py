"""The report of a call has its events and its SIP messages in the order of their times."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from umd.call.call_id import make_call_id
from umd.call.leg import Proof
from umd.call.record import Record
from umd.cli.event_text import PROOF_WORDS, call_report, describe_event
from umd.trace.summary import MessageSummary


class CallReportTests(SynchronousTestCase):
    def report(self, *messages: MessageSummary, by: str = "client") -> list[str]:
        record: Record = {
            "event": "call.disconnected", "at": "1970-01-12T13:46:41.000Z", "leg": "leg-1",
            "call": "id", "outcome": "ended", "confirmed": True, "by": by, "cause": 16,
            "event_cause": "None", "sip_status": 200, "reasons": [],
        }  # fmt: skip
        return list(call_report([record], messages))[3:-2]

    def test_a_message_and_its_retransmissions_share_a_line(self) -> None:
        lines = self.report(
            MessageSummary(1_000_000.0, "us", "far", "INVITE", None),
            MessageSummary(1_000_000.5, "us", "far", "INVITE", None),
            MessageSummary(1_000_000.6, "far", "us", "INVITE", 200),
            MessageSummary(1_000_001.0, "us", "far", "BYE", None),
            MessageSummary(1_000_000.9999, "far", "us", "BYE", 481),
        )
        words = [line.split(None, 1)[1].strip() for line in lines]
        self.assertEqual(
            [" ".join(line.split()) for line in words],
            [
                "-> INVITE far again at +0.5 s",
                "<- 200 OK far",
                "<- 481 Call/Transaction Does Not Exist (BYE) far",
                "ended ended",
                "-> BYE far",
            ],
        )

    def test_events_and_messages_of_one_millisecond(self) -> None:
        """The end of a call is shown after the answer to the BYE, even in the same millisecond."""
        ended: Record = {
            "event": "call.disconnected", "at": "1970-01-12T13:46:40.000Z", "leg": "leg-1",
            "call": "id", "outcome": "ended", "confirmed": True, "by": "client", "cause": 16,
            "event_cause": "None", "sip_status": 200, "reasons": [],
        }  # fmt: skip
        asked = {**ended, "event": "call.disconnect-requested", "principal": "a", "request_id": ""}
        connected = {**ended, "event": "call.connected", "setup_s": 1.0}

        def message(number: int, way: str, method: str, status: int | None) -> MessageSummary:
            source, target = ("us", "far") if way == "->" else ("far", "us")
            return MessageSummary(1_000_000.0001 + number / 1e5, source, target, method, status)

        def lines_of(records: list[Record], *messages: tuple[str, str, int | None]) -> list[str]:
            summaries = [message(number, *fields) for number, fields in enumerate(messages)]
            lines = list(call_report(records, summaries))[3:-2]
            return [" ".join(line.split()[1:4]) for line in lines]

        self.assertEqual(
            lines_of([asked, ended], ("->", "ACK", None), ("->", "BYE", None), ("<-", "BYE", 200)),
            ["asked to end", "-> ACK far", "-> BYE far", "<- 200 OK", "ended ended"],
        )
        self.assertEqual(
            lines_of([ended], ("->", "ACK", None), ("<-", "BYE", None), ("->", "BYE", 200)),
            ["-> ACK far", "<- BYE far", "ended ended", "-> 200 OK"],
        )
        self.assertEqual(
            lines_of([connected], ("<-", "INVITE", 200), ("->", "ACK", None)),
            ["<- 200 OK", "connected after 1", "-> ACK far"],
        )

    def test_which_end_was_umd_without_an_invite(self) -> None:
        """After a restart during the call, umd has no summary of the INVITE."""
        bye = MessageSummary(1_000_000.0, "a", "b", "BYE", None)
        self.assertIn("-> BYE", self.report(bye)[0])
        self.assertIn("<- BYE", self.report(bye, by="far-end")[0])
        options = MessageSummary(1_000_000.0, "a", "b", "OPTIONS", None)
        self.assertIn("a -> b  OPTIONS", self.report(options)[0])


class FoundCallTests(SynchronousTestCase):
    """The story of a call of a PBX, with its ids, its partner and what shows its end."""

    BASE: Record = {"at": "1970-01-12T13:46:40.000Z", "leg": "chan-a", "call": "id", "seq": 1}

    def test_the_story(self) -> None:
        partner = make_call_id("chan-b", "pbx")
        found = {
            **self.BASE, "event": "call.found", "backend": "pbx", "number": "100", "owner": "",
            "state": "alerting", "aliases": {"sip-call-id": "a@pbx"}, "labels": ["ci"],
            "direction": "inbound",
        }  # fmt: skip
        changed = {
            **self.BASE, "event": "call.changed", "partners": [partner], "labels": ["ci", "x"],
        }  # fmt: skip
        asked = {
            **self.BASE, "event": "call.disconnect-requested", "by": "operator", "cause": 16,
            "principal": "alice", "request_id": "r-1", "caused_by": partner,
        }  # fmt: skip
        ended = {
            **self.BASE, "event": "call.disconnected", "outcome": "ended-unconfirmed",
            "confirmed": False, "shown_by": "pbx", "took_ms": 3.0, "by": "operator", "cause": 16,
            "event_cause": "None", "sip_status": None, "reasons": [], "caused_by": partner,
        }  # fmt: skip
        self.assertEqual(
            list(call_report([found, changed, asked, ended]))[1:-2],
            [
                "CallId id",
                "sip-call-id a@pbx",
                "labels ci, x",
                "partner chan-b",
                "inbound",
                "",
                " 13:46:40.000  found          on the PBX, 100, ringing, calls the PBX",
                " 13:46:40.000  asked to end   alice, request r-1, with its partner chan-b",
                " 13:46:40.000  changed        bridged with chan-b; labels ci, x",
                " 13:46:40.000  ended          ended-unconfirmed after 3 ms, only the PBX says so,"
                " with its partner chan-b",
            ],
        )

    def test_every_proof_has_words(self) -> None:
        self.assertEqual(set(PROOF_WORDS), {proof.value for proof in Proof})

    def test_every_event_has_words(self) -> None:
        """Also those that end a call without its far end, and those of a newer umd."""
        words: dict[str, dict[str, Any]] = {
            "call.forgotten": {"principal": "bob", "reason": "a zombie"},
            "call.lease-renewed": {"principal": "ci", "lease_s": 300.0},
            "call.changed": {"partners": [], "aliases": {}, "number": ""},
            "call.new": {},
        }
        lines = [describe_event({**self.BASE, "event": name, **more})
                 for name, more in words.items()]  # fmt: skip
        self.assertEqual(
            lines,
            [
                "forgotten      by bob: a zombie; the PBX was not told",
                "lease renewed  for 300 s by ci",
                "changed        no longer bridged; ids -; number -",
                "call.new",
            ],
        )
