"""The report of a call has its events and its SIP messages in the order of their times."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.call.record import Record
from umd.cli.event_text import call_report
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
