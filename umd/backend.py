"""
What a backend is: the Protocol that every backend implements, and how umd finds backends.

A backend carries call legs, for example by SIP. This module is public: a distribution of its own
can provide a backend under an entry point of the group `umd.backends`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias, runtime_checkable

from umd.call.alias import SIP_CALL_ID, Aliases, no_aliases
from umd.call.call import CallState
from umd.call.call_id import CallId
from umd.call.cause import Cause
from umd.call.leg import (
    Answered,
    Changed,
    Direction,
    Ended,
    Gone,
    LegEvent,
    LegId,
    Media,
    MediaCount,
    Progressed,
    Proof,
)
from umd.errors import UmdError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from twisted.internet.interfaces import IReactorTime

__all__ = [
    "Aliases",
    "Answered",
    "BackendUnavailable",
    "CannotPlace",
    "CarriesMedia",
    "Changed",
    "ChecksFiles",
    "Direction",
    "Ended",
    "FileTrouble",
    "FollowsPbx",
    "FoundLeg",
    "Gone",
    "KnownLeg",
    "LegBackend",
    "LegEvent",
    "LegId",
    "LegInUse",
    "LegSink",
    "Media",
    "MediaCount",
    "MessageTap",
    "NoSuchLeg",
    "Progressed",
    "Proof",
    "RestoresLegs",
    "SIP_CALL_ID",
    "ShowsMessages",
    "UnknownBackendType",
    "backend_types",
    "load_backend_type",
]

ENTRY_POINT_GROUP: Final = "umd.backends"
_REQUIRED_METHODS: Final = ("start", "stop", "legs", "place", "hang_up")


class NoSuchLeg(UmdError):
    """The backend does not carry this leg, or no longer does."""


class BackendUnavailable(UmdError):
    """The backend cannot reach its peer at the moment, such as a PBX."""


class CannotPlace(UmdError):
    """The backend only watches the calls of its PBX, or cannot dial as it is configured."""


class LegInUse(UmdError):
    """The backend carries a leg of this name already, so it places no second one."""


class UnknownBackendType(UmdError):
    """No installed distribution provides a backend of this type, or what it provides is not one."""


# Not frozen: a restart may make a million of them, and a frozen one takes three times as long.
@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class FoundLeg:
    """A leg that a backend carries and that umd did not place. Do not change it."""

    leg: LegId
    state: CallState
    """Connecting, alerting or connected."""
    number: str
    """The number of the far end, for display."""
    call_id: CallId | None = None
    """The CallId that umd gave the call once, if the backend remembers it; None: umd makes one."""
    aliases: Aliases = field(default_factory=no_aliases, hash=False)
    """
    Its ids on the PBX and on the wire, by kind: `SIP_CALL_ID`, "channel", "channel-name", "dialog",
    or another kind of lower-case letters, digits and hyphens. A client may end the call by each.
    """
    partners: tuple[LegId, ...] = ()
    """The legs with which it is bridged. They may be unknown to umd yet."""
    labels: tuple[str, ...] = ()
    """Texts that group calls, such as the name of a test run."""
    owner: str = ""
    """What the PBX says of the owner; `call.owners` maps it to a principal. Empty: nothing."""
    direction: Direction | None = None
    """Which side called; None: not known."""
    began_at: float = 0.0
    """When the leg began, wall time in seconds since the epoch; 0.0: not known."""


class LegSink(Protocol):
    """Takes the reports of a backend; umd passes one to each backend that it starts."""

    def leg_found(self, found: FoundLeg) -> None:
        """
        Report a leg that umd did not place and that appeared while umd runs.

        Report it before its first event, and not before `start` returns. A repetition of a leg that
        umd knows changes nothing, so a list and an event may both have it.
        """
        return None

    def leg_event(self, event: LegEvent) -> None:
        """Report what happened to a leg. Do not call it before `start` returns or after `stop`."""

    def when_recorded(self, then: Callable[[Any], None], argument: Any) -> None:
        """
        Call `then(argument)` once all that was reported so far is on record.

        Without a journal that is before `when_recorded` returns, else in a later reactor turn.

        A backend that carries the legs itself (`RestoresLegs`) must delay the message that
        establishes a call at the far end, such as the ACK, until then. If umd crashed between
        the message and the record, no later umd could end the call.
        """
        then(argument)

    def backend_down(self, reason: str) -> None:
        """Report that the peer cannot be reached, so that the state of its legs is unknown."""

    def backend_up(self) -> None:
        """
        Report that the peer can be reached again.

        First report each leg that ended meanwhile, by `leg_event`. umd then calls `hang_up` again
        for each leg that it wants to end.
        """


class LegBackend(Protocol):
    """
    Carries call legs.

    `umd.testing.LegBackendContract` tests these rules:

    - To accept a command is not to carry it out. A backend reports the end of a leg when the far
      end confirms it, or with `confirmed=False` after a deadline of its own.
    - Each leg that begins ends with exactly one `Ended`, whichever side ends it. It is the last
      event of the leg.
    - A backend passes on the cause that the far end or the PBX gave.
    - A leg that was reported and has not ended is known to `hang_up`. If the PBX no longer has it,
      the backend reports its end; it does not raise NoSuchLeg.
    - A backend calls the sink on the reactor's thread only. No method here blocks.
    """

    Settings: ClassVar[type[BaseModel]]
    """The pydantic model of its section in the configuration, derived from `umd.config.Section`."""

    def __init__(self, name: str, settings: Any, clock: IReactorTime) -> None:
        """
        Args:
            name: the name of its section: `lab` for `[backend.lab]`.
            settings: an instance of `Settings`.
            clock: makes all timers; monotonic.
        """

    @abstractmethod
    async def start(self, sink: LegSink) -> None:
        """
        Begin to serve. If the peer cannot be reached yet, report `backend_down` and keep trying.

        Raises:
            UmdError: it can never work, for example because a port is in use. The daemon does not
                start.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Stop to report, and free all resources; `start` may follow."""

    @abstractmethod
    async def legs(self) -> Sequence[FoundLeg]:
        """
        Return the live legs; umd calls this after `start` and after each `backend_up`.

        A backend reports events of the legs that it returned here, of those that it reported by
        `leg_found`, and of those that it placed, and of no others.

        A live call whose leg is missing has ended without a report. umd looks once more, then ends
        it as lost. A leg that had an event after umd called `legs` does not count as missing.

        Raises:
            BackendUnavailable: the legs are not known now. umd starts all the same, and calls
                `legs` again at `backend_up`.
        """

    @abstractmethod
    def place(self, leg: LegId, number: str) -> None:
        """
        Begin to dial `number`. The sink gets the progress, and a failure too.

        Args:
            leg: the name of the new leg. umd chooses it, so that it is on record before any message
                is sent.
            number: a telephone number without separators; a `tel:` URI if it has an extension or a
                context; a SIP URI; or a name. `umd.sip.number.read_number` reads it. A number that
                cannot be dialled ends the leg, as if the far end had rejected the call.

        Raises:
            BackendUnavailable: nothing was dialled, and no event follows.
            CannotPlace: this backend cannot dial at all; no event follows.
            LegInUse: a live leg has this name; it stays as it is.
        """

    @abstractmethod
    def hang_up(self, leg: LegId, cause: Cause) -> None:
        """
        Begin to end a leg in whatever state it is: cancel it while it rings, hang up after that.

        A second call while the leg ends changes nothing. The `Ended` that follows has this `cause`
        together with the status that the far end answered, unless the far end ended the leg itself.

        Raises:
            NoSuchLeg: the backend does not carry this leg. umd does not take that for success.
            BackendUnavailable: the peer cannot be reached. Report `backend_up` when it can be.
        """


@runtime_checkable
class FollowsPbx(Protocol):
    """
    An option of a backend: its legs are calls of a PBX, which begin, change and end without umd.

    umd compares its calls with `legs` at the interval `call.reconcile` too.
    """

    async def look_up(self, leg: LegId) -> FoundLeg | None:
        """
        Ask the PBX for one leg that the backend has reported.

        Returns:
            The leg as the PBX has it now; None: the PBX no longer has it.

        Raises:
            BackendUnavailable: the PBX does not answer.
        """


@runtime_checkable
class CarriesMedia(Protocol):
    """
    An option of a backend: its legs carry sound.

    If the backend lacks it, calls that should play a message or record a greeting are silent.
    """

    def place_with_media(self, leg: LegId, number: str, media: Media) -> None:
        """
        Dial as `place` does. After the answer play the prompt, then record until the leg ends.

        The leg goes on after the prompt. `Ended.media` counts the packets that crossed.

        Raises:
            BackendUnavailable: nothing was dialled, and no event follows.
        """


MessageTap: TypeAlias = Callable[[Any, Any, Any], None]
"""
A function `tap(source, target, message)`, called for each SIP message; it returns at once.

Source and target are `umd.sip.transaction.Hop`, the message is a `umd.sip.message.Message`. The
type does not name them, so that a backend without SIP does not import SIP.
"""


@runtime_checkable
class ShowsMessages(Protocol):
    """
    An option of a backend: it shows the SIP messages of its legs, which `umd trace` draws.

    The Call-ID of a leg's messages is the leg's name.
    """

    def capture_to(self, tap: MessageTap) -> None:
        """
        Call `tap` for each message that is sent or received from now on, also of unknown calls.

        umd calls this once, before `start`, and only if `trace.messages` is not 0 or the journal
        keeps the messages (`journal.trace`).
        """


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class KnownLeg:
    """A leg that was live when umd ended, according to the journal. Do not change it."""

    leg: LegId
    state: CallState
    """Its last state. For a disconnecting leg umd calls `hang_up` again."""
    number: str
    age: float
    """Seconds since the leg was placed or found."""
    record: bytes | None
    """What `leg_record` returned last; None: nothing, as for a leg that was never answered."""
    quiet_for: float = 0.0
    """Seconds since the last event of the leg, for example that it rings."""


@runtime_checkable
class RestoresLegs(Protocol):
    """
    An option of a backend: it carries the legs itself, and restores them after a restart.

    A backend whose legs live on a PBX does not need it: after a restart its `legs` returns those
    that are still there.
    """

    def leg_record(self, leg: LegId) -> bytes | None:
        """
        Return what the backend needs to end this leg after a restart: at most 64 KiB, or None.

        umd calls it when the leg is found or answered, from within the sink's `leg_event`, and
        keeps the result in the journal.
        """

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        """
        Restore the legs from before the restart. With a journal, umd calls this before `start`.

        `legs` returns those that could be restored; the calls of the others are lost. After this
        call `stop` must leave live legs as they are, since the next umd restores them.

        Args:
            known: yields each leg once.
            anew: whether the journal knows no call at all, not even an ended one.
        """


FileTrouble: TypeAlias = tuple[str, object, str]
"""`(key of the section, its value, what is wrong with the file that the value names)`."""


@runtime_checkable
class ChecksFiles(Protocol):
    """
    An option of a backend: its settings name files, for example one with a password.

    `umd check-config --files` uses it, without a start of the backend.
    """

    @classmethod
    def check_files(cls, settings: BaseModel) -> Iterable[FileTrouble]:
        """
        Check the files as `start` would use them, and change nothing.

        Args:
            settings: an instance of the backend's `Settings`.

        Returns:
            One entry for each file that cannot be used.
        """


def backend_types() -> list[str]:
    """Return the backend types that installed distributions provide, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


def load_backend_type(type_name: str) -> type[LegBackend]:
    """
    Load the backend class of this type.

    Raises:
        UnknownBackendType: no installed distribution provides it, or it is not a backend.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP, name=type_name):
        try:
            loaded = point.load()
        except Exception as error:
            raise UnknownBackendType(f"{point.value} cannot be loaded: {error}") from error
        return _checked(loaded, point.value)
    known = ", ".join(backend_types()) or "none; is umd installed?"
    raise UnknownBackendType(f"no backend of type {type_name!r} is installed (there is: {known})")


def _checked(loaded: object, name: str) -> type[LegBackend]:
    """Return `loaded` if it can be a backend, before anything is started with it."""
    from pydantic import BaseModel  # here, so that SIP legs do not load pydantic

    if not isinstance(loaded, type):
        raise UnknownBackendType(f"{name} is not a class")
    missing = sorted(getattr(loaded, "__abstractmethods__", ()))
    missing += [name for name in _REQUIRED_METHODS if not callable(getattr(loaded, name, None))]
    if missing:
        raise UnknownBackendType(f"{name} has no {', '.join(missing)}")
    settings = getattr(loaded, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, BaseModel)):
        raise UnknownBackendType(f"{name} has no Settings derived from umd.config.Section")
    return loaded
