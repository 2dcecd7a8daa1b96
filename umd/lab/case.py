"""What the referee has observed of one call, and of one Disconnect."""

from __future__ import annotations

from math import inf

from umd.backends.sim.section import Behaviour
from umd.call.call import Call
from umd.call.events import Connected, Disconnected, DisconnectRequested, LifecycleEvent, Lost
from umd.sip.session import Session


class Asked:
    """One Disconnect of a client."""

    __slots__ = ("client", "case", "at", "had_ended", "answers", "left")

    def __init__(self, client: str, case: Case, at: float) -> None:
        self.client = client
        self.case = case
        self.at = at
        self.had_ended: bool | None = case.had_ended
        """Whether the call had ended before; None: its end was not durable yet."""
        self.answers = 0
        self.left = False
        """The client has closed its connection, or umd has crashed."""


class Case:
    """Everything that the referee has observed of one call."""

    __slots__ = (
        "leg", "behaviour", "placed_at", "call", "far", "ends", "confirmed", "events", "durable",
        "acted_on", "acknowledged", "forgotten", "crashed",
        "first_asked", "heard", "failed", "seen", "provisional", "known_tags", "final", "acked",
        "unacked", "bye_final", "ack_got", "answered_at", "over", "over_while_held", "declined",
        "cancelled_at", "cancel_failed", "heard_at",
    )  # fmt: skip

    def __init__(self, leg: str, at: float, behaviour: Behaviour) -> None:
        self.leg = leg
        self.behaviour = behaviour
        self.placed_at = at
        self.call: Call | None = None
        self.far: list[Session] = []
        """Its sessions at the far end; more than one would be a second call that umd never made."""
        self.ends = 0
        """How often its leg has ended."""
        self.confirmed = False
        self.events: list[LifecycleEvent] = []
        """Its lifecycle events in order, without those that a crash has undone."""
        self.durable = 0
        """How many of them are durable; without a journal all are."""
        self.acted_on = 0
        """How many of them umd has been told to be durable."""
        self.acknowledged = False
        """Its client knows that it was placed."""
        self.forgotten = False
        """umd has crashed before the placing was durable: the call never existed."""
        self.crashed = False
        """umd has crashed since the call was placed."""
        self.first_asked: float | None = None
        self.heard: str | None = None
        """The message by which umd has learned first that the far end has ended the call."""
        # The wire, as each side knows it.
        self.seen: set[tuple[str, str]] = set()
        """`(branch, method)` of the requests that were sent: another one is a retransmission."""
        self.provisional = False
        """The caller has received a provisional response."""
        self.known_tags: set[str] = set()
        """The far end's tags in the responses to INVITE that the caller has received."""
        self.heard_at = inf
        """When the caller received its first response."""
        self.final = False
        """The caller has received a final response."""
        self.bye_final: int | None = None
        """The status of the response to umd's BYE."""
        self.failed: int | None = None
        """The failure status that the caller has received."""
        self.acked: set[str] = set()
        """The far end's tags whose 2xx the caller has acknowledged."""
        self.unacked: str | None = None
        """The tag of a 2xx that the caller has received, until its ACK leaves."""
        self.ack_got: set[str] = set()
        """The tags for which the callee has its ACK."""
        self.answered_at: dict[str, float] = {}
        """When the callee sent its first 2xx, by tag."""
        self.over: tuple[set[str], set[str]] = (set(), set())
        """The far end's tags of the dialogs that each side knows to be over."""
        self.over_while_held: set[str] = set()
        """Those of them that umd learned of while its own ACK and BYE waited for a record."""
        self.declined: set[str] = set()
        """The tags of the failure responses that the callee has sent."""
        self.cancelled_at: float | None = None
        """When the caller sent its CANCEL."""
        self.cancel_failed: int | None = None
        """The failure status that answered it."""

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
        """Whether the call has ended; None while umd has not been told that its end is durable."""
        if self.end is None:
            return False
        return True if self.acted_on == len(self.events) else None

    @property
    def invited(self) -> bool:
        """Whether an INVITE has left."""
        return any(method == "INVITE" for _, method in self.seen)

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
            self.ends = 0
            self.confirmed = False
            self.heard = self.failed = self.bye_final = None
            self.over[0].clear()
