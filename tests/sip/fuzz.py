"""
Damaged SIP messages, from a seed: `python -m tests.sip.fuzz --count 1000000 --seed 1`.

For any input the message layer must raise only its own errors, use at most 5 ms of CPU for one
message, and keep nothing in memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.sip.corpus import rows
from umd.errors import UmdError
from umd.sip import build, sdp
from umd.sip.body import description_in, offer_in
from umd.sip.fields import (
    Challenge,
    Credentials,
    NameAddr,
    Reason,
    Uri,
    Via,
    find_reason,
    parse_challenges,
)
from umd.sip.framing import read_datagram
from umd.sip.message import Message, MessageError, Request, Response
from umd.sip.names import LISTED
from umd.sip.parser import MAX_HEADER_LINES, MAX_LINE_CHARACTERS, MAX_MESSAGE_OCTETS, parse
from umd.sip.session import reasons_of
from umd.sip.validate import check_request, check_response, rejection_for

LIMIT = 0.005  # seconds of CPU for one message
LISTS = sorted(LISTED)
TYPED: tuple[Callable[[Message], object], ...] = (
    lambda message: message.via,
    lambda message: message.from_,
    lambda message: message.to,
    lambda message: message.from_tag,
    lambda message: message.to_tag,
    lambda message: message.call_id,
    lambda message: message.cseq,
    lambda message: message.contacts,
    lambda message: message.record_routes,
    lambda message: message.content_length,
)
PIECES = (
    *(bytes([octet]) for octet in b'\r\n"\\;,<>:=/@? \t\x00\xff'),
    *(b"\r\n", b"\r\n ", b"\r\n\r\n", b'\\"', b";;", b"<>", b"%00", b"[::1]", b"-1", b"9999999999"),
    *(b"SIP/2.0", b"sip:", b"tel:+1", b";tag=x", b";branch=z9hG4bK", b";rport", b"; lr = 1 "),
    *(b"Content-Length: 0\r\n", b"l: 5\r\n", b"m: *\r\n", b"Via: SIP/2.0/UDP a;branch=b\r\n"),
    # Letters whose lower case is ASCII, blanks and digits that are none, and half a surrogate pair.
    *(b"\xc3\xa9", b"\xe2\x84\xaa", b"\xc2\x85", b"\xd9\xa1", b"\xed\xa0\x80"),
)
GOOD = (
    b"INVITE sip:bob@192.0.2.2 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabc;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice" <sip:alice@192.0.2.1>;tag=a1\r\n'
    b"To: <sip:bob@192.0.2.2>\r\n"
    b"Call-ID: 1@192.0.2.1\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@192.0.2.1:5060;ob>;expires=60\r\n"
    b"Record-Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\n"
    b'Authorization: Digest username="a", realm="r", nonce="n", uri="sip:b", response="0", nc=1\r\n'
    b'Reason: Q.850;cause=16;text="Normal call clearing"\r\n'
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: 128\r\n"
    b"\r\n"
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)


ANSWER = (
    GOOD.replace(b"INVITE sip:bob@192.0.2.2 SIP/2.0", b"SIP/2.0 200 OK")
    .replace(b"To: <sip:bob@192.0.2.2>", b"To: Bob <sip:bob@192.0.2.2>;tag=b1")
    .replace(b"application/sdp", b'multipart/mixed;boundary="b1"')
    .replace(b"Content-Length: 128\r\n", b"Server: a\r\n")
    .replace(b"v=0", b"--b1\r\nContent-Type: application/sdp\r\n\r\nv=0")
    + b"\r\n--b1\r\nContent-Type: a/b\r\n\r\nc\r\n--b1--\r\n"
)


def damage(seeds: list[bytes], chance: random.Random) -> bytes:
    """Return one of the seeds, damaged a few times."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 8))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((1, 2, 8, 40)))
        match chance.randrange(10):
            case 0:
                data[at:end] = chance.randbytes(end - at)
            case 1:
                del data[at:end]
            case 2 | 3:
                data[at:at] = chance.choice(PIECES)
            case 4:
                data[at:at] = data[at:end] * chance.choice((2, 3, 20))
            case 5:
                other = chance.choice(seeds)
                data[at:] = other[chance.randrange(len(other)) :]
            case 6:
                lines = bytes(data).split(b"\r\n")
                chance.shuffle(lines)
                data = bytearray(b"\r\n".join(lines))
            case 7:
                line = chance.choice(bytes(data).split(b"\r\n")) + b"\r\n"
                start = data.find(b"\r\n") + 2
                data[start:start] = line * chance.choice((1, 2, 130))
            case 8:
                data = data[:at]
            case _:
                if chance.random() < 0.05:  # as large as a datagram can be
                    piece = chance.choice(PIECES) + chance.choice((b"", b"a", b'"', b" "))
                    data[at:at] = piece * (65000 // len(piece))
                else:
                    data[at:at] = chance.choice(PIECES) * chance.choice((3, 10, 200))
    return bytes(data[:65535])


def hostile() -> Iterator[tuple[str, bytes]]:
    """Yield messages of maximal size that repeat one difficult piece in one header field."""
    fields = (
        *(b"Via: SIP/2.0/UDP h;x", b"From: ", b"To: <sip:a>", b"Contact: <sip:a>", b"Contact: "),
        *(b"CSeq: 1", b"Call-ID: ", b"Max-Forwards: 1", b"Record-Route: <sip:a", b"Reason: Q.850"),
        *(b"Authorization: Digest a=", b"Require: a", b"Content-Length: 0", b"Subject: "),
    )
    pieces = (
        *PIECES,
        *(b'";', b"a ", b"; a", b";a = b", b'"" ', b"<>,", b"a,", b"<sip:a>,", b"a\r\n "),
    )
    for field in fields:
        for piece in pieces:
            if b"\r\n\r\n" in piece or b":" in piece and b"\r" in piece:
                continue
            line = field + piece * (8000 // len(piece))
            start = GOOD.find(b"\r\n") + 2
            for count in (1, 7):
                lines = (line + b"\r\n") * count
                yield f"{field!r} {piece!r} {count}", GOOD[:start] + lines + GOOD[start:]


def exercise(data: bytes) -> str:
    """Call everything in the message layer on a datagram; return how it ended."""
    try:
        message = read_datagram(data)
    except MessageError as error:
        if error.request is not None:
            _answer(error.request, rejection_for(error).status)
            return "answered"
        return "dropped"
    if message is None:
        return "keep-alive"
    _read_everything(message)
    if isinstance(message, Response):
        return "dropped" if check_response(message) else "good"
    rejection = check_request(message)
    if rejection is not None:
        _answer(message, rejection.status)
        return "refused"
    message.note_source("2001:db8::1", 5060)
    _answer(message, 200)
    build.cancel_for(message).octets()
    build.ack_for(message, build.response(message, 486, to_tag="t")).octets()
    return "good"


def _answer(request: Request, status: int) -> None:
    """Build the answer, and parse it as the far end would."""
    response = build.response(request, status, to_tag="t")
    octets = response.octets()
    # An answer has a little more than it echoes, so that of the largest requests breaks the limits.
    longest = max(len(value) for _, value in response.headers)
    if (
        len(octets) <= MAX_MESSAGE_OCTETS
        and len(response.headers) < MAX_HEADER_LINES
        and longest < MAX_LINE_CHARACTERS - 30
    ):
        parse(octets)


def _read_everything(message: Message) -> None:
    for typed in TYPED:
        _allowed(typed, message)
    for name in LISTS:
        _allowed(message.values, name)
    for name, reader in (
        ("Authorization", Credentials.parse),
        ("WWW-Authenticate", Challenge.parse),
        ("Reason", Reason.parse),
        ("Via", Via.parse),
        ("From", NameAddr.parse),
    ):
        for value in message.all(name)[:1]:
            _allowed(_read_twice, reader, value)
    for value in message.all("WWW-Authenticate"):
        parse_challenges(value)
    if isinstance(message, Request):
        _allowed(_read_twice, Uri.parse, message.uri)
    _allowed(_answer_offer, message.body)
    _allowed(offer_in, message)
    description_in(message)
    for reason in reasons_of(message):
        find_reason(reason)
    message.octets()
    _allowed(message.to_octets)


def _answer_offer(body: bytes) -> None:
    answered = sdp.answer(sdp.parse(body), address="192.0.2.9", port=4000, session_id=1)
    sdp.parse(answered.encode())


def _read_twice(reader: Callable[[str], object], text: str) -> None:
    """Check that a field that is parsed, written and parsed again is the same."""
    value = reader(text)
    if reader(str(value)) != value:
        raise AssertionError(f"{value!r} is not what its text says")


def _allowed(step: Callable[..., object], *arguments: object) -> None:
    try:
        step(*arguments)
    except UmdError:
        pass


def messages(count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged messages, the same ones for the same seed."""
    chance = random.Random(seed)
    seeds = [row.octets for row in rows()] + [GOOD, ANSWER]
    for _ in range(count):
        yield damage(seeds, chance)


def timed(data: bytes) -> tuple[str, float]:
    """Return how a message ended, and the CPU seconds that it took."""
    before = time.thread_time()
    outcome = exercise(data)
    return outcome, time.thread_time() - before


def least(data: bytes) -> float:
    """Return the least CPU seconds that a message takes in several tries."""
    return min(timed(data)[1] for _ in range(5))


def run(count: int, seed: int) -> dict[str, Any]:
    """Exercise that many messages; return the figures."""
    outcomes: dict[str, int] = {}
    slowest, slow, once, worst = 0.0, 0, 0, b""
    cpu = 0.0
    sizes: list[int] = []
    for number, data in enumerate(messages(count, seed)):
        outcome, used = timed(data)
        cpu += used
        if used > LIMIT:  # the message, or the machine? The message is slow again.
            once += 1
            used = least(data)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        if used > slowest:
            slowest, worst = used, data
        if used > LIMIT:
            slow += 1
        if number % max(1, count // 10) == 0:
            gc.collect()
            sizes.append(_resident_kib())
    return {
        "count": count,
        "seed": seed,
        "outcomes": outcomes,
        "cpu_us_mean": round(cpu / count * 1e6, 1),
        "cpu_ms_worst": round(slowest * 1e3, 3),
        "over_5_ms": slow,
        "over_5_ms_only_once": once - slow,
        "worst_octets": len(worst),
        "worst_start": repr(worst[:60]),
        "resident_kib": sizes,
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def _resident_kib() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() // 1024


def main() -> int:
    """Run from the command line; return 1 if a message took too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    figures = run(arguments.count, arguments.seed)
    print(json.dumps(figures, indent=1))
    return 1 if figures["over_5_ms"] else 0


if __name__ == "__main__":
    sys.exit(main())
