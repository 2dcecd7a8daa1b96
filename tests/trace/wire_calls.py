"""
Makes the SIP messages of whole calls as an observer at a PBX sees them, and knows the truth.

`leg` is one leg of a back-to-back user agent, as Asterisk sends it: one hop. `proxied` is a call
through a proxy, as Kamailio sends it: two hops with the same Call-ID and tags. Each call says when
which far end is really down, whatever the messages seem to show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from umd.sip.transaction import Hop

PBX: Final = Hop("192.0.2.1", 5060)
CALLER: Final = Hop("198.51.100.10", 5070)
CALLEE: Final = Hop("198.51.100.20", 5080)
OTHER_CALLEE: Final = Hop("198.51.100.30", 5090)
STEP: Final = 0.002
"""Seconds from one message to the next."""


class WirePacket(NamedTuple):
    """One message, and when it crossed, in seconds from the begin of the call."""

    at: float
    source: Hop
    target: Hop
    octets: bytes


@dataclass
class WireCall:
    """The messages of one call."""

    call_id: str
    tags: tuple[str, ...] = ()
    """What a backend would ask for: both tags of a proxy's dialog, none for a leg."""
    packets: list[WirePacket] = field(default_factory=list)
    down_at: dict[str, float] = field(default_factory=dict)
    """When a far end is really down, by its tag."""
    far_ends: tuple[str, ...] = ()
    """The tags that must be down before the call is."""
    reported_at: float = 0.0
    """When the PBX says that the call has ended, true or not."""
    at: float = 0.0

    @property
    def is_down(self) -> bool:
        """Whether every far end is really down in the end."""
        return all(tag in self.down_at for tag in self.far_ends)

    def send(self, source: Hop, target: Hop, octets: bytes) -> None:
        self.at += STEP
        self.packets.append(WirePacket(self.at, source, target, octets))

    def end_of(self, *tags: str) -> None:
        """Note that these far ends are down now."""
        for tag in tags:
            self.down_at.setdefault(tag, self.at)


class Side(NamedTuple):
    """The fields of a request that its responses echo."""

    call_id: str
    from_tag: str
    to_tag: str
    cseq: int
    method: str
    vias: tuple[str, ...]


def via(hop: Hop, branch: str) -> str:
    return f"SIP/2.0/UDP {hop.host}:{hop.port};rport;branch=z9hG4bK{branch}"


def request(
    side: Side, *, contact: Hop | None = None, route: Hop | None = None, uri: str = "sip:far@far"
) -> bytes:
    """Return the octets of a request."""
    to_tag = f";tag={side.to_tag}" if side.to_tag else ""
    lines = [f"{side.method} {uri} SIP/2.0"]
    lines += [f"Via: {value}" for value in side.vias]
    if route is not None:
        lines.append(f"Route: <sip:{route.host}:{route.port};lr>")
    lines += [
        f'From: "lab" <sip:lab@192.0.2.1>;tag={side.from_tag}',
        f"To: <sip:callee@192.0.2.1>{to_tag}",
    ]
    if contact is not None:
        lines.append(f"Contact: <sip:lab@{contact.host}:{contact.port}>")
    lines += [
        f"Call-ID: {side.call_id}",
        f"CSeq: {side.cseq} {side.method}",
        "Max-Forwards: 70",
        "User-Agent: generator",
        "Content-Length: 0",
    ]
    return "\r\n".join((*lines, "", "")).encode()


def response(
    side: Side, status: int, tag: str | None = None, *, contact: Hop | None = None
) -> bytes:
    """Return the octets of a response to the request of a side; `tag`: another To tag."""
    to_tag = side.to_tag if tag is None else tag
    lines = [f"SIP/2.0 {status} Reason", *(f"Via: {value}" for value in side.vias)]
    lines += [
        f'From: "lab" <sip:lab@192.0.2.1>;tag={side.from_tag}',
        f"To: <sip:callee@192.0.2.1>{f';tag={to_tag}' if to_tag else ''}",
    ]
    if contact is not None:
        lines.append(f"Contact: <sip:far@{contact.host}:{contact.port}>")
    lines += [
        f"Call-ID: {side.call_id}", f"CSeq: {side.cseq} {side.method}", "Content-Length: 0"
    ]  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode()


# -- a leg of a back-to-back user agent


LEG_ENDINGS: Final = (
    "pbx-bye",
    "far-bye",
    "far-bye-refused",
    "bye-481",
    "bye-408",
    "bye-500",
    "bye-challenged",
    "bye-unanswered",
    "no-bye",
    "cancelled",
    "cancelled-by-a-proxy",
    "cancel-unanswered",
    "refused",
    "inbound-rejected",
)


def leg(call_id: str, ending: str) -> WireCall:
    """Return one leg of a back-to-back user agent that dialled out; `ending`: `LEG_ENDINGS`."""
    pbx, far = f"p{call_id}", f"f{call_id}"
    call = WireCall(call_id, far_ends=(far,))
    if ending == "inbound-rejected":
        _reject_inbound(call, far, pbx)
        return call
    branch = f"i{call_id}"
    invite = Side(call_id, pbx, "", 1, "INVITE", (via(PBX, branch),))
    call.send(PBX, CALLEE, request(invite, contact=PBX))
    call.send(CALLEE, PBX, response(invite, 100, ""))
    if ending == "refused":
        call.end_of(far)
        call.send(CALLEE, PBX, response(invite, 486, far))
        call.send(PBX, CALLEE, _ack(invite, far))
        call.reported_at = call.at
        return call
    call.send(CALLEE, PBX, response(invite, 180, far, contact=CALLEE))
    if ending.startswith("cancel"):
        _cancel_leg(call, invite, far, ending)
        return call
    call.send(CALLEE, PBX, response(invite, 200, far, contact=CALLEE))
    ack = Side(call_id, pbx, far, 1, "ACK", (via(PBX, f"a{call_id}"),))
    call.send(PBX, CALLEE, request(ack))
    _end_leg(call, pbx, far, ending)
    return call


def _ack(invite: Side, tag: str, hop_via: str | None = None) -> bytes:
    """Return the ACK of a failure, which has the branch of its INVITE."""
    vias = (hop_via or invite.vias[0],)
    return request(invite._replace(method="ACK", to_tag=tag, vias=vias))


def _reject_inbound(call: WireCall, far: str, pbx: str) -> None:
    invite = Side(call.call_id, far, "", 1, "INVITE", (via(CALLER, f"i{call.call_id}"),))
    call.send(CALLER, PBX, request(invite, contact=CALLER))
    call.send(PBX, CALLER, response(invite, 180, pbx, contact=PBX))
    call.reported_at = call.at
    call.send(PBX, CALLER, response(invite, 603, pbx))
    call.end_of(far)
    call.send(CALLER, PBX, _ack(invite, pbx))


def _cancel_leg(call: WireCall, invite: Side, far: str, ending: str) -> None:
    cancel = invite._replace(method="CANCEL")
    call.reported_at = call.at
    call.send(PBX, CALLEE, request(cancel))
    if ending == "cancel-unanswered":
        for _ in range(3):
            call.send(PBX, CALLEE, request(cancel))
        return
    tag = far if ending == "cancelled" else f"alien-{call.call_id}"
    call.send(CALLEE, PBX, response(cancel, 200, tag))
    if ending == "cancelled":
        call.end_of(far)
    call.send(CALLEE, PBX, response(invite, 487, tag))
    call.send(PBX, CALLEE, _ack(invite, tag))


_BYE_STATUS: Final[Mapping[str, int]] = {
    "pbx-bye": 200,
    "bye-481": 481,
    "bye-408": 408,
    "bye-500": 500,
    "bye-challenged": 407,
}


def _end_leg(call: WireCall, pbx: str, far: str, ending: str) -> None:
    call.reported_at = call.at
    call_id = call.call_id
    if ending == "no-bye":
        return
    if ending.startswith("far-bye"):
        bye = Side(call_id, far, pbx, 7, "BYE", (via(CALLEE, f"b{call_id}"),))
        if ending == "far-bye":
            call.end_of(far)
        call.send(CALLEE, PBX, request(bye))
        call.send(PBX, CALLEE, response(bye, 200 if ending == "far-bye" else 403))
        return
    bye = Side(call_id, pbx, far, 2, "BYE", (via(PBX, f"b{call_id}"),))
    for _ in range(4 if ending == "bye-unanswered" else 1):
        call.send(PBX, CALLEE, request(bye))
    status = _BYE_STATUS.get(ending)
    if status is not None:
        if status in (200, 481):
            call.end_of(far)
        call.send(CALLEE, PBX, response(bye, status))


# -- a call through a proxy


PROXY_ENDINGS: Final = (
    "both-byes",
    "one-bye",
    "callee-silent",
    "caller-bye",
    "callee-bye",
    "caller-bye-callee-silent",
    "no-bye",
    "cancelled",
    "cancelled-callee-silent",
    "refused",
    "forked",
)


def proxied(call_id: str, ending: str) -> WireCall:
    """Return a call through a proxy with two hops; `ending`: one of `PROXY_ENDINGS`."""
    caller, callee = f"a{call_id}", f"b{call_id}"
    call = WireCall(call_id, (caller, callee), far_ends=(caller, callee))
    first = Side(call_id, caller, "", 1, "INVITE", (via(CALLER, f"i{call_id}"),))
    second = first._replace(vias=(via(PBX, f"j{call_id}"), *first.vias))
    call.send(CALLER, PBX, request(first, contact=CALLER))
    call.send(PBX, CALLER, response(first, 100, ""))
    call.send(PBX, CALLEE, request(second, contact=CALLER))
    if ending == "forked":
        _fork(call, first)
    if ending != "refused":
        call.send(CALLEE, PBX, response(second, 180, callee, contact=CALLEE))
        call.send(PBX, CALLER, response(first, 180, callee, contact=CALLEE))
    if ending in ("cancelled", "cancelled-callee-silent", "refused"):
        _fail(call, first, second, ending)
        return call
    call.send(CALLEE, PBX, response(second, 200, callee, contact=CALLEE))
    call.send(PBX, CALLER, response(first, 200, callee, contact=CALLEE))
    ack = Side(call_id, caller, callee, 1, "ACK", (via(CALLER, f"k{call_id}"),))
    call.send(CALLER, PBX, request(ack, route=PBX))
    call.send(PBX, CALLEE, request(ack._replace(vias=(via(PBX, f"l{call_id}"), *ack.vias))))
    call.reported_at = call.at
    if ending in ("caller-bye", "callee-bye", "caller-bye-callee-silent"):
        _bye_of_far_end(call, ending)
    elif ending != "no-bye":
        _byes_of_proxy(call, ending)
    return call


def _fork(call: WireCall, first: Side) -> None:
    """Let another phone ring that is cancelled when the callee answers, and mute to that."""
    branch = via(PBX, f"o{call.call_id}")
    other = first._replace(vias=(branch, *first.vias))
    tag = f"o{call.call_id}"
    call.send(PBX, OTHER_CALLEE, request(other, contact=CALLER))
    call.send(OTHER_CALLEE, PBX, response(other, 180, tag, contact=OTHER_CALLEE))
    call.send(PBX, CALLER, response(first, 180, tag, contact=OTHER_CALLEE))


def _fail(call: WireCall, first: Side, second: Side, ending: str) -> None:
    caller, callee = call.tags
    status, tag = 486, callee
    if ending != "refused":
        status = 487
        cancel = first._replace(method="CANCEL")
        call.send(CALLER, PBX, request(cancel))
        proxy_tag = f"alien-{call.call_id}"
        call.send(PBX, CALLER, response(cancel, 200, proxy_tag))
        hop_cancel = second._replace(method="CANCEL", vias=second.vias[:1])
        call.send(PBX, CALLEE, request(hop_cancel))
        if ending == "cancelled-callee-silent":
            tag = proxy_tag
        else:
            call.send(CALLEE, PBX, response(hop_cancel, 200, callee))
    call.reported_at = call.at
    if ending != "cancelled-callee-silent":
        call.end_of(callee)
        call.send(CALLEE, PBX, response(second, status, callee))
        call.send(PBX, CALLEE, _ack(first, callee, second.vias[0]))
    call.send(PBX, CALLER, response(first, status, tag))
    call.end_of(caller)
    call.send(CALLER, PBX, _ack(first, tag))


def _byes_of_proxy(call: WireCall, ending: str) -> None:
    """Let the proxy send a BYE to each far end, with the other's tag in From."""
    caller, callee = call.tags
    to_caller = Side(call.call_id, callee, caller, 3, "BYE", (via(PBX, f"c{call.call_id}"),))
    to_callee = Side(call.call_id, caller, callee, 4, "BYE", (via(PBX, f"d{call.call_id}"),))
    call.send(PBX, CALLER, request(to_caller))
    if ending != "one-bye":
        call.send(PBX, CALLEE, request(to_callee))
    call.end_of(caller)
    call.send(CALLER, PBX, response(to_caller, 200))
    if ending == "callee-silent":
        call.send(PBX, CALLEE, request(to_callee))
    elif ending != "one-bye":
        call.end_of(callee)
        call.send(CALLEE, PBX, response(to_callee, 200))


def _bye_of_far_end(call: WireCall, ending: str) -> None:
    caller, callee = call.tags
    ends = ((caller, CALLER), (callee, CALLEE))
    (tag, hop), (other_tag, other_hop) = ends if ending.startswith("caller") else ends[::-1]
    bye = Side(call.call_id, tag, other_tag, 9, "BYE", (via(hop, f"e{call.call_id}"),))
    onward = bye._replace(vias=(via(PBX, f"g{call.call_id}"), *bye.vias))
    call.end_of(tag)
    call.send(hop, PBX, request(bye, route=PBX))
    call.send(PBX, other_hop, request(onward))
    if ending.endswith("silent"):
        call.send(PBX, other_hop, request(onward))
        call.send(PBX, hop, response(bye, 408))
        return
    call.end_of(other_tag)
    call.send(other_hop, PBX, response(onward, 200))
    call.send(PBX, hop, response(bye, 200))
