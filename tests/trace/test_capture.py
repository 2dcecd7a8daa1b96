"""The ring of messages: what it keeps, what it costs nobody, and how a retransmission is told."""

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
from umd.trace.capture import Capture, octets, sip_call_id, steps

US, THEM = Hop("umd.sim", 5060), Hop("far.sim", 5060)
VIA = "SIP/2.0/UDP umd.sim;branch=z9hG4bK1"


def request(method: str = "BYE", *more: tuple[str, str], via: str = VIA) -> Request:
    headers: Headers = [("Via", via), ("Call-ID", "call-1"), ("CSeq", f"2 {method}"), *more]
    return Request(method, "sip:x@far.sim", headers)


def response(status: int = 180, to: str = "<sip:x>;tag=1", body: bytes = b"") -> Response:
    headers = [("Via", VIA), ("To", to), ("Call-ID", "call-1"), ("CSeq", "1 INVITE")]
    return Response(status, "Ringing", headers, body)


def counted(*messages: Message) -> list[int]:
    """How often each message was there before."""
    return [step.retransmission for step in steps([(0.0, US, THEM, one) for one in messages])]


class RingTests(SynchronousTestCase):
    def test_it_forgets_the_oldest(self) -> None:
        times = iter(range(10))
        capture = Capture(3, lambda: float(next(times)))
        messages = [request() for _ in range(5)]
        for message in messages:
            capture.tap(US, THEM, message)
        self.assertEqual([at for at, *_ in capture.messages()], [2.0, 3.0, 4.0])
        self.assertIs(capture.messages()[-1][3], messages[-1])

    def test_the_tap_only_remembers(self) -> None:
        """Nothing is read or written until somebody asks, not even what cannot be."""
        capture = Capture(3, lambda: 0.0)
        capture.tap(US, THEM, object())  # type: ignore[arg-type]
        self.assertEqual(len(capture.messages()), 1)

    def test_looking_for_a_call_leaves_nothing_behind(self) -> None:
        message = request()
        self.assertEqual(sip_call_id(message), "call-1")
        self.assertIsNone(message._first)
        self.assertEqual(sip_call_id(Request("BYE", "sip:x", [])), "")


class StepsTests(SynchronousTestCase):
    def test_what_a_message_is(self) -> None:
        sdp = [("Content-Type", "application/SDP; x=y")]
        invite = request("INVITE", *sdp)
        invite.body = b"v=0\r\n"
        asked, rings = steps([(1.5, US, THEM, invite), (2.0, THEM, US, response())])
        self.assertEqual((asked.at, asked.source), (1.5, "umd.sim:5060"))
        self.assertEqual((rings.at, rings.source), (2.0, "far.sim:5060"))
        self.assertEqual((asked.method, asked.status, asked.sdp), ("INVITE", None, True))
        self.assertEqual((asked.cseq, asked.branch), ("2 INVITE", "z9hG4bK1"))
        self.assertEqual(asked.start_line, "INVITE sip:x@far.sim SIP/2.0")
        self.assertEqual((rings.method, rings.status, rings.reason), (None, 180, "Ringing"))
        self.assertFalse(rings.sdp)

    def test_the_same_again_is_a_retransmission(self) -> None:
        self.assertEqual(counted(request(), request(), request()), [0, 1, 2])
        self.assertEqual(counted(response(), request(), response()), [0, 0, 1])

    def test_what_only_looks_the_same_is_none(self) -> None:
        """Another transaction, another answer, another fork, another description."""
        self.assertEqual(counted(request(), request(via=VIA + "2")), [0, 0])
        self.assertEqual(counted(response(180), response(183)), [0, 0])
        self.assertEqual(counted(response(), response(to="<sip:x>;tag=2")), [0, 0])
        self.assertEqual(counted(response(), response(body=b"v=0")), [0, 0])
        there_and_back = steps([(0.0, US, THEM, request()), (0.0, THEM, US, request())])
        self.assertEqual([step.retransmission for step in there_and_back], [0, 0])

    def test_a_message_with_nothing_right_in_it(self) -> None:
        """Octets that are no UTF-8 do not get into JSON; what is missing is empty."""
        bad = Response(200, "O\udcffK", [("Via", "nonsense"), ("To", "x")])
        bare = Request("BYE", "sip:x", [])
        one, other = steps([(0.0, THEM, US, bad), (0.0, US, THEM, bare)])
        self.assertEqual((one.reason, one.branch, one.cseq), ("O?K", "nonsense", ""))
        self.assertEqual((other.sip_call_id, other.branch), ("", ""))

    def test_ipv6_ends_stand_in_brackets(self) -> None:
        (step,) = steps([(0.0, Hop("2001:db8::1", 5070), Hop("[::1]", 5060, "TLS"), request())])
        self.assertEqual((step.source, step.target), ("[2001:db8::1]:5070", "[::1]:5060"))

    def test_a_multipart_body_may_hold_a_description(self) -> None:
        message = request("INVITE", ("Content-Type", "multipart/mixed;boundary=b"))
        message.body = b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--"
        self.assertTrue(steps([(0.0, US, THEM, message)])[0].sdp)

    def test_what_must_not_be_written_has_no_octets(self) -> None:
        self.assertIsNone(octets(request("BYE", ("Reason", "a\r\nb"))))
        self.assertTrue((octets(request()) or b"").startswith(b"BYE sip:x@far.sim SIP/2.0\r\n"))


class SimulatorTests(SynchronousTestCase):
    """The backend that shows its messages; wall time here is 1000 s before the clock's zero."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.capture = Capture(100, lambda: 1000.0 + self.clock.seconds())
        self.sim = SimBackend("sim", SimSection(), self.clock)
        self.sim.capture_to(self.capture.tap)
        self.successResultOf(ensureDeferred(self.sim.start(RecordingSink())))

    def lines(self) -> list[tuple[float, str, int]]:
        return [
            (round(step.at - 1000.0, 3), step.method or str(step.status), step.retransmission)
            for step in steps(self.capture.messages())
        ]

    def test_it_says_so_and_others_need_not(self) -> None:
        self.assertIsInstance(self.sim, ShowsMessages)
        self.assertNotIsInstance(FakeBackend(), ShowsMessages)

    def test_every_message_of_a_call_at_its_time(self) -> None:
        leg = LegId("leg-1")
        self.sim.place(leg, "5550100")
        self.clock.pump([0.001, 0.001, 1.0, 0.001, 0.001])
        self.sim.hang_up(leg, Cause(by=EndedBy.CLIENT))
        self.clock.pump([0.001, 0.001])
        self.assertEqual(
            [what for _, what, _ in self.lines()], ["INVITE", "180", "200", "ACK", "BYE", "200"]
        )
        self.assertEqual({sip_call_id(one[3]) for one in self.capture.messages()}, {leg})
        self.assertEqual(self.lines()[0], (0.0, "INVITE", 0))

    def test_without_a_delay_an_answer_is_there_in_the_same_turn(self) -> None:
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

    def test_the_byes_of_one_turn_leave_together_at_its_end(self) -> None:
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
        self.assertEqual([sip_call_id(one[3]) for one in sent], legs)

    def test_what_was_asked_for_before_a_stop_leaves_with_the_next_start(self) -> None:
        leg = LegId("leg-1")
        self.sim.place(leg, "5550100")
        self.clock.pump([0.001, 0.001, 1.0, 0.001, 0.001])
        self.sim.hang_up(leg, Cause(by=EndedBy.CLIENT))
        self.successResultOf(ensureDeferred(self.sim.stop()))
        self.successResultOf(ensureDeferred(self.sim.start(RecordingSink())))
        self.clock.advance(0.0)
        self.assertEqual(self.lines()[-1], (round(self.clock.seconds(), 3), "BYE", 0))

    def test_a_bye_that_nobody_answers_is_repeated_by_timer_e(self) -> None:
        leg = LegId("leg-1")
        self.sim.place(leg, "5550199")
        self.clock.pump([0.001, 0.001, 1.0, 0.001, 0.001])
        self.sim.hang_up(leg, Cause(by=EndedBy.CLIENT))
        asked = self.clock.seconds()
        self.clock.pump([0.0, 0.5, 1.0, 2.0])
        byes = [(at, again) for at, what, again in self.lines() if what == "BYE"]
        expected = [(asked, 0), (asked + 0.5, 1), (asked + 1.5, 2), (asked + 3.5, 3)]
        self.assertEqual(byes, [(round(at, 3), again) for at, again in expected])

    def test_octets_of_messages_that_crossed_as_objects_can_be_read(self) -> None:
        self.sim.place(LegId("leg-1"), "5550100")
        (_, _, _, message) = self.capture.messages()[0]
        read = read_datagram(octets(message) or b"")
        assert isinstance(read, Request)
        self.assertEqual((read.method, read.call_id), ("INVITE", "leg-1"))
