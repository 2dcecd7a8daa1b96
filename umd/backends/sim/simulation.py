"""The whole simulation without a clock: umd's endpoint, the far ends, and the network."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Final

import orjson

from umd.backend import KnownLeg, LegEvent, LegId
from umd.backends.sim.directory import Directory, last_digits
from umd.backends.sim.far_ends import FarEnds
from umd.backends.sim.network import PERFECT, Conditions, Network
from umd.backends.sim.section import SimSection
from umd.backends.sip_legs import SipLegs
from umd.call.call import CallState
from umd.call.cause import Cause
from umd.sip import sdp
from umd.sip.dialog import Dialog, DialogId
from umd.sip.endpoint import Endpoint
from umd.sip.fields import MAX_CSEQ
from umd.sip.message import Message
from umd.sip.session import Session
from umd.sip.timing import Timing
from umd.sip.transaction import Hop, Send

UMD_HOP: Final = Hop("umd.sim", 5060)
FAR_HOP: Final = Hop("far.sim", 5060)
DEAD_HOP: Final = Hop("dead.sim", 5060)
REFUSING_HOP: Final = Hop("refusing.sim", 5060)
UMD_URI: Final = f"sip:umd@{UMD_HOP.host}"
UMD_CONTACT: Final = f"sip:{UMD_HOP.host}:{UMD_HOP.port}"
FAR_CONTACT: Final = f"sip:{FAR_HOP.host}:{FAR_HOP.port}"
_HOP_BY_REACHABLE: Final = {"yes": FAR_HOP, "dead": DEAD_HOP, "refuses": REFUSING_HOP}

OFFER: Final = sdp.offer(address="192.0.2.1", port=4000, session_id=1).encode()
ANSWER: Final = sdp.offer(address="192.0.2.2", port=4000, session_id=2).encode()


def _uri_of(number: str, hop: Hop) -> str:
    return f"sip:{last_digits(number) or 'nobody'}@{hop.host}"


def _read_record(leg: KnownLeg) -> tuple[str, str, int, int]:
    """
    Decode a leg record: local tag, remote tag, local CSeq, remote CSeq.

    Raises:
        ValueError, TypeError: it is malformed.
    """
    local_tag, remote_tag, local_cseq, remote_cseq = orjson.loads(leg.record or b"")
    if not (isinstance(local_tag, str) and isinstance(remote_tag, str)):
        raise ValueError("a tag is not a string")
    if not (0 <= local_cseq < MAX_CSEQ and -1 <= remote_cseq < MAX_CSEQ):
        raise ValueError("a CSeq is out of range")
    return local_tag, remote_tag, local_cseq, remote_cseq


class Simulation:
    """
    umd's endpoint, the far ends, and the network between them. The caller supplies the time.

    Args:
        section: the configuration of network, far ends and random numbers.
        report: called with each event of a leg.
        timing: T1, T2 and T4.
        when_recorded: as in `SipLegs`.
    """

    def __init__(
        self,
        section: SimSection,
        report: Callable[[LegEvent], None],
        timing: Timing | None = None,
        when_recorded: Callable[[LegId], None] | None = None,
    ) -> None:
        self.random = Random(section.random_seed)
        numbers = count(1)
        # Ids must be unique within the process. They need not be unpredictable.
        prefix = f"{self.random.getrandbits(24):06x}"
        self.endpoint = Endpoint(
            UMD_HOP.host, UMD_HOP.port, lambda: f"{prefix}{next(numbers):x}", timing=timing
        )
        self.legs = SipLegs(
            self.endpoint, report, when_recorded=when_recorded, restore=self._restore
        )
        self.directory = Directory(section.far_end)
        self.far_ends = FarEnds(
            FAR_HOP,
            lambda: f"f{prefix}{next(numbers):x}",
            self.random,
            self.directory,
            ANSWER,
            timing,
        )
        self.conditions = Conditions(
            delay=section.delay,
            jitter=section.jitter or 0.0,
            loss=section.loss,
            duplicate=section.duplicate,
        )
        self.network = Network(
            self.random,
            conditions=self.conditions,
            octets=section.octets,
            check_every=section.check_every,
        )
        self.network.attach(UMD_HOP, self)
        self.network.attach(FAR_HOP, self.far_ends)
        self.network.refuse(REFUSING_HOP.host)

    def place(self, leg: LegId, number: str, now: float) -> None:
        """Place a leg."""
        self._place(leg, number, _HOP_BY_REACHABLE[self.directory.find(number).reachable], now)

    def _place(self, leg: LegId, number: str, hop: Hop, now: float) -> None:
        self.legs.place(leg, _uri_of(number, hop), hop, now, from_=UMD_URI, body=OFFER)

    def hang_up(self, leg: LegId, cause: Cause, now: float) -> None:
        """Hang up a leg. Raises: NoSuchLeg."""
        self.legs.hang_up(leg, cause, now)

    def run(self, now: float) -> None:
        """Run the network and all timers that are due at this time."""
        self.network.run(now)

    def put(self, leg: LegId, number: str, state: CallState, now: float) -> None:
        """Place a leg that is in this state at once, whatever its far end would do."""
        self.network.conditions = PERFECT
        self.far_ends.put_into = state
        self._place(leg, number, FAR_HOP, now)
        self.network.pump(now)
        self.far_ends.put_into = None
        self.network.conditions = self.conditions

    def record(self, leg: LegId) -> bytes | None:
        """Return what `restore` needs of an answered leg besides its number, or None."""
        dialog = self.legs.dialog_of(leg)
        if dialog is None:
            return None
        name = dialog.id
        return orjson.dumps(
            [name.local_tag, name.remote_tag, dialog.local_cseq, dialog.remote_cseq]
        )

    def restore(self, leg: KnownLeg, now: float) -> None:
        """
        Restore an answered leg, at both ends.

        The sessions are created when the leg is used, since most restored legs only have to exist.

        Raises:
            ValueError, TypeError: the leg record is malformed.
        """
        _read_record(leg)
        if self.directory.find(leg.number).hang_up_after is None:
            self.legs.add_dormant(leg)
        else:  # this far end hangs up by itself, so it must exist now
            self.far_ends.hang_up_later(self._restore(leg), leg.age, now)

    def _restore(self, known: KnownLeg) -> Session:
        """Create the sessions of both ends; return the one of the far end."""
        local_tag, remote_tag, local_cseq, remote_cseq = _read_record(known)
        leg, number = known.leg, known.number
        local = f"<{UMD_URI}>;tag={local_tag}"
        remote = f"<{_uri_of(number, FAR_HOP)}>;tag={remote_tag}"
        dialog = Dialog.restored(
            DialogId(leg, local_tag, remote_tag),
            local,
            remote,
            FAR_HOP,
            target=FAR_CONTACT,
            local_cseq=local_cseq,
            remote_cseq=remote_cseq,
        )
        self.legs.adopt(leg, self.endpoint.restore(dialog, body=OFFER))
        far_dialog = Dialog.restored(
            DialogId(leg, remote_tag, local_tag),
            remote,
            local,
            UMD_HOP,
            target=UMD_CONTACT,
            local_cseq=max(remote_cseq, 0),
            remote_cseq=local_cseq,
        )
        return self.far_ends.restore(far_dialog, number)

    # -- an end of the network: the endpoint, and the events of its legs after each step

    def receive_message(self, message: Message, source: Hop, now: float) -> None:
        self.endpoint.receive_message(message, source, now)
        self.legs.report_events()

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        self.endpoint.receive_datagram(data, source, now)
        self.legs.report_events()

    def messages_to_send(self) -> list[Send]:
        return self.legs.messages_to_send()

    def send_failed(self, message: Message, now: float) -> None:
        self.endpoint.send_failed(message, now)
        self.legs.report_events()

    def next_due(self) -> float | None:
        return self.endpoint.next_due()

    def handle_timer(self, now: float) -> None:
        self.endpoint.handle_timer(now)
        self.legs.report_events()
