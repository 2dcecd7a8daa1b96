"""What is noted of the messages of live calls, what it leads to on record, and what it does not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.call.record import Record
from umd.cli.timeline import story_of
from umd.sip.message import Headers, Message, Request, Response
from umd.sip.transaction import Hop
from umd.trace.wire import FEW_NAMES, MOST, Crossed, WireLog, read

US, THEM = Hop("192.0.2.7", 5060), Hop("::1", 5070)


def headers(call_id: str, method: str) -> Headers:
    return [("Via", "SIP/2.0/UDP x;branch=z9hG4bK1"), ("Call-ID", call_id), ("CSeq", f"1 {method}")]


def request(method: str, call_id: str = "leg-1") -> Message:
    return Request(method, "sip:x@y", headers(call_id, method))


def response(status: int, method: str, call_id: str = "leg-1") -> Message:
    return Response(status, "whatever they say", headers(call_id, method))


class WireLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1_000_000.0
        self.log = WireLog(lambda: self.now)

    def cross(self, source: Hop, target: Hop, message: Message, after: float = 0.25) -> None:
        self.now += after
        self.log.tap(source, target, message)

    def test_what_crossed_is_read_again(self) -> None:
        self.log.begin("leg-1")
        self.cross(US, THEM, request("INVITE"))
        self.cross(THEM, US, response(180, "INVITE"))
        expected = [
            Crossed(1_000_000.25, "192.0.2.7:5060", "[::1]:5070", "INVITE", None),
            Crossed(1_000_000.5, "[::1]:5070", "192.0.2.7:5060", "INVITE", 180),
        ]
        self.assertEqual(read(self.log.of("leg-1")), expected)
        self.assertEqual(read(self.log.take("leg-1")), expected)
        self.assertIsNone(self.log.take("leg-1"))

    def test_only_calls_that_are_live_take_memory(self) -> None:
        """A stranger's messages, and what comes when a call is over, leave nothing."""
        self.log.begin("leg-1")
        self.log.take("leg-1")
        for message in (request("BYE"), request("INVITE", "a stranger's"), Request("BYE", "x", [])):
            self.cross(THEM, US, message)
        self.assertEqual(len(self.log), 0)

    def test_a_call_has_so_many_messages_at_most(self) -> None:
        self.log.begin("leg-1")
        for _ in range(3 * MOST):
            self.cross(US, THEM, request("BYE"))
        self.assertEqual(len(read(self.log.take("leg-1"))), MOST)

    def test_with_many_peers_only_those_of_the_call_are_named(self) -> None:
        self.log.begin("many")
        for number in range(3 * FEW_NAMES):
            self.cross(Hop(f"h{number}", 5060), US, request("BYE", "many"))
        self.log.begin("leg-1")
        self.cross(US, THEM, request("BYE"))
        written = self.log.take("leg-1")
        assert written is not None
        self.assertEqual([one.target for one in read(written)], ["[::1]:5070"])
        self.assertLess(len(written), 80)
        self.assertEqual(read(self.log.take("many"))[-1].source, f"h{3 * FEW_NAMES - 1}:5060")

    def test_what_is_something_else_reads_as_nothing(self) -> None:
        good = b'["?","a","b","BYE"]\n'
        for extra in (None, b"", b"[1, 2]", b"\xff\x00", good + b"x", b"{}\n" + bytes(16),
                      b'["?"]\n' + b"\x01" * 16):  # fmt: skip
            self.assertEqual(read(extra), [], extra)


class StoryTests(SynchronousTestCase):
    def story(self, *crossed: Crossed, by: str = "client") -> list[str]:
        record: Record = {
            "event": "call.disconnected", "at": "1970-01-12T13:46:41.000Z", "leg": "leg-1",
            "call": "id", "outcome": "ended", "confirmed": True, "by": by, "cause": 16,
            "event_cause": "None", "sip_status": 200, "reasons": [],
        }  # fmt: skip
        return list(story_of([record], crossed))[3:-2]

    def test_repetitions_share_a_line(self) -> None:
        lines = self.story(
            Crossed(1_000_000.0, "us", "far", "INVITE", None),
            Crossed(1_000_000.5, "us", "far", "INVITE", None),
            Crossed(1_000_000.6, "far", "us", "INVITE", 200),
            Crossed(1_000_001.0, "us", "far", "BYE", None),
            Crossed(1_000_000.9999, "far", "us", "BYE", 481),
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

    def test_all_in_one_millisecond(self) -> None:
        """A far end that is near: nothing has ended before its BYE was answered."""
        ended: Record = {
            "event": "call.disconnected", "at": "1970-01-12T13:46:40.000Z", "leg": "leg-1",
            "call": "id", "outcome": "ended", "confirmed": True, "by": "client", "cause": 16,
            "event_cause": "None", "sip_status": 200, "reasons": [],
        }  # fmt: skip
        asked = {**ended, "event": "call.disconnect-requested", "principal": "a", "request_id": ""}
        connected = {**ended, "event": "call.connected", "setup_s": 1.0}

        def message(number: int, way: str, method: str, status: int | None) -> Crossed:
            source, target = ("us", "far") if way == "->" else ("far", "us")
            return Crossed(1_000_000.0001 + number / 1e5, source, target, method, status)

        def told(records: list[Record], *crossed: tuple[str, str, int | None]) -> list[str]:
            messages = [message(number, *one) for number, one in enumerate(crossed)]
            lines = list(story_of(records, messages))[3:-2]
            return [" ".join(line.split()[1:4]) for line in lines]

        self.assertEqual(
            told([asked, ended], ("->", "ACK", None), ("->", "BYE", None), ("<-", "BYE", 200)),
            ["asked to end", "-> ACK far", "-> BYE far", "<- 200 OK", "ended ended"],
        )
        self.assertEqual(
            told([ended], ("->", "ACK", None), ("<-", "BYE", None), ("->", "BYE", 200)),
            ["-> ACK far", "<- BYE far", "ended ended", "-> 200 OK"],
        )
        self.assertEqual(
            told([connected], ("<-", "INVITE", 200), ("->", "ACK", None)),
            ["<- 200 OK", "connected after 1", "-> ACK far"],
        )

    def test_who_was_umd_where_no_invite_is_known(self) -> None:
        """Of a call that a restart came in between."""
        bye = Crossed(1_000_000.0, "a", "b", "BYE", None)
        self.assertIn("-> BYE", self.story(bye)[0])
        self.assertIn("<- BYE", self.story(bye, by="far-end")[0])
        options = Crossed(1_000_000.0, "a", "b", "OPTIONS", None)
        self.assertIn("a -> b  OPTIONS", self.story(options)[0])
