"""The door to whatever carries the legs: the Protocol every backend obeys, found by entry point."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeAlias, runtime_checkable

from umd.call.call import CallState
from umd.call.call_id import CallId
from umd.call.cause import Cause
from umd.call.leg import Answered, Ended, Gone, LegEvent, LegId, Media, MediaCount, Progressed
from umd.errors import UmdError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from twisted.internet.interfaces import IReactorTime

__all__ = [
    "Answered",
    "BackendUnavailable",
    "CarriesMedia",
    "Ended",
    "FoundLeg",
    "Gone",
    "KnownLeg",
    "LegBackend",
    "LegEvent",
    "LegId",
    "LegSink",
    "Media",
    "MediaCount",
    "MessageTap",
    "NoSuchLeg",
    "Progressed",
    "RestoresLegs",
    "ShowsMessages",
    "UnknownBackendType",
    "backend_types",
    "load_backend_type",
]

ENTRY_POINT_GROUP: Final = "umd.backends"


class NoSuchLeg(UmdError):
    """The backend carries no such leg, or no longer does."""


class BackendUnavailable(UmdError):
    """What carries the leg cannot be reached at the moment."""


class UnknownBackendType(UmdError):
    """No installed distribution offers a backend of this type, or what it offers is none."""


# Not frozen, which would be three times as much to make: a million of each are, at a restart.
@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class FoundLeg:
    """A leg that a backend carries already when umd starts; nobody changes it."""

    leg: LegId
    state: CallState
    """Connecting, alerting or connected."""
    number: str
    """Whom it leads to, for people to read."""
    call_id: CallId | None = None
    """Where the backend remembers the CallId that umd once gave it; None: umd makes one."""


class LegSink(Protocol):
    """Where a backend reports; umd hands one to each backend it starts."""

    def leg_event(self, event: LegEvent) -> None:
        """Something happened to a leg. Never called before `start` returns or after `stop`."""

    def when_recorded(self, then: Callable[[Any], None], argument: Any) -> None:
        """
        Call `then(argument)` once all that was reported so far is on record; at once where nothing
        is put on record, else in a later turn.

        A backend that carries the legs itself (`RestoresLegs`) lets nothing leave by which the far
        end would take a call for established before that is on record: a umd that dies meanwhile
        would leave a call that no other could end.
        """
        then(argument)

    def backend_down(self, reason: str) -> None:
        """What carries the legs cannot be reached; nothing is known of them until it is back."""

    def backend_up(self) -> None:
        """
        It can be reached again.

        The backend has reported before, by `leg_event`, each leg that ended meanwhile. umd asks
        again for the end of each leg whose end it had asked for.
        """


class LegBackend(Protocol):
    """
    What carries call legs.

    Every rule here is checked by `umd.testing.LegBackendContract`:

    - An accepted command is never believed: an end is reported when the far end showed it, or
      after a deadline of the backend's own with `confirmed=False`.
    - Each leg that begins ends by exactly one `Ended`, whoever ended it; nothing follows it.
    - What the far end or the PBX said of the cause is passed on.
    - Only what runs on the reactor's thread calls the sink, and no method here blocks.
    """

    Settings: ClassVar[type[BaseModel]]
    """The model of its section in the configuration; derive it from `umd.config.Section`."""

    def __init__(self, name: str, settings: Any, clock: IReactorTime) -> None:
        """
        Args:
            name: the name of its section: `lab` for `[backend.lab]`.
            settings: an instance of `Settings`.
            clock: for every timer; it never jumps.
        """

    @abstractmethod
    async def start(self, sink: LegSink) -> None:
        """
        Begin to serve. Where the peer cannot be reached yet: report `backend_down`, keep trying.

        Raises:
            UmdError: when it can never work, a port in use for example; the daemon does not start.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Report nothing more and free everything; `start` may follow."""

    @abstractmethod
    async def legs(self) -> Sequence[FoundLeg]:
        """
        The live legs it carries, asked for after `start` and at each `backend_up`.

        Events are reported of the legs given back here and of those placed, of no other.

        Raises:
            BackendUnavailable: it cannot be asked; umd starts all the same, and asks again.
        """

    @abstractmethod
    def place(self, leg: LegId, number: str) -> None:
        """
        Dial `number`; what becomes of it is told to the sink, failure too.

        The name of the leg is umd's choice, so that it is on record before anything leaves.

        Args:
            number: a telephone number without separators; a `tel:` URI, where it has an extension
                or a context; a SIP URI; or a name. `umd.sip.number.read_number` reads it. What
                cannot be dialled ends the leg, as a far end's refusal does.

        Raises:
            BackendUnavailable: nothing was dialled, and no event follows.
        """

    @abstractmethod
    def hang_up(self, leg: LegId, cause: Cause) -> None:
        """
        End a leg in whatever state it is: cancel what rings, hang up what talks.

        Asked again while the leg is ending, it joins. The `Ended` that follows says `cause` again,
        with the status that the far end answered, unless the far end ended the leg by itself.

        Raises:
            NoSuchLeg: it carries no such leg. Never taken for success.
            BackendUnavailable: it cannot even be asked. Once it can, `backend_up` is reported.
        """


@runtime_checkable
class CarriesMedia(Protocol):
    """
    What a backend may have beside `LegBackend`: its legs carry sound.

    Without it a message or a greeting is a call in which nothing is heard.
    """

    def place_with_media(self, leg: LegId, number: str, media: Media) -> None:
        """
        Dial as `place` does; once answered, play the prompt, then record, to the end of the leg.

        The `Ended` of the leg says in `media` what crossed. The leg stays when the prompt is over.

        Raises:
            BackendUnavailable: nothing was dialled, and no event follows.
        """


MessageTap: TypeAlias = Callable[[Any, Any, Any], None]
"""
Takes the source, the target and the message of each SIP message, and returns at once.

The source and the target are `umd.sip.transaction.Hop`, the message is `umd.sip.message.Message`.
They are not named in the type, since a backend without SIP imports this module too.
"""


@runtime_checkable
class ShowsMessages(Protocol):
    """
    What a backend may have beside `LegBackend`: it shows the SIP messages of its legs.

    They are what `umd trace` draws. The Call-ID of a leg's messages is the leg's name.
    """

    def capture_to(self, tap: MessageTap) -> None:
        """
        Call `tap` for every message that is sent or received, those of unknown calls too.

        Called once, before `start`, and not at all where nobody wants to see them.
        """


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class KnownLeg:
    """A leg that the journal says was live when umd ended; nobody changes it."""

    leg: LegId
    state: CallState
    """How it stood; disconnecting: its end was asked for, and will be asked for again."""
    number: str
    age: float
    """Seconds since it was placed or found."""
    record: bytes | None
    """The last that `leg_record` gave for it; None: it never got that far."""
    quiet_for: float = 0.0
    """Seconds since something was last heard of it, such as that it rings."""


@runtime_checkable
class RestoresLegs(Protocol):
    """
    What a backend may have beside `LegBackend`: it carries the legs itself, and so must restore
    them after a restart.

    A backend whose legs live elsewhere, on a PBX, does without: `legs` tells which are still there.
    """

    def leg_record(self, leg: LegId) -> bytes | None:
        """
        What is to be kept of a leg: all that it takes to end it after a restart.

        Asked for when the leg is found or has been answered, from within the sink's `leg_event`; at
        most 64 KiB. None: there is nothing.
        """

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        """
        Take up legs again; called once, before `start`, wherever a journal is kept.

        Of those that can be restored `legs` tells then; the others are lost. What is live at `stop`
        is left alone then, since it will be taken up again.

        Args:
            known: gives each leg once.
            anew: the journal knows of no call, not even of one that has ended.
        """


FileTrouble: TypeAlias = tuple[str, object, str]
"""A key of the backend's section, its value, and what is wrong with the file that it names."""


@runtime_checkable
class ChecksFiles(Protocol):
    """
    What a backend may have beside `LegBackend`: its settings name files, such as one of a password.

    `umd check-config --files` asks for it, before anything is started.
    """

    @classmethod
    def check_files(cls, settings: BaseModel) -> Iterable[FileTrouble]:
        """
        See that the files can be used, as `start` would; nothing is started, made or changed.

        Args:
            settings: of the backend's own `Settings`.

        Returns:
            What is wrong, of each file that cannot be used.
        """


def backend_types() -> list[str]:
    """The types that installed distributions offer, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


def load_backend_type(type_name: str) -> type[LegBackend]:
    """
    Load the backend class that an installed distribution offers under this name.

    Raises:
        UnknownBackendType: no distribution does.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP, name=type_name):
        try:
            loaded = point.load()
        except Exception as error:
            raise UnknownBackendType(f"{point.value} cannot be loaded: {error}") from error
        return _checked(loaded, point.value)
    offered = ", ".join(backend_types()) or "none; is umd installed?"
    raise UnknownBackendType(f"no backend of type {type_name!r} is installed (there is: {offered})")


def _checked(loaded: object, name: str) -> type[LegBackend]:
    """Refuse what cannot be a backend before anything is started with it."""
    from pydantic import BaseModel  # only here: the SIP core and its drivers do without

    if not isinstance(loaded, type):
        raise UnknownBackendType(f"{name} is no class")
    missing = sorted(getattr(loaded, "__abstractmethods__", ()))
    missing += [name for name in _METHODS if not callable(getattr(loaded, name, None))]
    if missing:
        raise UnknownBackendType(f"{name} has no {', '.join(missing)}")
    settings = getattr(loaded, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, BaseModel)):
        raise UnknownBackendType(f"{name} has no Settings derived from umd.config.Section")
    return loaded


_METHODS: Final = ("start", "stop", "legs", "place", "hang_up")
