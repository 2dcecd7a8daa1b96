"""The witness as control asks it: for the final status that shows a call to be down."""

from __future__ import annotations

from collections.abc import Callable

from umd.trace.proof import ShownDown
from umd.trace.witness import Witness


class WireWitness:
    """
    A `Witness` behind the Protocol `umd.control.held_ends.WireWitness`.

    Args:
        witness: follows the messages.
        now: returns the time that `Witness.take` is given.
    """

    def __init__(self, witness: Witness, now: Callable[[], float]) -> None:
        self._witness = witness
        self._now = now

    def sees(self, call_id: str, /) -> bool:
        """Return whether a message of this Call-ID was seen lately."""
        return self._witness.follows(call_id)

    def watch(
        self, call_id: str, tags: tuple[str, ...], since: float, then: Callable[[int], None], /
    ) -> Callable[[], None]:
        """Wait for the proof; see the Protocol."""

        def tell(shown: ShownDown) -> None:
            then(shown.status)

        witness = self._witness
        watch = witness.watch(call_id, tags, since=since, now=self._now(), then=tell)
        return _nothing if watch is None else lambda: witness.forget(watch)


def _nothing() -> None:
    """Do nothing: the proof has come."""
