"""
Measures how fast SIP messages are parsed and written: `python -m bench.sip [--json] [--repeat 5]`.

Rates are per second of CPU time on one core. Each is the best of several runs: other work on the
machine can only slow a run down, through the caches and the clock frequency. The messages are those
of SIPp's built-in scenarios.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import timeit
from typing import Any

from umd.sip import build, sdp
from umd.sip.framing import read_datagram
from umd.sip.message import Request
from umd.sip.parser import parse
from umd.sip.validate import check_request

SDP = (
    "v=0\r\n"
    "o=user1 53655765 2353687637 IN IP4 127.0.0.1\r\n"
    "s=-\r\n"
    "c=IN IP4 127.0.0.1\r\n"
    "t=0 0\r\n"
    "m=audio 6000 RTP/AVP 0\r\n"
    "a=rtpmap:0 PCMU/8000\r\n"
)
INVITE = (
    "INVITE sip:service@127.0.0.1:5060 SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bK-524287-1-0\r\n"
    "From: sipp <sip:sipp@127.0.0.1:5080>;tag=524287SIPpTag001\r\n"
    "To: service <sip:service@127.0.0.1:5060>\r\n"
    "Call-ID: 1-524287@127.0.0.1\r\n"
    "CSeq: 1 INVITE\r\n"
    "Contact: sip:sipp@127.0.0.1:5080\r\n"
    "Max-Forwards: 70\r\n"
    "Subject: Performance Test\r\n"
    "Content-Type: application/sdp\r\n"
    f"Content-Length: {len(SDP)}\r\n"
    "\r\n"
    f"{SDP}"
).encode()
GOALS = {"INVITE parse and key": 100_000, "INVITE serialise": 500_000}
BYE = (
    '"BYE", "sip:service@127.0.0.1:5060", sent_by="127.0.0.1:5080", branch="z9hG4bK-524287-1-7", '
    'from_="sipp <sip:sipp@127.0.0.1:5080>;tag=524287SIPpTag001", '
    'to="service <sip:service@127.0.0.1:5060>;tag=9", call_id="1-524287@127.0.0.1", cseq=2'
)
STATEMENTS = {
    "INVITE parse": "read_datagram(octets)",
    "INVITE parse and key": "key(read_datagram(octets))",
    "INVITE parse, key with From and To taken apart": "key_of_parsed_fields(read_datagram(octets))",
    "INVITE parse, check and key": "checked_key(read_datagram(octets))",
    "INVITE serialise": "invite.to_octets()",
    "BYE object": f"request({BYE})",
    "BYE object, then octets": f"request({BYE}).octets()",
    "200 object": 'response(invite, 200, to_tag="9", contact="<sip:b@127.0.0.1>", body=b"v=0")',
    "ACK object for a failure": "ack_for(invite, failure)",
    "SDP parse and answer": 'sdp.answer(sdp.parse(body), address="h", port=6, session_id=1)',
}


def key(request: Request) -> tuple[object, ...]:
    """Return the fields by which the transaction and the dialog of a request are found."""
    via, cseq = request.via, request.cseq
    return (
        via.branch,
        via.sent_by,
        cseq.number,
        cseq.method,
        request.call_id,
        request.from_tag,
        request.to_tag,
    )


def key_of_parsed_fields(request: Request) -> tuple[object, ...]:
    """Return the same fields, with the tags from the parsed From and To fields."""
    via, cseq = request.via, request.cseq
    return (
        via.branch,
        via.sent_by,
        cseq.number,
        cseq.method,
        request.call_id,
        request.from_.tag,
        request.to.tag,
    )


def checked_key(request: Request) -> tuple[object, ...]:
    """Check a request, and return its key."""
    if check_request(request) is not None:
        raise AssertionError("the INVITE of this bench is refused")
    return key(request)


def measure(repeat: int) -> dict[str, float]:
    """Return the operations per second of CPU time for each statement, the best of the runs."""
    invite = parse(INVITE)
    assert isinstance(invite, Request)
    names: dict[str, Any] = {
        "octets": INVITE,
        "body": SDP.encode(),
        "invite": invite,
        "failure": build.response(invite, 486, to_tag="9"),
        "sdp": sdp,
    }
    for function in (
        *(read_datagram, key, key_of_parsed_fields, checked_key),
        *(build.request, build.response, build.ack_for),
    ):
        names[function.__name__] = function
    rates = {}
    for title, statement in STATEMENTS.items():
        timer = timeit.Timer(statement, timer=time.process_time, globals=names)
        number = max(1, timer.autorange()[0] // 4)
        rates[title] = number / min(timer.repeat(repeat, number))
    return rates


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    rates = measure(arguments.repeat)
    if arguments.json:
        figures = {title: round(rate) for title, rate in rates.items()}
        print(json.dumps({"python": platform.python_version(), "per_second": figures}))
        return
    print(f"Python {platform.python_version()}, INVITE of {len(INVITE)} octets, one core")
    for title, rate in rates.items():
        goal = f"  goal {GOALS[title]:>9,}" if title in GOALS else ""
        print(f"{title:48} {rate:>11,.0f}/s {1e6 / rate:8.2f} us{goal}")


if __name__ == "__main__":
    main()
