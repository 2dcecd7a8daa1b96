"""
The witness: follows the calls of any PBX by the SIP messages that an observer saw on the wire.

It takes messages whichever way they come (HEP, or the event socket of a PBX), and tells which far
ends they show to be down; `umd.trace.proof` has the rules. It knows no network and no clock.

What it knows is limited in calls, octets and age. What it forgets, and what it never saw, makes a
proof weaker and never wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final, TypeAlias

from umd.sip.message import Message, MessageError, Request, Response
from umd.sip.transaction import Hop
from umd.sip.transaction.hop import response_hop
from umd.sip.validate import IDENTITY
from umd.trace.exchange import MAX_CHARACTERS, MAX_TAGS, CallOnWire, Exchange
from umd.trace.proof import ShownDown, proof_of_end
from umd.trace.view import CallView, WireState, state_on_wire, view_of

PROOF_WINDOW: Final = 32.0
"""
Seconds, 64 T1 (RFC 3261 section 17.1.1.1).

A proof may have been captured and received this long before the PBX reported the end, since a
report can be late. An older one is about something else that had the same Call-ID.
"""
REORDER_WINDOW: Final = 2.0
"""Seconds for which a response, ACK or CANCEL waits for the request that it belongs to."""
MAX_REORDERED: Final = 4096
"""Transactions whose messages wait for their request."""
MAX_REORDERED_OCTETS: Final = 8192
"""The longest message that waits."""
ENDED_KEPT: Final = 64.0
"""Seconds for which an ended call is kept after its last message: twice the window of a proof."""
MAX_EXPIRED_AT_ONCE: Final = 4
"""Calls that one message may remove, so that no message takes long."""
_FOLLOWED: Final = frozenset(("INVITE", "ACK", "BYE", "CANCEL"))


@dataclass(slots=True)
class WitnessCounts:
    """What a witness has done since its start."""

    messages: int = 0
    """SIP messages taken."""
    malformed: int = 0
    """Messages without a readable Call-ID, CSeq, branch or tag, or with a long one."""
    unmatched: int = 0
    """Responses, ACKs and CANCELs whose request did not come."""
    calls: int = 0
    """Calls followed."""
    forgotten: int = 0
    """Calls that were forgotten before they ended, because of a limit."""
    proofs: int = 0
    """Watched ends that were shown."""

    def to_json(self) -> dict[str, int]:
        """Return the counts by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessLimits:
    """How much a witness remembers."""

    calls: int = 100_000
    octets: int = 256 * 1024**2
    """About how much memory the calls may take."""
    age: float = 24 * 3600.0
    """Seconds without a message after which a call that has not ended is forgotten."""


class Watch:
    """A wait for the proof of one end; made by `Witness.watch`."""

    __slots__ = ("sip_call_id", "tags", "captured_after", "received_after", "then")

    def __init__(
        self,
        sip_call_id: str,
        tags: tuple[str, ...],
        captured_after: float,
        received_after: float,
        then: Callable[[ShownDown], None],
    ) -> None:
        self.sip_call_id = sip_call_id
        self.tags = tags
        self.captured_after = captured_after
        self.received_after = received_after
        self.then = then


_Key: TypeAlias = tuple[str, str]
"""Call-ID and branch."""
_Waiting: TypeAlias = tuple[float, Hop, Hop, Message, float]
"""When it was received, source, target, the message, when it was captured."""


class Witness:
    """
    Follows calls by their messages.

    Args:
        limits: how much it remembers.
    """

    def __init__(self, limits: WitnessLimits = WitnessLimits()) -> None:
        self.counts = WitnessCounts()
        self._limits = limits
        self._live: OrderedDict[str, CallOnWire] = OrderedDict()
        """By Call-ID, the one with the latest message at the end."""
        self._ended: OrderedDict[str, CallOnWire] = OrderedDict()
        self._octets = 0
        self._early: OrderedDict[_Key, list[_Waiting]] = OrderedDict()
        """Messages that came before their request, the oldest first."""
        self._watches: dict[str, list[Watch]] = {}

    def __len__(self) -> int:
        return len(self._live) + len(self._ended)

    @property
    def live(self) -> int:
        """How many calls are followed that have not ended."""
        return len(self._live)

    @property
    def octets(self) -> int:
        """About how much memory the calls take."""
        return self._octets

    # -- messages

    def take(
        self, source: Hop, target: Hop, message: Message, captured_at: float, now: float
    ) -> None:
        """
        Take a message that crossed the wire. Any message is taken; most are not followed.

        Args:
            source: its sender.
            target: its receiver.
            message: as `umd.sip.framing.read_datagram` has read it.
            captured_at: wall time of the observer, seconds since the epoch.
            now: by a clock that never goes back, in seconds.
        """
        self.counts.messages += 1
        self._expire(now)
        try:
            if isinstance(message, Request):
                if message.method in _FOLLOWED:
                    self._take_request(source, target, message, captured_at, now)
            elif isinstance(message, Response) and message.status > 100:
                self._take_response(source, target, message, captured_at, now)
        except MessageError:
            self.counts.malformed += 1

    def _take_request(
        self, source: Hop, target: Hop, request: Request, at: float, now: float
    ) -> None:
        """Raises: MessageError: a field that names the dialog or transaction is not valid."""
        method = request.method
        call_id, branch, cseq, from_tag, to_tag = _identity(request)
        if request.cseq.method != method:
            raise MessageError("CSeq is of another method")
        if method == "INVITE":
            if to_tag:
                return  # in a dialog, which it does not end
        elif method == "BYE":
            if not to_tag or not from_tag:
                raise MessageError("a BYE without both tags")
        else:
            self._take_follower(call_id, branch, source, target, request, at, now)
            return
        call = self._live.get(call_id) or self._ended.get(call_id)
        exchange = None if call is None else call.exchanges.get(branch)
        if call is None:
            call = self._begin(call_id)
        if exchange is not None:
            if exchange.is_request_of(method, cseq, from_tag, to_tag) and exchange.source == source:
                exchange.sent += 1
                exchange.last_at = max(exchange.last_at, at)
                self._touch(call_id, call, now)
            return
        exchange = _new_exchange(request, (cseq, from_tag, to_tag), source, target, at)
        before = call.octets
        call.add(branch, exchange)
        call.note_ends(source, target)
        contact = request.get("Contact")
        if contact is not None and method == "INVITE":
            call.note_contact(from_tag, contact)
        self._octets += call.octets - before
        self._touch(call_id, call, now)
        self._limit()
        for waiting in self._early.pop((call_id, branch), ()):
            received, its_source, its_target, message, its_at = waiting
            if now - received <= REORDER_WINDOW:
                self._take_early(its_source, its_target, message, its_at, received)

    def _take_early(
        self, source: Hop, target: Hop, message: Message, at: float, received: float
    ) -> None:
        """Take a message whose request has come now."""
        if isinstance(message, Response):
            self._take_response(source, target, message, at, received)
        elif isinstance(message, Request):
            self._take_request(source, target, message, at, received)

    def _take_follower(
        self,
        call_id: str,
        branch: str,
        source: Hop,
        target: Hop,
        request: Request,
        at: float,
        now: float,
    ) -> None:
        """Take a CANCEL, or an ACK of a failure; they have the branch of their INVITE."""
        call = self._live.get(call_id) or self._ended.get(call_id)
        invite = None if call is None else call.exchanges.get(branch)
        if call is None or invite is None:
            if call is not None:
                call.note_ends(source, target)
            if request.method != "ACK" or not _is_ack_of_answer(call, request):
                self._wait((call_id, branch), (now, source, target, request, at))
            return
        cseq, from_tag = request.cseq_number, request.from_tag or ""
        same = invite.method == "INVITE" and invite.cseq == cseq and invite.from_tag == from_tag
        if not same or invite.source != source or invite.target != target:
            return
        if request.method == "CANCEL":
            invite.cancel_sent += 1
            if invite.cancel_sent == 1:
                invite.cancelled_at = at
        elif invite.ack_tag is None:
            invite.ack_tag = request.to_tag or ""
            invite.acked_at, invite.acked_received = at, now
            self._judge(call_id, call)
        self._touch(call_id, call, now)

    def _take_response(
        self, source: Hop, target: Hop, response: Response, at: float, now: float
    ) -> None:
        """Raises: MessageError: a field that names the dialog or transaction is not valid."""
        method = response.cseq_method
        if method not in _FOLLOWED:
            return
        call_id, branch, cseq, from_tag, to_tag = _identity(response)
        call = self._live.get(call_id) or self._ended.get(call_id)
        exchange = None if call is None else call.exchanges.get(branch)
        if call is None or exchange is None:
            if call is not None:  # its request may be lost, and still it shows another hop
                call.note_ends(target, source)
            self._wait((call_id, branch), (now, source, target, response, at))
            return
        if not exchange.is_answered_by(cseq, from_tag, source, target):
            return
        status = response.status
        if method == "CANCEL":
            if exchange.method == "INVITE" and status >= 200 and not exchange.cancel_status:
                exchange.cancel_status = status
        elif method == "INVITE" and exchange.method == "INVITE":
            before = call.octets
            _note_answer(call, exchange, response, to_tag, at, now)
            self._octets += call.octets - before
        elif method == "BYE" and exchange.method == "BYE":
            if status >= 200 and to_tag == exchange.to_tag and not exchange.status:
                _note_final(exchange, status, to_tag, at, now)
        self._touch(call_id, call, now)
        if exchange.status:  # also for a 1xx that was overtaken: its tag may complete a proof
            self._judge(call_id, call)

    def _wait(self, key: _Key, waiting: _Waiting) -> None:
        """Keep a message for its request, which may come a moment later."""
        early = self._early
        if len(waiting[3].octets()) > MAX_REORDERED_OCTETS:
            self.counts.unmatched += 1
            return
        if key in early:
            if len(early[key]) < MAX_TAGS:
                early[key].append(waiting)
            return
        early[key] = [waiting]
        if len(early) > MAX_REORDERED:
            self.counts.unmatched += len(early.popitem(last=False)[1])

    # -- what is known

    def follows(self, sip_call_id: str) -> bool:
        """Return whether an INVITE or BYE of this call was seen and is not forgotten."""
        return sip_call_id in self._live or sip_call_id in self._ended

    def call(self, sip_call_id: str) -> CallView | None:
        """Return what is known of a call, or None if nothing is."""
        call = self._live.get(sip_call_id) or self._ended.get(sip_call_id)
        return None if call is None else view_of(call)

    def watch(
        self,
        sip_call_id: str,
        tags: Sequence[str],
        *,
        since: float,
        now: float,
        then: Callable[[ShownDown], None],
    ) -> Watch | None:
        """
        Wait for the proof that a call is down whose end a PBX has reported.

        Only what was captured and received after the report, or `PROOF_WINDOW` before it, counts.

        Args:
            sip_call_id: the call.
            tags: the far ends that must be down; empty for a leg of a back-to-back user agent.
            since: wall time of the report, seconds since the epoch.
            now: as of `take`.
            then: called once, with the proof; perhaps before this returns.

        Returns:
            The watch, for `forget`; None if `then` was called already.
        """
        watch = Watch(sip_call_id, tuple(tags), since - PROOF_WINDOW, now - PROOF_WINDOW, then)
        call = self._live.get(sip_call_id) or self._ended.get(sip_call_id)
        proof = None if call is None else _proof_for(watch, call)
        if proof is not None:
            self.counts.proofs += 1
            then(proof)
            return None
        self._watches.setdefault(sip_call_id, []).append(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        """End a watch; harmless if its proof has come."""
        watches = self._watches.get(watch.sip_call_id)
        if watches is not None and watch in watches:
            watches.remove(watch)
            if not watches:
                del self._watches[watch.sip_call_id]

    # -- steps

    def _judge(self, call_id: str, call: CallOnWire) -> None:
        """Note whether a call has ended now, and report the proofs that are watched for."""
        if call_id in self._live and state_on_wire(call) is WireState.ENDED:
            self._ended[call_id] = self._live.pop(call_id)
        watches = self._watches.get(call_id)
        for watch in tuple(watches) if watches else ():
            proof = _proof_for(watch, call)
            if proof is not None:
                self.forget(watch)
                self.counts.proofs += 1
                watch.then(proof)

    def _begin(self, call_id: str) -> CallOnWire:
        call = self._live[call_id] = CallOnWire()
        call.octets += len(call_id)
        self._octets += call.octets
        self.counts.calls += 1
        return call

    def _touch(self, call_id: str, call: CallOnWire, now: float) -> None:
        """Move a call to the end of its queue; one that begins anew becomes live again."""
        call.last_seen = now
        if call_id in self._live:
            self._live.move_to_end(call_id)
        elif state_on_wire(call) is WireState.ENDED:
            self._ended.move_to_end(call_id)
        else:
            self._live[call_id] = self._ended.pop(call_id)

    def _limit(self) -> None:
        """Forget the calls that were silent longest, those that have ended first."""
        limits = self._limits
        while len(self._live) + len(self._ended) > limits.calls or self._octets > limits.octets:
            if self._ended:
                self._octets -= self._ended.popitem(last=False)[1].octets
            elif len(self._live) > 1:
                self._octets -= self._live.popitem(last=False)[1].octets
                self.counts.forgotten += 1
            else:
                return

    def _expire(self, now: float) -> None:
        """Forget what is too old, a little at a time."""
        for calls, age in ((self._ended, ENDED_KEPT), (self._live, self._limits.age)):
            for _ in range(MAX_EXPIRED_AT_ONCE):
                if not calls:
                    break
                call_id = next(iter(calls))
                if now - calls[call_id].last_seen <= age:
                    break
                self._octets -= calls.pop(call_id).octets
                if calls is self._live:
                    self.counts.forgotten += 1
        early = self._early
        for _ in range(MAX_EXPIRED_AT_ONCE):
            if not early:
                break
            key = next(iter(early))
            if now - early[key][0][0] <= REORDER_WINDOW:
                break
            self.counts.unmatched += len(early.pop(key))


def _identity(message: Request | Response) -> tuple[str, str, int, str, str]:
    """
    Return Call-ID, branch, CSeq number, From tag and To tag; an absent tag is empty.

    Raises:
        MessageError: one of them is malformed or long, or two values could be meant.
    """
    if message.has_repeated_fields():
        names = [name for name, _ in message.headers if name in IDENTITY]
        if len(names) > len(set(names)):
            raise MessageError("a field that names the dialog is repeated")
    call_id, branch = message.call_id, message.branch
    from_tag, to_tag = message.from_tag or "", message.to_tag or ""
    if not branch:
        raise MessageError("Via: no branch")
    if max(len(call_id), len(branch), len(from_tag), len(to_tag)) > MAX_CHARACTERS:
        raise MessageError(f"an id of more than {MAX_CHARACTERS} characters")
    return call_id, branch, message.cseq.number, from_tag, to_tag


def _new_exchange(
    request: Request, ids: tuple[int, str, str], source: Hop, target: Hop, at: float
) -> Exchange:
    reply_to = response_hop(request, source)
    exchange = Exchange(request.method, *ids, source, target, reply_to, at)
    vias = request.all("Via")
    exchange.only_hop = len(vias) == 1 and "," not in vias[0]
    origin = vias[-1].rpartition(",")[2].strip()
    exchange.origin = origin if len(origin) <= MAX_CHARACTERS else ""
    exchange.routed = request.get("Route") is not None
    return exchange


def _note_answer(
    call: CallOnWire, invite: Exchange, response: Response, tag: str, at: float, now: float
) -> None:
    """Note a response to an INVITE, other than 100."""
    status = response.status
    if status < 200:
        is_earlier = not invite.status or at <= invite.final_at
        if tag and tag not in invite.early_tags and is_earlier:
            invite.early_tags = _with_tag(call, invite.early_tags, tag)
    elif not invite.status:
        _note_final(invite, status, tag, at, now)
    elif status < 300 and invite.status < 300 and tag not in invite.answered_tags:
        invite.further_tags = _with_tag(call, invite.further_tags, tag)
    if tag and status < 300:
        contact = response.get("Contact")
        if contact is not None:
            call.note_contact(tag, contact)


def _with_tag(call: CallOnWire, tags: tuple[str, ...], tag: str) -> tuple[str, ...]:
    if len(tags) >= MAX_TAGS:
        call.incomplete = True
        return tags
    call.octets += len(tag)
    return (*tags, tag)


def _note_final(exchange: Exchange, status: int, tag: str, at: float, now: float) -> None:
    exchange.status = status
    exchange.final_tag = tag
    exchange.final_at = at
    exchange.final_received = now


def _is_ack_of_answer(call: CallOnWire | None, ack: Request) -> bool:
    """Whether an ACK with a branch of its own acknowledges a 2xx, so that it belongs to nothing."""
    number, tag = ack.cseq_number, ack.to_tag
    return call is not None and any(
        invite.cseq == number and tag in invite.answered_tags
        for invite in call.exchanges.values()
    )


def _proof_for(watch: Watch, call: CallOnWire) -> ShownDown | None:
    proof = proof_of_end(call, watch.tags)
    if proof is None:
        return None
    timely = (
        proof.captured_at >= watch.captured_after and proof.received_at >= watch.received_after
    )
    return proof if timely else None
