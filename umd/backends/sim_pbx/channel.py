"""A channel of a simulated PBX."""

from __future__ import annotations

from dataclasses import dataclass

from umd.backends.sim_pbx.messages import ChannelState, ChannelView
from umd.call.cause import NORMAL_CLEARING
from umd.call.leg import Direction


@dataclass(slots=True, kw_only=True)
class Channel:
    """A channel of the PBX."""

    id: str
    name: str
    call_id: str
    number: str
    state: ChannelState
    direction: Direction
    labels: tuple[str, ...]
    owner: str
    began_at: float
    created: float
    """Seconds on the clock of the PBX."""
    partner: str | None = None
    q850: int = NORMAL_CLEARING
    """Why it is ending."""
    end_told: bool = False
    """Whether its end was reported."""

    def view(self) -> ChannelView:
        """Return the channel as the PBX shows it now."""
        return ChannelView(
            id=self.id,
            name=self.name,
            call_id=self.call_id,
            number=self.number,
            state=self.state,
            partner=self.partner,
            direction=self.direction,
            labels=self.labels,
            owner=self.owner,
            began_at=self.began_at,
        )
