"""Virtual time: one clock for the whole run, and the view of it that one umd process has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime, IReactorUDP
from twisted.internet.task import Clock
from zope.interface import implementer


class VirtualClock(Clock):
    """A Twisted `Clock` that runs one delayed call at a time."""

    def next_due(self) -> float | None:
        """Return the time of the next delayed call; None if there is none."""
        return self.calls[0].getTime() if self.calls else None

    def go_to(self, moment: float) -> None:
        """Move the time forward to `moment`; calls that are due by then wait for `do_next`."""
        self.rightNow = max(self.rightNow, moment)

    def do_next(self) -> None:
        """Move the time to the next delayed call, and run that call."""
        call = self.calls.pop(0)
        self.go_to(call.getTime())
        call.called = 1
        call.func(*call.args, **call.kw)


class ListensUdp(Protocol):
    """The part of a reactor that opens UDP ports."""

    def listenUDP(
        self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192
    ) -> Any:
        """Deliver the datagrams for this address to `protocol`; return the open port."""


@implementer(IReactorTime, IReactorUDP)
class ProcessReactor:
    """
    The reactor of one umd process: when the process crashes, its delayed calls are gone.

    Args:
        clock: The clock of the run, which goes on after a crash.
        udp: Opens UDP ports.
    """

    def __init__(self, clock: VirtualClock, udp: ListensUdp) -> None:
        self._clock = clock
        self._udp = udp

    def seconds(self) -> float:
        return self._clock.rightNow

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        return self._clock.callLater(delay, self._run, callable, args, kw)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return [call for call in self._clock.calls if call.func == self._run]

    def listenUDP(
        self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192
    ) -> Any:
        return self._udp.listenUDP(port, protocol, interface, maxPacketSize)

    def crash(self) -> None:
        """Drop every delayed call of this process."""
        for call in self.getDelayedCalls():
            call.cancel()

    def _run(self, callable: Callable[..., object], args: Any, kw: Any) -> None:
        callable(*args, **kw)
