"""What a contract lets a PBX do: hooks that the contract of a backend overrides."""

from __future__ import annotations

from typing import NoReturn

from umd.backend import FollowsPbx, LegId
from umd.testing.contract.behaviour import NotOffered


class PbxHooks:
    """
    Makes a PBX do things that umd did not request, and tells what the PBX did.

    The contract of a backend whose legs are calls of a PBX overrides these hooks. A behaviour whose
    hook is missing is not offered. A hook returns when the PBX has done it; the backend may report
    it later. While the connection is broken (`pbx_disconnect`), the PBX still does what the
    other hooks say.
    """

    not_offered: tuple[type | str, ...] = ()
    """
    The options that the backend does not offer on purpose, and the names of hooks and numbers that
    the contract does not have on purpose. `FollowsPbx` stands for all hooks.
    """

    async def pbx_call(self, number: str) -> LegId:
        """
        Let the PBX begin a call of its own, with one leg that is answered and stays.

        Args:
            number: the number of the far end. A PBX that cannot choose it ignores it.

        Returns:
            The name that the backend gives the leg.
        """
        self._no_hook("pbx_call")

    async def pbx_ring(self, number: str) -> LegId:
        """Let the PBX begin a call whose leg rings until `pbx_answer`; see `pbx_call`."""
        self._no_hook("pbx_ring")

    async def pbx_answer(self, leg: LegId) -> None:
        """Let the far end answer a leg of `pbx_ring`."""
        self._no_hook("pbx_answer")

    async def pbx_bridge(self, leg: LegId, other: LegId) -> None:
        """Join two answered legs, so that their far ends talk with each other."""
        self._no_hook("pbx_bridge")

    async def pbx_unbridge(self, leg: LegId, other: LegId) -> None:
        """Part two legs that `pbx_bridge` joined; both stay."""
        self._no_hook("pbx_unbridge")

    async def pbx_rename(self, leg: LegId) -> None:
        """Change at least one alias of a leg, as a masquerade does. The leg keeps its name."""
        self._no_hook("pbx_rename")

    async def pbx_hang_up(self, leg: LegId, q850: int) -> None:
        """Let the far end of a leg hang up, with this cause of Q.850."""
        self._no_hook("pbx_hang_up")

    async def pbx_lose(self, leg: LegId) -> None:
        """End a leg on the PBX and at its far end, without an event that says so."""
        self._no_hook("pbx_lose")

    async def pbx_deny_hang_ups(self) -> None:
        """From now on let the PBX accept each command to hang up, and end nothing."""
        self._no_hook("pbx_deny_hang_ups")

    async def pbx_disconnect(self) -> None:
        """Break the connection between backend and PBX until `pbx_reconnect`."""
        self._no_hook("pbx_disconnect")

    async def pbx_reconnect(self) -> None:
        """Let the backend connect to the PBX again."""
        self._no_hook("pbx_reconnect")

    async def pbx_restart(self) -> None:
        """Restart the PBX: its calls are gone, and the connection breaks and can be made again."""
        self._no_hook("pbx_restart")

    def pbx_has(self, leg: LegId) -> bool:
        """Return whether the far end of a leg is still in its call, as the PBX knows it."""
        self._no_hook("pbx_has")

    def pbx_commands(self) -> int:
        """Return how many commands to place or to end a call have reached the PBX."""
        self._no_hook("pbx_commands")

    def _no_hook(self, name: str) -> NoReturn:
        if FollowsPbx in self.not_offered:
            raise NotOffered("the backend does not offer FollowsPbx", on_purpose=True)
        why = f"the contract has no hook {name}"
        raise NotOffered(why, on_purpose=name in self.not_offered)
