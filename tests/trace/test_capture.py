"""The capture of messages: what it keeps, and how it recognises a retransmission."""

from __future__ import annotations

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from umd.backend import LegId, ShowsMessages
from umd.backends.sim import SimBackend
from umd.backends.sim.section import SimSection
from umd.call.cause import Cause, EndedBy
from umd.sip.framing import read_datagram
from umd.sip.message import Headers, Message, Request, Response
from umd.sip.transaction import Hop
from umd.testing import FakeBackend, RecordingSink
from umd.trace.capture import Capture, ladder_steps, message_octets, sip_call_id

UMD, FAR_END = Hop("umd.sim", 5060), Hop("far.sim", 5060)
VIA = "SIP/2.0/UDP umd.sim;branch=z9hG4bK1"


def request(method: str = "BYE", *more: tuple[str, str], via: str = VIA) -> Request:
    headers: Headers = [("Via", via), ("Call-ID", "call-1"), ("CSeq", f"2 {method}"), *more]
    return Request(method, "sip:x@far.sim", headers)


def response(status: int = 180, to: str = "<sip:x>;tag=1", body: bytes = b"") -> Response:
    headers = [("Via", VIA), ("To", to), ("Call-ID", "call-1"), ("CSeq", "1 INVITE")]
    return Response(status, "Ringing", headers, body)


def retransmission_counts(*messages: Message) -> list[int]:
    """Return the retransmission count of each message."""
    captured = [(0.0, UMD, FAR_END, message) for message in messages]
    return [step.retransmission for step in ladder_steps(captured)]


class CaptureTests(SynchronousTestCase):
    def test_a_new_message_replaces_the_oldest(self) -> None:
        times = iter(range(10))
        capture = Capture(3, lambda: float(next(times)))
        messages = [request() for _ in range(5)]
        for message in messages:
            capture.tap(UMD, FAR_END, message)
        self.assertEqual([at for at, *_ in capture.messages()], [2.0, 3.0, 4.0])
        self.assertIs(capture.messages()[-1][3], messages[-1])

    def test_the_tap_does_not_look_into_a_message(self) -> None:
        """Even an object that is no message is kept without an error."""
        capture = Capture(3, lambda: 0.0)
        capture.tap(UMD, FAR_END, object())  # type: ignore[arg-type]
        self.assertEqual(len(capture.messages()), 1)

    def test_reading_the_call_id_leaves_no_parsed_header_in_the_message(self) -> None:
        message = request()
        self.assertEqual(sip_call_id(message), "call-1")
        self.assertIsNone(message._first)
        self.assertEqual(sip_call_id(Request("BYE", "sip:x", [])), "")


class LadderStepsTests(SynchronousTestCase):
    def test_the_fields_of_a_request_and_a_response(self) -> None:
        sdp = [("Content-Type", "application/SDP; x=y")]
        invite = request("INVITE", *sdp)
        invite.body = b"v=0\r\n"
        sent, received = ladder_steps(
            [(1.5, UMD, FAR_END, invite), (2.0, FAR_END, UMD, response())]
        )
        self.assertEqual((sent.at, sent.source), (1.5, "umd.sim:5060"))
        self.assertEqual((received.at, received.source), (2.0, "far.sim:5060"))
        self.assertEqual((sent.method, sent.status, sent.sdp), ("INVITE", None, True))
        self.assertEqual((sent.cseq, sent.branch), ("2 INVITE", "z9hG4bK1"))
        self.assertEqual(sent.start_line, "INVITE sip:x@far.sim SIP/2.0")
        self.assertEqual((received.method, received.status), (None, 180))
        self.assertEqual(received.reason, "Ringing")
        self.assertFalse(received.sdp)

    def test_an_equal_message_is_a_retransmission(self) -> None:
        self.assertEqual(retransmission_counts(request(), request(), request()), [0, 1, 2])
        self.assertEqual(retransmission_counts(response(), request(), response()), [0, 0, 1])

    def test_a_message_that_differs_in_one_field_is_no_retransmission(self) -> None:
        """Another branch, another status, another To tag of a fork, another body."""
        self.assertEqual(retransmission_counts(request(), request(via=VIA + "2")), [0, 0])
        self.assertEqual(retransmission_counts(response(180), response(183)), [0, 0])
        self.assertEqual(retransmission_counts(response(), response(to="<sip:x>;tag=2")), [0, 0])
        self.assertEqual(retransmission_counts(response(), response(body=b"v=0")), [0, 0])
        there_and_back = ladder_steps(
            [(0.0, UMD, FAR_END, request()), (0.0, FAR_END, UMD, request())]
        )
        self.assertEqual([step.retransmission for step in there_and_back], [0, 0])

    def test_a_message_with_broken_headers(self) -> None:
        """An octet that is not UTF-8 becomes "?", and a missing header an empty text."""
        bad = Response(200, "O\udcffK", [("Via", "nonsense"), ("To", "x")])
        bare = Request("BYE", "sip:x", [])
        broken, empty = ladder_steps([(0.0, FAR_END, UMD, bad), (0.0, UMD, FAR_END, bare)])
        self.assertEqual((broken.reason, broken.branch, broken.cseq), ("O?K", "nonsense", ""))
        self.assertEqual((empty.sip_call_id, empty.branch), ("", ""))

    def test_an_ipv6_address_is_in_brackets(self) -> None:
        source, target = Hop("2001:db8::1", 5070), Hop("[::1]", 5060, "TLS")
        (step,) = ladder_steps([(0.0, source, target, request())])
        self.assertEqual((step.source, step.target), ("[2001:db8::1]:5070", "[::1]:5060"))

    def test_a_multipart_body_may_contain_sdp(self) -> None:
        message = request("INVITE", ("Content-Type", "multipart/mixed;boundary=b"))
        message.body = b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--"
        self.assertTrue(ladder_steps([(0.0, UMD, FAR_END, message)])[0].sdp)

    def test_a_message_that_cannot_be_sent_has_no_octets(self) -> None:
        self.assertIsNone(message_octets(request("BYE", ("Reason", "a\r\nb"))))
        octets = message_octets(request()) or b""
        self.assertTrue(octets.startswith(b"BYE sip:x@far.sim SIP/2.0\r\n"))


class SimulatorTests(SynchronousTestCase):
    """The simulator shows its messages. Wall time is the time of the clock plus 1000 s."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.capture = Capture(100, lambda: 1000.0 + self.clock.seconds())
        self.sim = SimBackend("sim", SimSection(), self.clock)
        self.sim.capture_to(self.capture.tap)
        self.successResultOf(ensureDeferred(self.sim.start(RecordingSink())))

    def lines(self) -> list[tuple[float, str, int]]:
        return [
            (round(step.at - 1000.0, 3), step.method or str(step.status), step.retransmission)
            for step in ladder_steps(self.capture.messages())
        ]

    def test_only_a_backend_that_shows_messages_is_a_shows_messages(self) -> None:
        self.assertIsInstance(self.sim, ShowsMessages)
        self.assertNotIsInstance(FakeBackend(), ShowsMessages)

    def test_every_message_of_a_call_is_captured_with_its_time(self) -> None:
        leg = LegId("leg-1")
        self.sim.place(leg, "5550100")
        self.clock.pump([0.001, 0.001, 1.0, 0.001, 0.001])
        self.sim.hang_up(leg, Cause(by=EndedBy.CLIENT))
        self.clock.pump([0.001, 0.001])
        self.assertEqual(
            [kind for _, kind, _ in self.lines()], ["INVITE", "180", "200", "ACK", "BYE", "200"]
        )
        self.assertEqual({sip_call_id(message) for *_, message in self.capture.messages()}, {leg})
        self.assertEqual(self.lines()[0], (0.0, "INVITE", 0))

    def test_without_a_network_delay_the_answer_comes_in_the_same_turn(self) -> None:
        section = SimSection(delay="0s")  # type: ignore[arg-type]
        self.sim = SimBackend("sim", section, self.clock)
        self.sim.capture_to(self.capture.tap)
        self.successResultOf(ensureDeferred(self.sim.start(RecordingSink())))
        leg = LegId("leg-1")
        self.sim.place(leg, "5550100")
        self.clock.pump([0.0, 1.0, 1.0])
        self.sim.hang_up(leg, Cause(by=EndedBy.CLIENT))
        self.clock.advance(0.0)
        self.assertEqual(self.lines()[-2:], [(2.0, "BYE", 0), (2.0, "200", 0)])

    def test_the_byes_of_one_reactor_turn_are_sent_together_at_its_end(self) -> None:
        legs = [LegId("leg-1"), LegId("leg-2")]
        for leg in legs:
            self.sim.place(leg, "5550100")
        self.clock.pump([0.001, 0.001, 1.0, 0.001, 0.001])
        before = len(self.capture.messages())
        for leg in legs:
            self.sim.hang_up(leg, Cause(by=EndedBy.CLIENT))
            self.assertEqual(len(self.capture.messages()), before)
        self.clock.advance(0.0)
        sent = self.capture.messages()[before:]
        self.assertEqual([sip_call_id(message) for *_, message in sent], legs)

    def test_a_bye_requested_before_a_stop_is_sent_after_the_next_start(self) -> None:
        leg = LegId("leg-1")
        self.sim.place(leg, "5550100")
        self.clock.pump([0.001, 0.001, 1.0, 0.001, 0.001])
        self.sim.hang_up(leg, Cause(by=EndedBy.CLIENT))
        self.successResultOf(ensureDeferred(self.sim.stop()))
        self.successResultOf(ensureDeferred(self.sim.start(RecordingSink())))
        self.clock.advance(0.0)
        self.assertEqual(self.lines()[-1], (round(self.clock.seconds(), 3), "BYE", 0))

    def test_an_unanswered_bye_is_retransmitted_by_timer_e(self) -> None:
        leg = LegId("leg-1")
        self.sim.place(leg, "5550199")
        self.clock.pump([0.001, 0.001, 1.0, 0.001, 0.001])
        self.sim.hang_up(leg, Cause(by=EndedBy.CLIENT))
        asked = self.clock.seconds()
        self.clock.pump([0.0, 0.5, 1.0, 2.0])
        byes = [(at, count) for at, kind, count in self.lines() if kind == "BYE"]
        expected = [(asked, 0), (asked + 0.5, 1), (asked + 1.5, 2), (asked + 3.5, 3)]
        self.assertEqual(byes, [(round(at, 3), count) for at, count in expected])

    def test_messages_passed_as_objects_can_be_written_and_parsed(self) -> None:
        self.sim.place(LegId("leg-1"), "5550100")
        (_, _, _, message) = self.capture.messages()[0]
        read = read_datagram(message_octets(message) or b"")
        assert isinstance(read, Request)
        self.assertEqual((read.method, read.call_id), ("INVITE", "leg-1"))
