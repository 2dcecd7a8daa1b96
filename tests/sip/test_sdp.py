"""Offer and answer for one audio stream."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from umd.sip import sdp
from umd.sip.sdp import PCMA, PCMU, Direction, SdpError

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


def answered(
    body: str, direction: Direction = Direction.SENDRECV
) -> tuple[sdp.Description, sdp.Agreed]:
    """Our answer to an offer."""
    return sdp.answer(
        sdp.parse(body.encode()),
        address="192.0.2.9",
        port=6000,
        session_id=3,
        direction=direction,
    )


class OfferTests(SynchronousTestCase):
    def test_octets(self) -> None:
        """Our offer as it goes out, and read back."""
        made = sdp.offer(address="192.0.2.1", port=4000, session_id=7)
        self.assertEqual(made.encode().decode(), OFFER)
        self.assertEqual(sdp.parse(made.encode()), made)

    def test_ipv6(self) -> None:
        """The address says which kind it is."""
        made = sdp.offer(address="2001:db8::1", port=4000, session_id=7, codecs=(PCMA,))
        self.assertIn(b"c=IN IP6 2001:db8::1\r\n", made.encode())
        self.assertEqual(sdp.parse(made.encode()).address, "2001:db8::1")


class AnswerTests(SynchronousTestCase):
    def test_to_ourselves(self) -> None:
        """Two ends of umd agree on PCMU with events, both ways."""
        description, agreed = answered(OFFER)
        self.assertEqual((agreed.address, agreed.port), ("192.0.2.1", 4000))
        self.assertEqual((agreed.codec, agreed.events), (PCMU, 101))
        self.assertEqual(agreed.direction, Direction.SENDRECV)
        back = sdp.read_answer(sdp.parse(OFFER.encode()), sdp.parse(description.encode()))
        self.assertEqual((back.address, back.port), ("192.0.2.9", 6000))
        self.assertEqual((back.codec, back.direction), (PCMU, Direction.SENDRECV))

    def test_foreign_offer(self) -> None:
        """Dynamic types by their names, in the offer's order; other streams refused in place."""
        description, agreed = answered(FOREIGN)
        self.assertEqual([each.port for each in description.media], [0, 6000, 0])
        self.assertEqual([each.kind for each in description.media], ["video", "audio", "audio"])
        self.assertEqual(description.media[1].formats, ("96", "98", "8"))
        self.assertEqual((agreed.codec.payload, agreed.codec.name), (96, "PCMU/8000"))
        self.assertEqual((agreed.address, agreed.port, agreed.events), ("2001:db8::7", 5002, 98))
        self.assertEqual(len(sdp.parse(description.encode()).media), 3)

    def test_nothing_shared(self) -> None:
        """No codec, only events, or no audio: 488."""
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
        """The answer has what the offer leaves of our wish (RFC 3264 section 6.1)."""
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
                description, agreed = answered(OFFER.replace("sendrecv", offered), wish)
                self.assertEqual(description.media[0].direction, expected)
                self.assertEqual(agreed.direction, expected)

    def test_old_hold(self) -> None:
        """A connection to nowhere means that we must not send (RFC 2543)."""
        _, agreed = answered(OFFER.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0"))
        self.assertEqual(agreed.direction, Direction.RECVONLY)

    def test_direction_of_the_session(self) -> None:
        """What stands before the first stream counts for all that say nothing."""
        text = OFFER.replace("a=sendrecv\r\n", "").replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n")
        self.assertEqual(answered(text)[1].direction, Direction.RECVONLY)

    def test_our_parameters(self) -> None:
        """What the offer says in fmtp is not repeated as ours."""
        description, _ = answered(OFFER.replace("0-16", "0-15,66\ra=evil"))
        self.assertNotIn(b"evil", description.encode())


class ReadAnswerTests(SynchronousTestCase):
    def test_hold(self) -> None:
        """Our hold, and the far end's consent."""
        first = sdp.offer(address="192.0.2.1", port=4000, session_id=7)
        held = sdp.changed(first, Direction.SENDONLY)
        description, there = answered(held.encode().decode())
        here = sdp.read_answer(held, description)
        self.assertEqual((here.direction, there.direction), ("sendonly", "recvonly"))
        self.assertEqual(sdp.changed(held, Direction.SENDRECV).version, 3)

    def test_hold_by_the_callee(self) -> None:
        """Who answered an offer of three streams and now holds offers three again."""
        ours, _ = answered(FOREIGN)
        held = sdp.changed(ours, Direction.SENDONLY)
        self.assertEqual([each.port for each in held.media], [0, 6000, 0])
        self.assertIn(b"a=sendonly\r\n", held.encode())
        theirs = held.encode().decode().replace("sendonly", "recvonly").replace("6000", "5002")
        agreed = sdp.read_answer(held, sdp.parse(theirs.encode()))
        self.assertEqual((agreed.port, agreed.direction), (5002, Direction.SENDONLY))

    def test_bad_answers(self) -> None:
        """Refused, of another shape, or with codecs we did not offer."""
        ours = sdp.parse(OFFER.encode())
        for text in (
            OFFER.replace("audio 4000", "audio 0"),
            OFFER + "m=video 1 RTP/AVP 31\r\n",
            OFFER.replace("AVP 0 8 101", "AVP 18"),
            OFFER.split("m=")[0],
        ):
            self.assertRaises(SdpError, sdp.read_answer, ours, sdp.parse(text.encode()))


class ParseTests(SynchronousTestCase):
    def test_malformed(self) -> None:
        """No session description: 400."""
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
        """Line ends without CR are taken, as RFC 8866 asks."""
        self.assertEqual(sdp.parse(OFFER.replace("\r", "").encode()), sdp.parse(OFFER.encode()))

    def test_what_phones_write(self) -> None:
        """What RFC 8866 forbids and nothing depends on changes nothing of the streams."""
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
            self.assertEqual((found.media, found.address), (plain.media, plain.address), new)

    def test_streams_taken_out(self) -> None:
        """All ports 0, or no stream: the answer is of the same shape (RFC 3264 §8.2)."""
        text = FOREIGN.replace("c=", "x=")
        for line in re.findall(r"m=\w+ \d+", text):
            text = text.replace(line, f"{line.split()[0]} 0")
        offered = sdp.parse(text.encode())
        answer = sdp.without_streams(offered, address="192.0.2.9", session_id=4, version=2)
        assert answer is not None
        self.assertEqual([each.port for each in answer.media], [0] * len(offered.media))
        self.assertEqual(
            [(each.kind, each.formats) for each in answer.media],
            [(each.kind, each.formats) for each in offered.media],
        )
        self.assertEqual(sdp.parse(answer.encode()).version, 2)
        there = sdp.parse(OFFER.encode())
        self.assertIsNone(sdp.without_streams(there, address="192.0.2.9", session_id=4))

    def test_no_media(self) -> None:
        """A description without streams is one, and nothing can be agreed."""
        self.assertEqual(sdp.parse(OFFER.split("m=")[0].encode()).media, ())
