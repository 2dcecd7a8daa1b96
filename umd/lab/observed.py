"""What the checker has observed of one call, and of one Disconnect."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from umd.backends.sim.section import Behaviour
from umd.call.call import Call
from umd.call.events import Connected, Disconnected, DisconnectRequested, LifecycleEvent, Lost
from umd.sip.session import Session


@dataclass(slots=True, eq=False)
class ObservedRequest:
    """One Disconnect of a client."""

    client: str
    """The name of the client."""
    call: ObservedCall
    at: float
    """When the client asked, in seconds on the virtual clock, as every time here."""
    had_ended: bool | None
    """Whether the call had ended before; None: its end was not durable yet."""
    answers: int = 0
    """How often umd has answered it."""
    gone: bool = False
    """The client has closed its connection, or umd has crashed."""


@dataclass(slots=True, eq=False)
class ObservedCall:
    """Everything that the checker has observed of one call."""

    leg: str
    behaviour: Behaviour
    """How the far end behaves."""
    placed_at: float
    call: Call | None = None
    """The call as control has it; None before its first lifecycle event."""
    sessions: list[Session] = field(default_factory=list)
    """Its SIP sessions at the far end."""
    leg_ends: int = 0
    """How often the backend has reported the end of its leg."""
    confirmed: bool = False
    """Whether the backend has reported that the far end confirmed the end."""
    first_asked: float | None = None
    """When a client asked first for the end of the call."""
    heard_end: str | None = None
    """The message by which umd has learned first that the far end has ended the call."""

    # The lifecycle events
    events: list[LifecycleEvent] = field(default_factory=list)
    """Its lifecycle events in order, without those that a crash has undone."""
    durable: int = 0
    """How many of them are durable; without a journal, all."""
    acted_on: int = 0
    """How many of them umd knows to be durable."""
    acknowledged: bool = False
    """The client that placed the call has its CallId."""
    forgotten: bool = False
    """umd has crashed before the placing was durable: the call has never existed."""
    crashed: bool = False
    """umd has crashed since the call was placed."""

    # The caller, which is umd, and what it has received
    provisional: bool = False
    """It has received a provisional response."""
    final: bool = False
    """It has received a final response."""
    first_response_at: float = inf
    failed: int | None = None
    """The failure status that it has received."""
    known_tags: set[str] = field(default_factory=set)
    """The far end's tags in the responses to INVITE that it has received."""
    bye_final: int | None = None
    """The status of the response to its BYE."""
    cancelled_at: float | None = None
    """When it sent its CANCEL."""
    cancel_failed: int | None = None
    """The failure status of the response to its CANCEL."""
    sent: set[tuple[str, str]] = field(default_factory=set)
    """`(branch, method)` of the requests of both ends: another one is a retransmission."""
    acked: set[str] = field(default_factory=set)
    """The far end's tags whose 2xx it has acknowledged."""
    unacked: str | None = None
    """The tag of a 2xx that it has received, until its ACK leaves."""

    # The callee, which is the far end
    answered_at: dict[str, float] = field(default_factory=dict)
    """When it sent its first 2xx, by tag."""
    ack_received: set[str] = field(default_factory=set)
    """The tags for which it has received the ACK."""
    declined: set[str] = field(default_factory=set)
    """The tags of the failure responses that it has sent."""

    # The dialogs
    over: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    """The far end's tags of the dialogs that umd, and the far end, know to be over."""
    over_while_held: set[str] = field(default_factory=set)
    """Those of which umd learned while its own ACK and BYE waited for a record."""

    @property
    def end(self) -> Disconnected | Lost | None:
        """The event that ended the call; None while it is live."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Disconnected | Lost) else None

    @property
    def end_is_durable(self) -> bool:
        return self.end is not None and self.durable == len(self.events)

    @property
    def had_ended(self) -> bool | None:
        """Whether the call has ended; None while umd does not know that its end is durable."""
        if self.end is None:
            return False
        return True if self.acted_on == len(self.events) else None

    @property
    def invited(self) -> bool:
        """Whether an INVITE has left."""
        return any(method == "INVITE" for _, method in self.sent)

    def has(self, kind: type[Connected] | type[DisconnectRequested]) -> bool:
        """Whether an event of this kind has happened, durable or not."""
        return any(isinstance(event, kind) for event in self.events)

    def has_durable(self, kind: type[Connected] | type[DisconnectRequested]) -> bool:
        """Whether an event of this kind is durable."""
        return any(isinstance(event, kind) for event in self.events[: self.durable])

    def crash(self) -> None:
        """Undo what is not durable: the next umd does not know it."""
        del self.events[self.durable :]
        self.acted_on = self.durable
        self.crashed = True
        if not self.events:
            self.forgotten = True
        if not self.has(DisconnectRequested):
            self.first_asked = None
        self.final = self.has(Connected)
        self.provisional = False
        self.unacked = None
        if not self.final:
            self.known_tags.clear()
        if self.end is None:
            self.leg_ends = 0
            self.confirmed = False
            self.heard_end = None
            self.failed = self.bye_final = None
            self.over[0].clear()
