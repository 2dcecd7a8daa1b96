"""Offer and answer for one audio stream."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from umd.sip import sdp
from umd.sip.sdp import PCMA, Direction, SdpError

OFFER = (
    "v=0\r\n"
    "o=- 7 1 IN IP4 192.0.2.1\r\n"
    "s=-\r\n"
    "c=IN IP4 192.0.2.1\r\n"
    "t=0 0\r\n"
    "m=audio 4000 RTP/AVP 0 8 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-16\r\n"
    "a=sendrecv\r\n"
)
FOREIGN = (
    "v=0\r\n"
    "o=alice 2890844526 2890844527 IN IP4 host.example.com\r\n"
    "s=\r\n"
    "t=0 0\r\n"
    "m=video 5000 RTP/AVP 31\r\n"
    "c=IN IP4 192.0.2.7\r\n"
    "m=audio 5002 RTP/AVP 9 96 98 8\r\n"
    "c=IN IP6 2001:db8::7\r\n"
    "a=rtpmap:96 pcmu/8000/1\r\n"
    "a=rtpmap:98 telephone-event/8000\r\n"
    "a=ptime:20\r\n"
    "m=audio 5004 RTP/SAVP 0\r\n"
    "c=IN IP4 192.0.2.7\r\n"
)


def answered(body: str, direction: Direction = Direction.SENDRECV) -> sdp.Description:
    """Return the answer to an offer."""
    return sdp.answer(
        sdp.parse(body.encode()),
        address="192.0.2.9",
        port=6000,
        session_id=3,
        direction=direction,
    )


class OfferTests(SynchronousTestCase):
    def test_octets(self) -> None:
        """The offer of umd, as octets and parsed again."""
        made = sdp.offer(address="192.0.2.1", port=4000, session_id=7)
        self.assertEqual(made.encode().decode(), OFFER)
        self.assertEqual(sdp.parse(made.encode()), made)

    def test_ipv6(self) -> None:
        """An IPv6 address is written as IP6."""
        made = sdp.offer(address="2001:db8::1", port=4000, session_id=7, codecs=(PCMA,))
        self.assertIn(b"c=IN IP6 2001:db8::1\r\n", made.encode())
        self.assertEqual(sdp.parse(made.encode()).address, "2001:db8::1")


class AnswerTests(SynchronousTestCase):
    def test_own_offer(self) -> None:
        """The answer to an offer of umd accepts all its codecs, both ways."""
        description = answered(OFFER)
        (stream,) = description.streams
        self.assertEqual((description.address, stream.port), ("192.0.2.9", 6000))
        self.assertEqual(stream.codecs, sdp.CODECS)
        self.assertEqual(stream.direction, Direction.SENDRECV)

    def test_foreign_offer(self) -> None:
        """Codecs are matched by name and keep the offer's order; other streams are refused."""
        description = answered(FOREIGN)
        self.assertEqual([stream.port for stream in description.streams], [0, 6000, 0])
        kinds = [stream.kind for stream in description.streams]
        self.assertEqual(kinds, ["video", "audio", "audio"])
        self.assertEqual(description.streams[1].formats, ("96", "98", "8"))
        self.assertEqual(description.streams[1].codecs[0], sdp.Codec(96, "PCMU/8000"))
        self.assertEqual(len(sdp.parse(description.encode()).streams), 3)

    def test_nothing_shared(self) -> None:
        """An offer without a shared codec, or without audio, is refused with 488."""
        for old, new in (
            ("RTP/AVP 0 8 101", "RTP/AVP 18 101"),
            ("RTP/AVP 0 8 101", "RTP/AVP 101"),
            ("RTP/AVP 0", "RTP/SAVP 0"),
            ("audio 4000", "audio 0"),
            ("m=audio", "m=image"),
        ):
            error = self.assertRaises(SdpError, answered, OFFER.replace(old, new))
            self.assertEqual(error.status, 488)

    def test_directions(self) -> None:
        """The offer can reduce the direction that umd wants (RFC 3264 section 6.1)."""
        words = [Direction.SENDRECV, Direction.SENDONLY, Direction.RECVONLY, Direction.INACTIVE]
        both, send, recv, none = words
        table = {
            both: [both, send, recv, none],
            send: [recv, none, recv, none],
            recv: [send, send, none, none],
            none: [none, none, none, none],
        }
        for offered, row in table.items():
            for wish, expected in zip(words, row, strict=True):
                description = answered(OFFER.replace("sendrecv", offered), wish)
                self.assertEqual(description.streams[0].direction, expected)

    def test_old_hold(self) -> None:
        """The address 0.0.0.0 means hold: umd must not send (RFC 2543)."""
        description = answered(OFFER.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0"))
        self.assertEqual(description.streams[0].direction, Direction.RECVONLY)

    def test_direction_of_the_session(self) -> None:
        """A direction before the first stream applies to all streams without their own."""
        text = OFFER.replace("a=sendrecv\r\n", "").replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n")
        self.assertEqual(answered(text).streams[0].direction, Direction.RECVONLY)

    def test_our_parameters(self) -> None:
        """The answer does not repeat the fmtp parameters of the offer."""
        description = answered(OFFER.replace("0-16", "0-15,66\ra=evil"))
        self.assertNotIn(b"evil", description.encode())


class ParseTests(SynchronousTestCase):
    def test_malformed(self) -> None:
        """A text that is not a session description is refused with 400."""
        for old, new in (
            ("v=0", "v=1"),
            ("c=IN IP4 192.0.2.1", "c=IN"),
            ("c=IN IP4 192.0.2.1\r\n", ""),
            ("c=IN IP4", "c=ATM IP4"),
            ("audio 4000", "audio"),
            ("audio 4000", "audio 65536"),
            ("audio 4000 RTP/AVP 0 8 101", "audio 4000 RTP/AVP"),
        ):
            text = OFFER.replace(old, new)
            error = self.assertRaises(SdpError, sdp.parse, text.encode())
            self.assertEqual(error.status, 400, new)
        self.assertRaises(SdpError, sdp.parse, b"")
        self.assertRaises(SdpError, sdp.parse, (OFFER + "a=x\r\n" * 600).encode())

    def test_line_feeds(self) -> None:
        """Line ends without CR are accepted, as RFC 8866 asks."""
        self.assertEqual(sdp.parse(OFFER.replace("\r", "").encode()), sdp.parse(OFFER.encode()))

    def test_what_phones_write(self) -> None:
        """Faults that RFC 8866 forbids, but that change nothing of the streams, are accepted."""
        plain = sdp.parse(OFFER.encode())
        for old, new in (
            ("o=- 7", "o=A b c 7"),
            ("o=- 7", "o=- seven"),
            ("o=- 7 1 IN IP4 192.0.2.1", "o=nonsense"),
            ("o=- 7 1 IN IP4 192.0.2.1\r\n", ""),
            ("c=IN IP4 192.0.2.1", "c=IN  IP4 192.0.2.1 \t"),
            ("c=IN IP4 192.0.2.1", "c=in ip4 192.0.2.1"),
            ("v=0", "\r\nv=0 "),
            ("s=-", "s="),
            ("s=-", "nonsense"),
            ("a=sendrecv", "a=sendrecv \r\na=x-\udce9:\u00e9\r\na="),
            ("\r\n", "\r"),
            ("\r\n", "\n\n"),
            ("a=sendrecv\r\n", "a=sendrecv\r\n\r\n \r\n\0"),
        ):
            text = OFFER.replace(old, new)
            self.assertNotEqual(text, OFFER)
            found = sdp.parse(text.encode("utf-8", "surrogateescape"))
            self.assertEqual((found.streams, found.address), (plain.streams, plain.address), new)

    def test_streams_taken_out(self) -> None:
        """If an offer refuses every stream, the answer has the same streams (RFC 3264 §8.2)."""
        text = FOREIGN.replace("c=", "x=")
        for line in re.findall(r"m=\w+ \d+", text):
            text = text.replace(line, f"{line.split()[0]} 0")
        offered = sdp.parse(text.encode())
        answer = sdp.without_streams(offered, address="192.0.2.9", session_id=4, version=2)
        assert answer is not None
        self.assertEqual([stream.port for stream in answer.streams], [0] * len(offered.streams))
        self.assertEqual(
            [(stream.kind, stream.formats) for stream in answer.streams],
            [(stream.kind, stream.formats) for stream in offered.streams],
        )
        self.assertEqual(sdp.parse(answer.encode()).version, 2)
        there = sdp.parse(OFFER.encode())
        self.assertIsNone(sdp.without_streams(there, address="192.0.2.9", session_id=4))

    def test_no_media(self) -> None:
        """A description without streams is valid."""
        self.assertEqual(sdp.parse(OFFER.split("m=")[0].encode()).streams, ())
