"""
What a witness has seen of one call on a wire: its INVITEs and BYEs on each hop, and their ends.

A call has one Call-ID. A back-to-back user agent such as Asterisk has one hop with it, a proxy such
as Kamailio two or more, and then the same tags on each. What this shows about the far ends is the
business of `umd.trace.proof`.
"""

from __future__ import annotations

from typing import Final

from umd.sip.transaction import Hop

MAX_EXCHANGES: Final = 32
"""INVITEs and BYEs of one call. A call with more proves nothing."""
MAX_TAGS: Final = 16
"""Tags of the 1xx, or of the 2xx, to one INVITE; and addresses and contacts of one call."""
MAX_CHARACTERS: Final = 255
"""Of a Call-ID, a branch or a tag. Messages with a longer one are not followed."""
SEVERAL: Final = Hop("", 0)
"""Stands for more than one peer of an address."""

_CALL_OCTETS: Final = 1000
_EXCHANGE_OCTETS: Final = 900
"""What a call and an exchange take in memory, without the text in them."""


class Exchange:
    """One INVITE or BYE on one hop, with its retransmissions, responses, ACK and CANCEL."""

    __slots__ = (
        *("method", "cseq", "from_tag", "to_tag", "source", "target", "reply_to"),
        *("routed", "only_hop", "origin", "sent", "first_at", "last_at"),
        *("status", "final_tag", "further_tags", "final_at", "final_received", "early_tags"),
        *("ack_tag", "acked_at", "acked_received"),
        *("cancel_sent", "cancelled_at", "cancel_status"),
    )

    def __init__(
        self,
        method: str,
        cseq: int,
        from_tag: str,
        to_tag: str,
        source: Hop,
        target: Hop,
        reply_to: Hop,
        at: float,
    ) -> None:
        self.method = method
        """INVITE or BYE; an INVITE in a dialog is not followed."""
        self.cseq = cseq
        self.from_tag = from_tag
        self.to_tag = to_tag
        """Empty for an INVITE."""
        self.source = source
        self.target = target
        self.reply_to = reply_to
        """Where responses go; see `umd.sip.transaction.response_hop`."""
        self.routed = False
        """Whether the request has a Route, so that its target is a proxy."""
        self.only_hop = False
        """Whether the request has one Via, so that its sender is where it begins."""
        self.origin = ""
        """The Via of where the request begins, a raw value; empty if it is long."""
        self.sent = 1
        """How often the request was sent."""
        self.first_at = at
        """When it was first sent; wall time of the observer, as all times ending in `at`."""
        self.last_at = at
        self.status = 0
        """The first final status; 0: none was seen."""
        self.final_tag = ""
        """The To tag of that response."""
        self.further_tags: tuple[str, ...] = ()
        """The To tags of later 2xx to the INVITE, which other phones have sent."""
        self.final_at = 0.0
        self.final_received = 0.0
        """When the witness received it, by the clock of the witness."""
        self.early_tags: tuple[str, ...] = ()
        """The To tags of the 1xx to the INVITE."""
        self.ack_tag: str | None = None
        """The To tag of the ACK of a failure; None: no ACK was seen."""
        self.acked_at = 0.0
        self.acked_received = 0.0
        self.cancel_sent = 0
        """How often a CANCEL was sent."""
        self.cancelled_at = 0.0
        """When it was first sent."""
        self.cancel_status = 0
        """The final status of the CANCEL; 0: none was seen."""

    @property
    def pair(self) -> frozenset[str]:
        """The tags of the dialog that a BYE is in."""
        return frozenset((self.from_tag, self.to_tag))

    @property
    def answered_tags(self) -> tuple[str, ...]:
        """The To tags of all 2xx to an INVITE."""
        return (self.final_tag, *self.further_tags) if 200 <= self.status < 300 else ()

    def is_request_of(self, method: str, cseq: int, from_tag: str, to_tag: str) -> bool:
        """Whether a request with the same branch is a retransmission of this one."""
        return (
            self.cseq == cseq
            and self.from_tag == from_tag
            and self.to_tag == to_tag
            and self.method == method
        )

    def is_answered_by(self, cseq: int, from_tag: str, source: Hop, target: Hop) -> bool:
        """Whether a response with the same branch answers this request, on the way back."""
        return (
            self.cseq == cseq
            and self.from_tag == from_tag
            and _is_same_end(self.target, source)
            and _is_same_end(self.reply_to, target)
        )


def _is_same_end(expected: Hop, seen: Hop) -> bool:
    if expected is seen:
        return True
    # An observer that listens on all addresses may tell its own one as the unspecified one.
    unspecified = expected.host in ("0.0.0.0", "::") or seen.host in ("0.0.0.0", "::")
    return expected.port == seen.port and (unspecified or expected.host == seen.host)


class CallOnWire:
    """What was seen of one Call-ID."""

    __slots__ = ("exchanges", "contacts", "peers", "last_seen", "octets", "incomplete")

    def __init__(self) -> None:
        self.exchanges: dict[str, Exchange] = {}
        """By branch; the CANCEL and the ACK of a failure have the branch of their INVITE."""
        self.contacts: dict[str, str] = {}
        """By tag, the first Contact of its owner, a raw value."""
        self.peers: dict[Hop, Hop] = {}
        """By address, the one address that it exchanges messages with, or `SEVERAL`."""
        self.last_seen = 0.0
        """When the latest message was received, by the clock of the witness."""
        self.octets = _CALL_OCTETS
        """About how much memory this takes."""
        self.incomplete = False
        """Whether a limit was reached, so that something is missing here."""

    def add(self, branch: str, exchange: Exchange) -> None:
        """Add an exchange, unless there are too many already."""
        if len(self.exchanges) >= MAX_EXCHANGES:
            self.incomplete = True
            return
        self.exchanges[branch] = exchange
        self.octets += (
            _EXCHANGE_OCTETS
            + len(branch)
            + len(exchange.origin)
            + len(exchange.from_tag)
            + len(exchange.to_tag)
        )

    def note_contact(self, tag: str, contact: str) -> None:
        """Note the Contact of the owner of a tag; a later one changes nothing."""
        contacts = self.contacts
        if tag in contacts or len(contacts) >= MAX_TAGS or len(contact) > MAX_CHARACTERS:
            return
        contacts[tag] = contact
        self.octets += 200 + len(contact)

    def note_ends(self, source: Hop, target: Hop) -> None:
        """Note that these two addresses exchange messages of this call."""
        peers = self.peers
        if peers.get(source) is target and peers.get(target) is source:
            return
        for end, peer in ((source, target), (target, source)):
            if peers.get(end, peer) != peer:
                peers[end] = SEVERAL
            elif len(peers) < MAX_TAGS:
                peers[end] = peer
            else:
                self.incomplete = True

    def is_between(self, end: Hop) -> bool:
        """Whether an address has more than one peer in this call, as a proxy has."""
        return self.peers.get(end) == SEVERAL

    def with_method(self, method: str) -> list[Exchange]:
        """Return the exchanges of this method, in the order in which they were first seen."""
        return [exchange for exchange in self.exchanges.values() if exchange.method == method]
