"""The simulated world without a clock: umd's end, the far ends, and the network between them."""

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

OURS: Final = Hop("umd.sim", 5060)
FAR: Final = Hop("far.sim", 5060)
DEAD: Final = Hop("dead.sim", 5060)
REFUSING: Final = Hop("refusing.sim", 5060)
OUR_URI: Final = f"sip:umd@{OURS.host}"
OUR_CONTACT: Final = f"sip:{OURS.host}:{OURS.port}"
FAR_CONTACT: Final = f"sip:{FAR.host}:{FAR.port}"
_HOP_OF: Final = {"yes": FAR, "dead": DEAD, "refuses": REFUSING}

OFFER: Final = sdp.offer(address="192.0.2.1", port=4000, session_id=1).encode()
ANSWER: Final = sdp.offer(address="192.0.2.2", port=4000, session_id=2).encode()


def _uri_of(number: str, hop: Hop) -> str:
    return f"sip:{last_digits(number) or 'nobody'}@{hop.host}"


def _read_record(leg: KnownLeg) -> tuple[str, str, int, int]:
    """Raises: ValueError, TypeError."""
    local_tag, remote_tag, local_cseq, remote_cseq = orjson.loads(leg.record or b"")
    if not (isinstance(local_tag, str) and isinstance(remote_tag, str)):
        raise ValueError("a tag that is no text")
    if not (0 <= local_cseq < MAX_CSEQ and -1 <= remote_cseq < MAX_CSEQ):
        raise ValueError("a CSeq that is out of range")
    return local_tag, remote_tag, local_cseq, remote_cseq


class Simulation:
    """
    umd's end, the far ends and the network between them, without a clock: the time is handed in.

    Args:
        section: how it is all to behave.
        report: is told what becomes of the legs.
        timing: T1, T2 and T4.
        when_recorded: as `SipLegs` has it.
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
        # Unique is enough within one process; unpredictable it need not be.
        prefix = f"{self.random.getrandbits(24):06x}"
        self.endpoint = Endpoint(
            OURS.host, OURS.port, lambda: f"{prefix}{next(numbers):x}", timing=timing
        )
        self.legs = SipLegs(
            self.endpoint, report, when_recorded=when_recorded, restore=self._restore
        )
        self.directory = Directory(section.far_end)
        self.far_ends = FarEnds(
            FAR,
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
        self.network.attach(OURS, self)
        self.network.attach(FAR, self.far_ends)
        self.network.refuse(REFUSING.host)

    def place(self, leg: LegId, number: str, now: float) -> None:
        """Dial a number."""
        self._place(leg, number, _HOP_OF[self.directory.find(number).reachable], now)

    def _place(self, leg: LegId, number: str, hop: Hop, now: float) -> None:
        self.legs.place(leg, _uri_of(number, hop), hop, now, from_=OUR_URI, body=OFFER)

    def hang_up(self, leg: LegId, cause: Cause, now: float) -> None:
        """End a leg. Raises: NoSuchLeg."""
        self.legs.hang_up(leg, cause, now)

    def run(self, now: float) -> None:
        """Do all that is due."""
        self.network.run(now)

    def put(self, leg: LegId, number: str, state: CallState, now: float) -> None:
        """Let a call be in a state, over a perfect network, whatever its far end would do."""
        self.network.conditions = PERFECT
        self.far_ends.put_into = state
        self._place(leg, number, FAR, now)
        self.network.pump(now)
        self.far_ends.put_into = None
        self.network.conditions = self.conditions

    def record(self, leg: LegId) -> bytes | None:
        """What `restore` needs of a leg that was answered; the rest follows from its number."""
        dialog = self.legs.dialog_of(leg)
        if dialog is None:
            return None
        name = dialog.id
        return orjson.dumps(
            [name.local_tag, name.remote_tag, dialog.local_cseq, dialog.remote_cseq]
        )

    def restore(self, leg: KnownLeg, now: float) -> None:
        """
        Let an answered call be as it was before a restart, at both ends, once somebody touches it.

        Raises:
            ValueError, TypeError: its record is not what `record` gave.
        """
        _read_record(leg)
        if self.directory.find(leg.number).hang_up_after is None:
            self.legs.rest(leg)
        else:  # a far end that does something by itself does not wait to be touched
            self.far_ends.hang_up_later(self._restore(leg), leg.age, now)

    def _restore(self, known: KnownLeg) -> Session:
        """Make both ends; gives the far one."""
        local_tag, remote_tag, local_cseq, remote_cseq = _read_record(known)
        leg, number = known.leg, known.number
        local = f"<{OUR_URI}>;tag={local_tag}"
        remote = f"<{_uri_of(number, FAR)}>;tag={remote_tag}"
        ours, theirs = DialogId(leg, local_tag, remote_tag), DialogId(leg, remote_tag, local_tag)
        dialog = Dialog.restored(
            ours,
            local,
            remote,
            FAR,
            self.endpoint,
            target=FAR_CONTACT,
            local_cseq=local_cseq,
            remote_cseq=remote_cseq,
        )
        self.legs.adopt(leg, self.endpoint.restore(dialog, body=OFFER))
        mirrored = Dialog.restored(
            theirs,
            remote,
            local,
            OURS,
            self.far_ends.endpoint,
            target=OUR_CONTACT,
            local_cseq=max(remote_cseq, 0),
            remote_cseq=local_cseq,
        )
        return self.far_ends.restore(mirrored, number)

    # -- an end of the network: the endpoint, and after each step what it has to tell

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
