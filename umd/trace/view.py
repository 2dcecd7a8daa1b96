"""What the messages of a call show of it, for people: its state, who rings, what is unanswered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from umd.sip.transaction import Hop
from umd.trace.exchange import CallOnWire, Exchange
from umd.trace.proof import ShownDown, proof_of_end


class WireState(StrEnum):
    """What the messages of a call show of it."""

    CALLING = "calling"
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDING = "ending"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """A BYE or CANCEL that has no final response yet."""

    method: str
    from_tag: str
    source: Hop
    target: Hop
    since: float
    """When it was first sent; wall time of the observer."""
    sent: int
    """How often it was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """What a witness knows of one Call-ID."""

    state: WireState
    tags: tuple[str, ...]
    """Of all parties that were seen."""
    down: tuple[ShownDown, ...]
    """The parties that are shown to be down, by the rules for a call with several hops."""
    ringing: tuple[str, ...]
    """The tags of phones that have sent a 1xx, while the INVITE has no final response."""
    bye_from: str
    """The tag of the first BYE's sender; empty: no BYE was seen."""
    bye_at: float
    """When that BYE was sent."""
    open_requests: tuple[OpenRequest, ...]


def state_on_wire(call: CallOnWire) -> WireState:
    """Return what the messages show; an end is one of any hop, and no proof."""
    invites, byes = call.with_method("INVITE"), call.with_method("BYE")
    if byes:
        answered = {bye.pair for bye in byes if bye.status >= 200}
        is_over = all(bye.pair in answered for bye in byes)
        return WireState.ENDED if is_over else WireState.ENDING
    states = [_state_of_invite(invite) for invite in invites]
    for state in (WireState.ANSWERED, WireState.ENDING, WireState.RINGING, WireState.CALLING):
        if state in states:
            return state
    return WireState.ENDED


def _state_of_invite(invite: Exchange) -> WireState:
    if invite.status >= 300:
        return WireState.ENDED
    if invite.status:
        return WireState.ANSWERED
    if invite.cancel_sent:
        return WireState.ENDING
    return WireState.RINGING if invite.early_tags else WireState.CALLING


def view_of(call: CallOnWire) -> CallView:
    """Return what is known of a call."""
    invites, byes = call.with_method("INVITE"), call.with_method("BYE")
    tags: dict[str, None] = {}
    for exchange in (*invites, *byes):
        for tag in (exchange.from_tag, exchange.to_tag, exchange.final_tag, *exchange.early_tags):
            tags.setdefault(tag)
    tags.pop("", None)
    proofs = (proof_of_end(call, (tag,)) for tag in tags)
    first_bye = min(byes, key=lambda bye: bye.first_at, default=None)
    ringing = [tag for invite in invites if not invite.status for tag in invite.early_tags]
    return CallView(
        state=state_on_wire(call),
        tags=tuple(tags),
        down=tuple(proof for proof in proofs if proof is not None),
        ringing=tuple(dict.fromkeys(ringing)),
        bye_from=first_bye.from_tag if first_bye else "",
        bye_at=first_bye.first_at if first_bye else 0.0,
        open_requests=(
            *(_open(bye, "BYE", bye.first_at, bye.sent) for bye in byes if not bye.status),
            *(
                _open(invite, "CANCEL", invite.cancelled_at, invite.cancel_sent)
                for invite in invites
                if invite.cancel_sent and not invite.cancel_status
            ),
        ),
    )


def _open(exchange: Exchange, method: str, since: float, sent: int) -> OpenRequest:
    return OpenRequest(
        method=method,
        from_tag=exchange.from_tag,
        source=exchange.source,
        target=exchange.target,
        since=since,
        sent=sent,
    )
