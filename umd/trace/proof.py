"""
Which messages on a wire prove that a far end of a call is down. This is the file with the rules.

A far end is known by its tag. One of these shows that it is down:

- A BYE to it, answered with 2xx or 481 (RFC 3261 §15.1.1): the same branch, CSeq, Call-ID and tags,
  and the response goes the way back. No other status does: a proxy makes a 408, a 5xx may mean
  anything, and a 401 or 407 asks for the request again.
- A BYE from it that was accepted with 2xx or 481. The PBX can send a BYE with the far end's tag
  too, so the BYE must begin where the far end's INVITE began, or at its Contact.
- Its own final response to the INVITE. A proxy that gives up a silent phone makes one too, with a
  tag of its own; so the tag must be that of an earlier 1xx (§12.1.1).
- Its ACK of a final response that refuses its INVITE, if no proxy is in front of it.

With the tags given, each of them must be shown down, and the PBX's word does not count: a response
of an address that has two peers in the call is the PBX's, and so is that to a BYE with a Route.

Without tags the call must be the leg of a back-to-back user agent: one hop, where any complete
ending shows both ends of it down. If the messages show a proxy after all, the tags are taken from
its dialogs.

A message that was not seen can only take a proof away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from umd.sip.credentials import CHALLENGES
from umd.sip.fields import FieldError, NameAddr, Via
from umd.sip.session.established import NOT_OF_THE_FAR_END, shows_far_end_down
from umd.trace.exchange import CallOnWire, Exchange

DEFAULT_SIP_PORT: Final = 5060
ONLY_AFTER_CANCEL: Final = 487
"""The status of an INVITE that was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownDown:
    """What shows that a far end is down."""

    tag: str
    """The far end; the one that answered, if the call was asked for without tags."""
    method: str
    """INVITE or BYE."""
    status: int
    """The final status of that request."""
    captured_at: float
    """When it was seen on the wire; wall time of the observer."""
    received_at: float
    """When the witness received it, by the clock of the witness."""


def proof_of_end(call: CallOnWire, tags: Sequence[str]) -> ShownDown | None:
    """
    Return what proves that a call is down, or None.

    Args:
        call: what was seen of it.
        tags: the far ends that must be down. Empty for a leg of a back-to-back user agent.

    Returns:
        Of several proofs, one for each far end, the latest.
    """
    if call.incomplete or not call.exchanges:
        return None
    if tags:
        return _all_down(call, tags)
    if not _is_proxied(call):
        return _leg_down(call)
    pairs = _answered_pairs(call) or _pairs_of_byes(call)
    proofs = [_all_down(call, tuple(pair)) for pair in pairs]
    return _latest(proofs) if pairs else None


# -- one hop: a leg of a back-to-back user agent


def _leg_down(call: CallOnWire) -> ShownDown | None:
    """Return what shows that the only hop of a call is over, or None."""
    byes = call.with_method("BYE")
    over: list[ShownDown | None] = []
    ended_pairs: set[frozenset[str]] = set()
    for bye in byes:
        if shows_far_end_down(bye.status):
            ended_pairs.add(bye.pair)
            over.append(_by_final(bye, bye.to_tag))
    if any(bye.pair not in ended_pairs for bye in byes):
        return None
    for invite in _current_invites(call):
        if invite.status >= 300:
            over.append(_refusal(invite))
        elif invite.answered_tags:
            if any({invite.from_tag, tag} not in ended_pairs for tag in invite.answered_tags):
                return None
        elif not any(invite.from_tag in pair for pair in ended_pairs):
            return None  # neither answered nor refused yet
    return _latest(over) if over else None


def _refusal(invite: Exchange) -> ShownDown | None:
    """
    Return what shows that a refused INVITE is over at both ends of its hop, or None.

    Which end is the PBX is unknown. So the response must be the callee's own, and the ACK shows
    that the caller has it.
    """
    if invite.ack_tag != invite.final_tag:
        return None
    if invite.final_tag in invite.early_tags:
        is_callees = _may_be_callees(invite.status) and len(invite.early_tags) == 1
    else:
        # A phone may refuse without a 1xx. A proxy does not make these statuses for a silent phone.
        is_callees = (
            not invite.early_tags
            and not invite.cancel_sent
            and _may_be_callees(invite.status)
            and (400 <= invite.status < 500 or invite.status >= 600)
            and invite.status != ONLY_AFTER_CANCEL
        )
    return _by_ack(invite, invite.final_tag) if is_callees else None


# -- several hops: a proxy


def _all_down(call: CallOnWire, tags: Sequence[str]) -> ShownDown | None:
    return _latest([_far_end_down(call, tag, tags) for tag in tags])


def _far_end_down(call: CallOnWire, tag: str, tags: Sequence[str]) -> ShownDown | None:
    """Return what shows that the owner of a tag is down, or None. `tags`: of its dialog."""
    byes = call.with_method("BYE")
    ended_pairs = {bye.pair for bye in byes if shows_far_end_down(bye.status)}
    pair = frozenset(tags) if len(tags) == 2 else None
    if pair is None and any(
        tag in other and other not in ended_pairs for other in _answered_pairs(call)
    ):
        return None  # another phone has answered its INVITE too
    proofs = [
        *_proofs_by_bye(call, byes, tag, pair),
        *_proofs_by_refusal(call, tag),
    ]
    return _latest(proofs) if proofs else None


def _proofs_by_bye(
    call: CallOnWire, byes: Iterable[Exchange], tag: str, pair: frozenset[str] | None
) -> Iterator[ShownDown]:
    for bye in byes:
        if not shows_far_end_down(bye.status) or (pair is not None and bye.pair != pair):
            continue
        if bye.to_tag == tag:
            if not bye.routed and not call.is_between(bye.target):
                yield _by_final(bye, tag)
        elif bye.from_tag == tag:
            if _is_from_owner(call, bye) and not call.is_between(bye.source):
                yield _by_final(bye, tag)


def _proofs_by_refusal(call: CallOnWire, tag: str) -> Iterator[ShownDown]:
    for invite in _current_invites(call):
        if invite.status < 300:
            continue
        if invite.final_tag == tag:
            is_own = tag in invite.early_tags and _may_be_callees(invite.status)
            if is_own and not call.is_between(invite.target):
                yield _by_final(invite, tag)
        elif invite.from_tag == tag and invite.status not in CHALLENGES:
            was_acked = invite.ack_tag == invite.final_tag and invite.only_hop
            if was_acked and not call.is_between(invite.source):
                yield _by_ack(invite, tag)


def _is_proxied(call: CallOnWire) -> bool:
    """Whether one request was seen on two hops: with the same CSeq and another branch."""
    seen: dict[tuple[str, int, str], Exchange] = {}
    for exchange in call.exchanges.values():
        key = (exchange.method, exchange.cseq, exchange.from_tag)
        other = seen.setdefault(key, exchange)
        if other is not exchange:
            return True
    # A proxy's BYEs to both far ends have each other's tags the other way round.
    senders: dict[str, Exchange] = {}
    for bye in call.with_method("BYE"):
        if any(bye.source == other.source for tag, other in senders.items() if tag != bye.from_tag):
            return True
        senders[bye.from_tag] = bye
    return False


def _answered_pairs(call: CallOnWire) -> set[frozenset[str]]:
    """Return the tags of each dialog that a 2xx to the INVITE has made."""
    return {
        frozenset((invite.from_tag, tag))
        for invite in call.with_method("INVITE")
        for tag in invite.answered_tags
    }


def _pairs_of_byes(call: CallOnWire) -> set[frozenset[str]]:
    return {bye.pair for bye in call.with_method("BYE")}


# -- parts of both


def _current_invites(call: CallOnWire) -> list[Exchange]:
    """Return the INVITEs of each caller that have its highest CSeq: earlier ones were repeated."""
    invites = call.with_method("INVITE")
    highest: dict[str, int] = {}
    for invite in invites:
        highest[invite.from_tag] = max(highest.get(invite.from_tag, 0), invite.cseq)
    return [invite for invite in invites if invite.cseq == highest[invite.from_tag]]


def _may_be_callees(status: int) -> bool:
    """Whether a phone may have made this final status of an INVITE, so that it does not ring on."""
    return status >= 400 and status not in NOT_OF_THE_FAR_END and status not in CHALLENGES


def _is_from_owner(call: CallOnWire, bye: Exchange) -> bool:
    """Whether a BYE begins where the owner of its From tag is known to be."""
    origin = _address_of_via(bye.origin)
    if origin is None:
        return False
    if origin == _address_of_contact(call.contacts.get(bye.from_tag, "")):
        return True
    return any(
        invite.from_tag == bye.from_tag and origin == _address_of_via(invite.origin)
        for invite in call.with_method("INVITE")
    )


def _address_of_via(raw: str) -> tuple[str, int] | None:
    try:
        via = Via.parse(raw)
    except FieldError:
        return None
    return via.host.lower(), via.port or DEFAULT_SIP_PORT


def _address_of_contact(raw: str) -> tuple[str, int] | None:
    try:
        uri = NameAddr.parse(raw).address
    except FieldError:
        return None
    return (uri.host.lower(), uri.port or DEFAULT_SIP_PORT) if uri.host else None


def _by_final(exchange: Exchange, tag: str) -> ShownDown:
    return ShownDown(
        tag=tag,
        method=exchange.method,
        status=exchange.status,
        captured_at=exchange.final_at,
        received_at=exchange.final_received,
    )


def _by_ack(invite: Exchange, tag: str) -> ShownDown:
    return ShownDown(
        tag=tag,
        method=invite.method,
        status=invite.status,
        captured_at=max(invite.final_at, invite.acked_at),
        received_at=max(invite.final_received, invite.acked_received),
    )


def _latest(proofs: Sequence[ShownDown | None]) -> ShownDown | None:
    """Return the latest proof; None if one is missing."""
    known = [proof for proof in proofs if proof is not None]
    if len(known) < len(proofs):
        return None
    return max(known, key=lambda proof: proof.captured_at)
