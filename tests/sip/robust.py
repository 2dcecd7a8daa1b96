"""
Checks that a flaw in a field that is not needed does not change a call.

`python -m tests.sip.robust` runs a call for each flaw, field and kind of message, and compares it
with the same call without the flaw: the events that umd reports, and the messages that it sends.
Each call runs without a journal, with one (messages of an answered leg wait for the record), and
with a restart (the leg is restored from its record).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.sip.helpers import ALICE, ANSWER, BOB, OFFER, ids
from umd.backend import Ended, KnownLeg, LegEvent, LegId
from umd.backends.sip_legs import SipLegs
from umd.call.call import CallState
from umd.call.cause import Cause, EndedBy
from umd.sip.endpoint import Endpoint
from umd.sip.framing import read_datagram
from umd.sip.message import Message, Request, Response
from umd.sip.names import TABLE

LEG: Final = LegId("b5c0c7e0@192.0.2.1")
CLIENT: Final = Cause(by=EndedBy.CLIENT)
AT_BOB: Final = f"<sip:bob@{BOB.host}:{BOB.port}>"
MODES: Final = ("no journal", "journal", "restart")

Field = tuple[str, str]
Flaw = Callable[[str, str], bytes]
"""Returns the damaged lines of a header field, with line ends, for its name and value."""


# Messages of the far end

ORNAMENTS: Final[tuple[Field, ...]] = (
    ("Server", "Far/1.0 (x; y)"),
    ("User-Agent", "Far/1.0"),
    ("Date", "Sat, 28 Nov 2026 04:00:00 GMT"),
    ("Subject", "a, b"),
    ("Organization", "Far & Co"),
    ("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS"),
    ("Supported", "timer, replaces"),
    ("Accept", "application/sdp;q=1, text/plain"),
    ("Warning", '399 far "not so, good"'),
    ("Timestamp", "54.1 0.2"),
    ("Session-Expires", "1800;refresher=uac"),
    ("P-Asserted-Identity", '"Bob, B" <sip:bob@example.com>, <tel:+1555>'),
    ("Call-Info", "<http://192.0.2.2/a,b.png>;purpose=icon"),
    ("Expires", "300"),
    ("X-Far", 'a="1,2";b'),
)
OF_RESPONSES: Final[tuple[Field, ...]] = (
    ("Retry-After", "5 (soon);duration=9"),
    ("Error-Info", "<sip:a@example.com>"),
    ("Max-Forwards", "70"),
)
WAY: Final[tuple[Field, ...]] = (
    ("Contact", AT_BOB),
    ("Record-Route", f"<sip:{BOB.host}:{BOB.port};lr>"),
)


@dataclass(frozen=True)
class Kind:
    """One kind of message that umd receives, with its needed fields."""

    name: str
    needed: frozenset[str]
    """Header fields that are not damaged."""
    once: frozenset[str] = frozenset()
    """Header fields that must not be repeated."""
    story: str = "we hang up"
    status: int = 200


_IDENTITY: Final = frozenset(("Via", "CSeq", "To"))
_DOUBLED: Final = frozenset(("From", "Call-ID"))
_OF_DIALOG: Final = frozenset(("Via", "CSeq", "Call-ID", "From", "To"))
_LENGTH: Final = frozenset(("Content-Length",))
_HOPS: Final = frozenset(("Max-Forwards",))


def _response(name: str, story: str, status: int) -> Kind:
    return Kind(name, _IDENTITY, _DOUBLED, story, status)


KINDS: Final = (
    _response("180 INVITE", "we hang up", 200),
    _response("200 INVITE", "we hang up", 200),
    _response("486 INVITE", "refused", 486),
    _response("302 INVITE", "refused", 302),
    _response("503 INVITE", "refused", 503),
    _response("603 INVITE", "refused", 603),
    _response("200 BYE", "we hang up", 200),
    _response("481 BYE", "we hang up", 481),
    _response("500 BYE", "we hang up", 500),
    _response("200 CANCEL", "cancelled", 200),
    _response("487 INVITE", "cancelled", 200),
    Kind("BYE", _OF_DIALOG | _LENGTH, _HOPS, "far end hangs up"),
    Kind("INVITE", _OF_DIALOG | _LENGTH | {"Contact", "Content-Type"}, _HOPS, "changed"),
    Kind("OPTIONS", _OF_DIALOG | _LENGTH, _HOPS, "changed"),
    Kind("ACK", _OF_DIALOG, frozenset(), "changed"),
)


# The flaws

E_ACUTE: Final = b"\xe9"


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _line(name: str, value: bytes, end: bytes = b"\r\n") -> bytes:
    return name.encode() + b": " + value + end


def _with(change: Callable[[bytes], bytes]) -> Flaw:
    return lambda name, value: _line(name, change(_octets(value)))


def _middle(value: bytes, what: bytes) -> bytes:
    at = len(value) // 2
    return value[:at] + what + value[at:]


TWICE: Final[Mapping[str, Flaw]] = {
    "doubled": lambda name, value: 2 * _line(name, _octets(value)),
    "doubled, another value": lambda name, value: (
        _line(name, _octets(value)) + _line(name, b"other")
    ),
    "doubled, the first one empty": lambda name, value: (
        _line(name, b"") + _line(name, _octets(value))
    ),
    "twenty times": lambda name, value: 20 * _line(name, _octets(value)),
}
FLAWS: Final[Mapping[str, Flaw]] = {
    "absent": lambda name, value: b"",
    "empty": _with(lambda value: b""),
    "blank": _with(lambda value: b" \t "),
    "cut in half": _with(lambda value: value[: len(value) // 2]),
    "cut at the end": _with(lambda value: value[:-1]),
    "cut at the start": _with(lambda value: value[1:]),
    "one character": _with(lambda value: value[:1]),
    "Latin-1 before": _with(lambda value: E_ACUTE + value),
    "Latin-1 within": _with(lambda value: _middle(value, E_ACUTE)),
    "Latin-1 after": _with(lambda value: value + E_ACUTE),
    "half of UTF-8": _with(lambda value: value + b"\xed\xa0\x80 \xc3"),
    "control characters": _with(lambda value: _middle(value, b"\x00\x01\x1b[0m\x7f")),
    "overlong": _with(lambda value: value + b"x" * 5000),
    "overlong, with separators": _with(lambda value: value + b";x, " * 1500),
    "longer than a line may be": _with(lambda value: value + b"y" * 12000),
    "empty parameters": _with(lambda value: value + b";;;x=;;"),
    "a semicolon at the end": _with(lambda value: value + b" ; "),
    "a comma before": _with(lambda value: b"," + value),
    "a comma after": _with(lambda value: value + b" ,"),
    "commas": _with(lambda value: b", ," + _middle(value, b",,") + b",, ,"),
    "colons": _with(lambda value: b": :" + value + b":"),
    "equals signs": _with(lambda value: b"=" + value + b"==;="),
    "tabs": _with(lambda value: b"\t" + value.replace(b" ", b"\t") + b"\t\t"),
    "an open quote before": _with(lambda value: b'"' + value),
    "an open quote after": _with(lambda value: value + b'"'),
    "an escape at the end": _with(lambda value: b'"' + value + b'\\"'),
    "an open bracket": _with(lambda value: b"<" + value),
    "a closed bracket": _with(lambda value: value + b">"),
    "brackets": _with(lambda value: b"<<>>" + value + b"<>"),
    "percent signs": _with(lambda value: b"%" + _middle(value, b"%zz%0d%0a") + b"%"),
    "folded": _with(lambda value: _middle(value, b"\r\n ")),
    "folded twice": _with(lambda value: _middle(value, b"\r\n\t\r\n  ")),
    "folded at the start": _with(lambda value: b"\r\n " + value),
    "folded by LF": _with(lambda value: _middle(value, b"\n ")),
    "LF at the end": lambda name, value: _line(name, _octets(value), b"\n"),
    "LF LF at the end": lambda name, value: _line(name, _octets(value), b"\n\r\n"),
    "LF within": _with(lambda value: _middle(value, b"\n")),
    "CR within": _with(lambda value: _middle(value, b"\r")),
    "CR before the end": lambda name, value: _line(name, _octets(value), b"\r\r\n"),
    "no colon": lambda name, value: _octets(f"{name} x\r\n"),
    "a blank within the name": lambda name, value: _octets(f"{name[0]} {name[1:]}: {value}\r\n"),
    "Latin-1 in the name": lambda name, value: name.encode() + E_ACUTE + b": x\r\n",
    "no name": lambda name, value: _octets(f": {value}\r\n"),
    "nonsense": _with(lambda value: b'\xff";,<=>\\@'),
    "a number out of range": _with(lambda value: b"99999999999999999999999"),
    "a negative number": _with(lambda value: b"-1"),
}
_TOO_LONG_A_BODY: Final = frozenset(("a number out of range",))
"""Flaws of Content-Length that mean a truncated datagram, which umd does not tolerate."""

COMPACT: Final = {row.name: row.compact for row in TABLE if row.compact}
VARIANTS: Final[Mapping[str, Flaw]] = {
    "compact": lambda name, value: _octets(f"{COMPACT.get(name, name)}:{value}\r\n"),
    "capitals": lambda name, value: _octets(f"{name.upper()}: {value}\r\n"),
    "small letters": lambda name, value: _octets(f"{name.lower()}: {value}\r\n"),
    "mixed letters": lambda name, value: _octets(f"{name.swapcase()} :{value}\r\n"),
    "blanks": lambda name, value: _octets(f"{name} \t: \t {value} \t\r\n"),
    "folded before the value": lambda name, value: _octets(f"{name}:\r\n {value}\r\n"),
    "folded after the value": lambda name, value: _octets(f"{name}: {value}\r\n \r\n"),
    "LF at the end": lambda name, value: _octets(f"{name}: {value}\n"),
}
"""Spellings of a needed field."""
ADDRESS: Final[Mapping[str, Flaw]] = {
    "a quoted name": _with(lambda value: b'"B, \\"b\\"\\\\ <x>;tag=no" ' + value),
    "a plain name": _with(lambda value: b"Bob B. " + value),
    "more parameters": _with(lambda value: value + b';x="1;tag=2, 3";y'),
    "blanks round separators": _with(
        lambda value: value.replace(b";", b" ; ").replace(b"=", b" = ")
    ),
    "the tag in capitals": _with(lambda value: value.replace(b";tag", b";TAG")),
    "a Latin-1 name": _with(lambda value: b"Caf" + E_ACUTE + b" " + value),
    "a quoted Latin-1 name": _with(lambda value: b'"' + E_ACUTE + b'" ' + value),
    "an open quote": _with(lambda value: b'"Bob ' + value),
    "a comma in the name": _with(lambda value: b"B, Bob " + value),
    "empty parameters": _with(lambda value: value.replace(b";", b";;") + b";;"),
    "an odd URI": _with(lambda value: value.replace(b"sip:", b"s p::")),
    "blanks in the URI": _with(lambda value: value.replace(b"sip:", b" sip:")),
    "an empty URI": lambda name, value: _line(name, b"<>;" + _octets(value).partition(b";")[2]),
    "a broken parameter": _with(lambda value: value + b";=;x=,;" + E_ACUTE),
    "overlong": _with(lambda value: b"x" * 4000 + b" " + value + b";y=" + b"z" * 3000),
    "control characters": _with(lambda value: b"a\x01\x1bb " + value),
    "a comma after": _with(lambda value: value + b","),
}
"""Spellings of a From or To whose tag is needed."""


@dataclass(frozen=True)
class Case:
    """One flaw in one header field of one kind of message."""

    kind: Kind
    field: str
    flaw: str
    write: Flaw
    echoed: bool
    """Whether umd sends the field back, so that its messages differ."""

    def __str__(self) -> str:
        return f"{self.kind.name}, {self.field}: {self.flaw}"


def cases() -> Iterator[Case]:
    """Yield every case."""
    for kind in KINDS:
        for name, _ in fields_of(kind.name):
            echoed = name in ("To", "From", "Via", "Contact", "Record-Route", "Call-ID")
            if name not in kind.needed:
                flaws = dict(FLAWS)
                if name not in kind.once:
                    flaws.update(TWICE)
                if name == "Content-Length":
                    flaws = {key: flaws[key] for key in flaws if key not in _TOO_LONG_A_BODY}
                for flaw, write in flaws.items():
                    yield Case(kind, name, flaw, write, echoed)
            else:
                for flaw, write in VARIANTS.items():
                    yield Case(kind, name, flaw, write, echoed)
            if name in ("From", "To"):
                for flaw, write in ADDRESS.items():
                    yield Case(kind, name, flaw, write, echoed)


def fields_of(name: str) -> tuple[Field, ...]:
    """Return the header fields of a kind of message; only their names count."""
    is_request = name.isalpha()
    own = tuple((key, "") for key in ("Via", "From", "To", "Call-ID", "CSeq"))
    more = (("Max-Forwards", ""),) if is_request else OF_RESPONSES
    body = (("Content-Type", ""),) if name in WITH_BODY else ()
    return (*own, *ORNAMENTS, *more, *WAY, *body, ("Content-Length", ""))


WITH_BODY: Final = ("180 INVITE", "200 INVITE", "INVITE")


# The two ends


class Far:
    """Bob's phone, which sends and receives octets; `case` damages its messages."""

    def __init__(self, case: Case | None, status: int) -> None:
        self.case = case
        self.status = status
        self.heard: list[str] = []
        self.damaged = 0
        self._invite: Request | None = None
        self.cseq = 100

    def answers(self, request: Request) -> list[bytes]:
        """Return its responses to a request of umd."""
        for name in ("From", "To"):  # as it came from here
            request.read_tag_leniently(name)
        self.heard.append(f"{request.method} {request.from_tag} {request.to_tag}")
        if request.method == "INVITE":
            self._invite = request
            return self.to_invite(request)
        if request.method == "CANCEL":
            assert self._invite is not None
            return [self._answer(request, 200), self._answer(self._invite, 487)]
        return [self._answer(request, self.status)] if request.method == "BYE" else []

    def to_invite(self, invite: Request) -> list[bytes]:
        """Return the responses of a phone that rings and answers."""
        return [self._answer(invite, 180), self._answer(invite, 200)]

    def _answer(self, request: Request, status: int) -> bytes:
        to = request.get("To") or ""
        name = f"{status} {request.method}"
        fields = (
            ("Via", f"{request.get('Via')}=5060;received=192.0.2.1"),
            ("From", request.get("From") or ""),
            ("To", to if ";tag=" in to else f"{to};tag=f1"),
            ("Call-ID", request.call_id),
            ("CSeq", request.get("CSeq") or ""),
            *ORNAMENTS,
            *OF_RESPONSES,
            *WAY,
        )
        return self._write(name, f"SIP/2.0 {status} Said", fields, ANSWER)

    def request(self, method: str, cseq: int | None = None) -> bytes:
        """Return a request in the dialog."""
        assert self._invite is not None
        if cseq is None:
            self.cseq = cseq = self.cseq + 1
        fields = (
            ("Via", f"SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKf{self.cseq}{method[0]};rport"),
            ("From", f"{self._invite.get('To')};tag=f1"),
            ("To", self._invite.get("From") or ""),
            ("Call-ID", self._invite.call_id),
            ("CSeq", f"{cseq} {method}"),
            *ORNAMENTS,
            ("Max-Forwards", "70"),
            *WAY,
        )
        return self._write(method, f"{method} sip:192.0.2.1:5060 SIP/2.0", fields, OFFER)

    def _write(self, name: str, start: str, fields: tuple[Field, ...], body: bytes) -> bytes:
        if name in WITH_BODY:
            fields = (*fields, ("Content-Type", "application/sdp"))
        else:
            body = b""
        lines = [start.encode() + b"\r\n"]
        for key, value in (*fields, ("Content-Length", str(len(body)))):
            case = self.case
            if case is not None and case.kind.name == name and case.field == key:
                self.damaged += 1
                lines.append(case.write(key, value))
            else:
                lines.append(_octets(f"{key}: {value}\r\n"))
        return b"".join([*lines, b"\r\n", body])


class Refusing(Far):
    """A phone that refuses the call."""

    def to_invite(self, invite: Request) -> list[bytes]:
        return [self._answer(invite, 180), self._answer(invite, self.status)]


class Ringing(Far):
    """A phone that rings until the call is cancelled."""

    def to_invite(self, invite: Request) -> list[bytes]:
        return [self._answer(invite, 180)]


class Umd:
    """One end of umd, without a socket: its reports, and what it has sent."""

    def __init__(self, far: Far, mode: str) -> None:
        self.far = far
        self.mode = mode
        self.events: list[LegEvent] = []
        self.left: list[str] = []
        self.octets: list[bytes] = []
        self.record: bytes | None = None
        self.new_id = ids("a")
        self._begin()

    def _begin(self) -> None:
        self.endpoint = Endpoint(ALICE.host, ALICE.port, self.new_id)
        self.legs = SipLegs(
            self.endpoint,
            self.events.append,
            when_recorded=None if self.mode == "no journal" else self._when_recorded,
            restore=self._restore,
        )

    def _when_recorded(self, leg: LegId) -> None:
        self.record = self.legs.record(leg) or self.record
        self.legs.release(leg)

    def _restore(self, known: KnownLeg) -> None:
        assert known.record is not None
        self.legs.restore(known.leg, known.record, requests_since=2)

    def restart(self) -> None:
        """Stop without a message, and start again from the record."""
        if self.mode == "restart":
            assert self.record is not None
            self._begin()
            known = KnownLeg(
                leg=LEG, state=CallState.CONNECTED, number="bob", age=1.0, record=self.record
            )
            self.legs.add_dormant(known)

    def place(self, now: float) -> None:
        self.legs.place(LEG, "sip:bob@192.0.2.2", BOB, now, from_="sip:a@192.0.2.1", body=OFFER)
        self.pump(now)

    def hang_up(self, now: float) -> None:
        self.legs.hang_up(LEG, CLIENT, now)
        self.pump(now)

    def receive(self, data: bytes, now: float) -> None:
        """Deliver a datagram of the far end, and all messages that follow from it."""
        self.endpoint.receive_datagram(data, BOB, now)
        self.pump(now)

    def pump(self, now: float) -> None:
        self.legs.report_events()
        while sends := self.legs.messages_to_send():
            for message, hop in sends:
                octets = message.octets()
                self.octets.append(octets)
                self.left.append(f"{_label(message)} {hop.host}:{hop.port}")
                read = read_datagram(octets)
                if isinstance(read, Request):
                    for answer in self.far.answers(read):
                        self.receive(answer, now)
            self.legs.report_events()

    def run_out(self, now: float) -> None:
        """Let time pass until no timer runs."""
        while (due := self.endpoint.next_due()) is not None and due < now + 400.0:
            self.endpoint.handle_timer(due)
            self.pump(due)


def _label(message: Message) -> str:
    if isinstance(message, Response):
        return f"{message.status} {message.cseq_method}"
    assert isinstance(message, Request)
    return message.method


FARS: Final[Mapping[str, type[Far]]] = {"refused": Refusing, "cancelled": Ringing}


@dataclass(frozen=True)
class Outcome:
    """The result of a call, for comparison."""

    events: tuple[tuple[str, object], ...]
    left: tuple[str, ...]
    octets: tuple[bytes, ...]
    heard: tuple[str, ...]
    rest: tuple[int, int, int]
    """The numbers of transactions, dialogs and legs that are left."""


def run_call(kind: Kind, case: Case | None, mode: str) -> Outcome:
    """Run the call of a kind of message, with a flaw or without, and return its result."""
    far = FARS.get(kind.story, Far)(case, kind.status)
    umd = Umd(far, mode)
    umd.place(0.0)
    if kind.story in ("we hang up", "far end hangs up", "changed"):
        umd.restart()
    if kind.story == "changed":
        umd.receive(far.request("INVITE"), 1.0)
        umd.receive(far.request("ACK", far.cseq), 1.0)
        umd.receive(far.request("OPTIONS"), 1.5)
    if kind.story == "far end hangs up":
        umd.receive(far.request("BYE"), 2.0)
    elif kind.story != "refused":
        umd.hang_up(2.0)
    umd.run_out(2.0)
    if case is not None and not far.damaged:
        raise AssertionError(f"{case}: the story has no such field")
    endpoint = umd.endpoint
    return Outcome(
        tuple(map(_told, umd.events)),
        tuple(umd.left),
        tuple(umd.octets),
        tuple(far.heard),
        (len(endpoint.transactions), endpoint.dialogs, len(umd.legs)),
    )


def _told(event: LegEvent) -> tuple[str, object]:
    if isinstance(event, Ended):
        return "Ended", (event.cause, event.confirmed)
    return type(event).__name__, None


def run(*, every_mode: bool = True) -> dict[str, Any]:
    """
    Run every call with every flaw; return the figures and the first differences.

    Args:
        every_mode: Run each call in every mode; otherwise in one mode, by turns.
    """
    count, wrong = 0, []
    plain = {(kind.name, mode): run_call(kind, None, mode) for kind in KINDS for mode in MODES}
    for (name, mode), outcome in plain.items():
        if not outcome.events or outcome.events[-1][0] != "Ended" or outcome.rest != (0, 0, 0):
            wrong.append(f"{name}, {mode}: does not end without a flaw either")
    for number, case in enumerate(cases()):
        modes = MODES[:2] if case.kind.story in ("refused", "cancelled") else MODES
        for mode in modes if every_mode else (modes[number % len(modes)],):
            count += 1
            expected = plain[case.kind.name, mode]
            found = run_call(case.kind, case, mode)
            if case.echoed:
                found = replace(found, octets=expected.octets)
            if found != expected:
                wrong.append(f"{case}, {mode}: {_difference(expected, found)}")
    return {"combinations": count, "failed": len(wrong), "first": wrong[:20]}


def _difference(expected: Outcome, found: Outcome) -> str:
    for name in ("events", "left", "heard", "rest", "octets"):
        wanted, actual = getattr(expected, name), getattr(found, name)
        if wanted != actual:
            return f"{name} {actual} instead of {wanted}"
    return ""


def main() -> int:
    """Print the figures, and return 1 if a call differed."""
    figures = run()
    print(json.dumps(figures, indent=1))
    return 1 if figures["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
