"""Summaries of the messages of live calls: what they hold, and what they cost."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.sip.message import Headers, Message, Request, Response
from umd.sip.transaction import Hop
from umd.trace.summary import (
    MAX_MESSAGES_PER_CALL,
    MAX_SHARED_NAMES,
    CallSummaries,
    MessageSummary,
    read_summaries,
)

UMD, FAR_END = Hop("192.0.2.7", 5060), Hop("::1", 5070)


def headers(call_id: str, method: str) -> Headers:
    return [("Via", "SIP/2.0/UDP x;branch=z9hG4bK1"), ("Call-ID", call_id), ("CSeq", f"1 {method}")]


def request(method: str, call_id: str = "leg-1") -> Message:
    return Request(method, "sip:x@y", headers(call_id, method))


def response(status: int, method: str, call_id: str = "leg-1") -> Message:
    return Response(status, "Any Reason", headers(call_id, method))


class CallSummariesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1_000_000.0
        self.summaries = CallSummaries(lambda: self.now)

    def cross(self, source: Hop, target: Hop, message: Message, after: float = 0.25) -> None:
        self.now += after
        self.summaries.tap(source, target, message)

    def test_summaries_can_be_read_during_and_after_the_call(self) -> None:
        self.summaries.begin("leg-1")
        self.cross(UMD, FAR_END, request("INVITE"))
        self.cross(FAR_END, UMD, response(180, "INVITE"))
        expected = [
            MessageSummary(1_000_000.25, "192.0.2.7:5060", "[::1]:5070", "INVITE", None),
            MessageSummary(1_000_000.5, "[::1]:5070", "192.0.2.7:5060", "INVITE", 180),
        ]
        self.assertEqual(read_summaries(self.summaries.current("leg-1")), expected)
        self.assertEqual(read_summaries(self.summaries.take("leg-1")), expected)
        self.assertIsNone(self.summaries.take("leg-1"))

    def test_only_live_calls_take_memory(self) -> None:
        """Messages of other calls, and of a call that has ended, are not kept."""
        self.summaries.begin("leg-1")
        self.summaries.take("leg-1")
        for message in (request("BYE"), request("INVITE", "another-call"), Request("BYE", "x", [])):
            self.cross(FAR_END, UMD, message)
        self.assertEqual(len(self.summaries), 0)

    def test_the_number_of_messages_of_a_call_is_limited(self) -> None:
        self.summaries.begin("leg-1")
        for _ in range(3 * MAX_MESSAGES_PER_CALL):
            self.cross(UMD, FAR_END, request("BYE"))
        self.assertEqual(len(read_summaries(self.summaries.take("leg-1"))), MAX_MESSAGES_PER_CALL)

    def test_with_many_peers_a_call_has_the_names_of_its_own(self) -> None:
        self.summaries.begin("many")
        for number in range(3 * MAX_SHARED_NAMES):
            self.cross(Hop(f"h{number}", 5060), UMD, request("BYE", "many"))
        self.summaries.begin("leg-1")
        self.cross(UMD, FAR_END, request("BYE"))
        written = self.summaries.take("leg-1")
        assert written is not None
        self.assertEqual([summary.target for summary in read_summaries(written)], ["[::1]:5070"])
        self.assertLess(len(written), 80)
        last = read_summaries(self.summaries.take("many"))[-1]
        self.assertEqual(last.source, f"h{3 * MAX_SHARED_NAMES - 1}:5060")

    def test_octets_of_another_form_are_read_as_no_summaries(self) -> None:
        good = b'["?","a","b","BYE"]\n'
        for extra in (None, b"", b"[1, 2]", b"\xff\x00", good + b"x", b"{}\n" + bytes(16),
                      b'["?"]\n' + b"\x01" * 16):  # fmt: skip
            self.assertEqual(read_summaries(extra), [], extra)
