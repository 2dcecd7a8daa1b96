"""The calls by CallId: the live ones, and the ended ones until their retention is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from typing import NamedTuple, TypeVar

from structlog.typing import FilteringBoundLogger
from twisted.internet.interfaces import IReactorTime

from umd.call.call import Call
from umd.call.call_id import CallId, InvalidCallId, make_call_id, split_call_id
from umd.call.leg import LegId
from umd.control.alias_index import AliasIndex
from umd.control.errors import AmbiguousId, NoSuchCall
from umd.control.links import BackendLink, Links
from umd.control.settings import ControlSettings

T = TypeVar("T")


class Counts(NamedTuple):
    """Calls since umd started; `begun` is always the sum of `ended` and `live`."""

    begun: int
    """Calls placed, found or recovered."""
    ended: int
    live: int
    refused_events: int
    """Events from backends that are illegal, such as a second end of a call."""
    miscounts: int
    """How often the sum was wrong after a call had ended, which is a bug in umd."""

    @property
    def right(self) -> bool:
        return self.begun == self.ended + self.live and not self.miscounts


class Registry:
    """
    Finds the call of a CallId, and counts calls.

    Args:
        node: the name of this daemon in the CallIds that it issues.
        links: hold the live calls of each backend.
        clock: for retention; monotonic.
        wall: seconds since the epoch.
        log: gets `control.miscount`.
    """

    def __init__(
        self,
        node: str,
        links: Links,
        clock: IReactorTime,
        wall: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self.settings = ControlSettings()
        """Used here: `retention` and `retained_calls`. Replaced on reload."""
        self.begun = 0
        """Calls placed, found or recovered since umd started."""
        self.ended = 0
        """How many of those have ended."""
        self.miscounts = 0
        self.orphans: list[Call] = []
        """Recovered live calls whose backend is no longer configured."""
        self._node = node
        self._links = links
        self._clock = clock
        self._wall = wall
        self._log = log
        self._calls: dict[CallId, Call] = {}
        self._aliases = AliasIndex()
        self._ended: deque[tuple[float, Call]] = deque()
        """`(monotonic time of the end, call)`, in the order in which the calls ended."""

    def __contains__(self, call_id: CallId) -> bool:
        return call_id in self._calls

    def __len__(self) -> int:
        """How many calls are kept, live and ended."""
        return len(self._calls)

    def add(self, link: BackendLink, call: Call) -> None:
        """Add a call that begins."""
        self.begun += 1
        self._calls[call.id] = call
        link.calls[call.leg] = call
        if call.aliases or call.labels:
            self._aliases.add(call)

    def recover(self, call: Call) -> bool:
        """
        Add a call of the journal, live or ended.

        Returns:
            False if a live call has this id already, so that the call was not added.
        """
        earlier = self._calls.get(call.id)
        if earlier is not None:
            if not earlier.ended:
                return False
            # It ended, and its leg was found again later.
            if earlier.aliases or earlier.labels:
                self._aliases.remove(earlier)
        self._calls[call.id] = call
        link = self._links.get(call.backend)
        if call.aliases or call.labels:
            self._aliases.add(call)
        if call.ended:
            ended_at = self._clock.seconds() - (self._wall() - call.ended_at)
            self._ended.append((ended_at, call))
            if call.forgotten and link is not None:
                link.forgotten.add(call.leg)
            return True
        self.begun += 1
        if link is None:
            self.orphans.append(call)
        else:
            link.calls[call.leg] = call
        return True

    def change(self, call: Call, change: Callable[[], T]) -> T:
        """Call `change`, which changes the aliases or labels of a call, and return its result."""
        self._aliases.remove(call)
        try:
            return change()
        finally:
            self._aliases.add(call)

    def retire(self, call: Call) -> None:
        """Move a call that has ended from the live calls to the retained ones."""
        link = self._links.get(call.backend)
        if link is not None:
            del link.calls[call.leg]
            if call.forgotten:
                link.forgotten.add(call.leg)
        self.ended += 1
        live = self.live
        if self.begun != self.ended + live:
            self.miscounts += 1
            if self.miscounts == 1:
                self._log.error("control.miscount", begun=self.begun, over=self.ended, live=live)
        self._ended.append((self._clock.seconds(), call))
        self._forget_old()

    def find(self, call_id: CallId) -> Call:
        """
        Return the call of this id, live or ended and still remembered.

        Raises:
            NoSuchCall: there is none.
        """
        call = self._calls.get(call_id)
        if call is not None and call.ended:
            self._forget_old()
            call = self._calls.get(call_id)
        if call is None:
            raise NoSuchCall(f"no call {call_id!r}")
        return call

    def resolve(self, text: str, may: Callable[[Call], bool] | None = None) -> Call:
        """
        Return the call that a text names exactly: by CallId, leg name, alias or label.

        A live call takes precedence over ended ones; of several ended ones the last counts. The
        CallId of a call that umd has forgotten names no other call, whatever a PBX reports.

        Args:
            may: whether the client may read a call; other calls count only if there is no such
                one, so that the answer does not show that they exist.

        Raises:
            AmbiguousId: several live calls have this name.
            NoSuchCall: no call has it.
        """
        try:
            return self.find(CallId(text))
        except NoSuchCall:
            if self._has_issued(text):
                raise
        self._forget_old()
        named = {call.id: call for call in self._named(text)}
        if may is not None:
            named = {call.id: call for call in named.values() if may(call)} or named
        live = [call for call in named.values() if not call.ended]
        if len(live) > 1:
            raise AmbiguousId(text, [call.id for call in sorted(live, key=attrgetter("began_at"))])
        if live:
            return live[0]
        if not named:
            raise NoSuchCall(f"no call {text!r}")
        return max(named.values(), key=attrgetter("ended_at"))

    def _has_issued(self, text: str) -> bool:
        """Return whether a text has the form of the CallIds of this node and its backends."""
        try:
            node = split_call_id(text)[1]
        except InvalidCallId:
            return False
        return node == self._node or node in self._links

    def _named(self, name: str) -> Iterator[Call]:
        """Yield the calls, live and ended, with this leg name, alias or label."""
        yield from self._aliases.find(name)
        for link in self._links.values():
            call = link.calls.get(LegId(name))
            if call is not None:
                yield call
        for node in (self._node, *self._links):
            call = self._calls.get(call_id_of(name, node))
            if call is not None:
                yield call

    def carries(self, name: str) -> bool:
        """Return whether a call has this alias, or this leg on a backend that shows no messages."""
        if any(name in call.aliases.values() for call in self._aliases.find(name)):
            return True
        return any(
            name in link.calls for link in self._links.values() if not link.shows_messages
        )

    def labelled(self, label: str) -> Collection[Call]:
        """Return the calls, live and ended, that have this label."""
        return [call for call in self._aliases.find(label) if label in call.labels]

    def partner_of(self, call: Call) -> Call | None:
        """
        Return the live call with which a call makes a pair of bridged legs; None: there is none.

        A call in a conference has no partner in this sense: the others go on without it.
        """
        if len(call.partners) != 1:
            return None
        partner = self._call_of_leg(call.partners[0])
        if partner is None or partner.ended or partner is call or partner.backend != call.backend:
            return None
        if not partner.partners:
            return partner if partner.id == call.partners[0] else None
        names_call = len(partner.partners) == 1 and self._call_of_leg(partner.partners[0]) is call
        return partner if names_call else None

    def _call_of_leg(self, call_id: CallId) -> Call | None:
        """Return the call of this id; if it has ended and its leg lives again, that call."""
        call = self._calls.get(call_id)
        link = None if call is None or not call.ended else self._links.get(call.backend)
        if call is None or link is None:
            return call
        return link.calls.get(call.leg, call)

    def id_of_leg(self, link: BackendLink, leg: LegId) -> CallId:
        """Return the CallId of a leg, which umd may not have been told of yet."""
        call = link.calls.get(leg)
        return call_id_of(leg, link.name) if call is None else call.id

    def known_calls(self) -> list[Call]:
        """Return the calls that `find` finds."""
        self._forget_old()
        return list(self._calls.values())

    def live_calls(self) -> Iterator[Call]:
        """Yield the calls that have not ended, by backend, in the order in which they began."""
        for link in self._links.values():
            yield from link.calls.values()

    @property
    def live(self) -> int:
        """How many calls have not ended."""
        live = len(self.orphans)
        for link in self._links.values():
            live += len(link.calls)
        return live

    def _forget_old(self) -> None:
        ended = self._ended
        horizon = self._clock.seconds() - self.settings.retention
        while ended and (ended[0][0] <= horizon or len(ended) > self.settings.retained_calls):
            call = ended.popleft()[1]
            if self._calls.get(call.id) is not call:
                continue  # a later call has its id
            del self._calls[call.id]
            if call.aliases or call.labels:
                self._aliases.remove(call)


def call_id_of(leg: str, node: str) -> CallId:
    """Return the CallId of a leg; that of no call, if the name of the leg is not valid Unicode."""
    try:
        return make_call_id(leg, node)
    except UnicodeEncodeError:
        return CallId("")
