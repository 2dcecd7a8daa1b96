"""The witness with real PBXs: Asterisk and Kamailio send umd copies of their SIP messages."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.helpers import ALICE, capturing_log
from tests.interop.peers.asterisk import Asterisk
from tests.interop.peers.kamailio import Kamailio
from tests.interop.peers.process import (
    LOOPBACK,
    PATIENCE,
    answers_options,
    free_ports,
    wait_until,
)
from tests.interop.test_truth import RINGS, TALKS, TruthCase
from tests.interop.trunk import Trunk
from umd.backend import Ended, FoundLeg, LegBackend, LegId, LegSink, Proof
from umd.call.call import CallState
from umd.call.cause import Cause
from umd.config import Section, load
from umd.control.control import Control
from umd.control.journal import NullJournal
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.daemon.hep import Hep
from umd.trace.capture import Capture, sip_call_id
from umd.trace.proof import ShownDown
from umd.trace.view import WireState

MUTE: Final = "< INVITE\n> 180 INVITE\n> 200 INVITE\n< ACK\n< BYE\n pause 600000"


class HepCase(TruthCase):
    """Runs a umd that listens for HEP."""

    def setUp(self) -> None:
        (self.hep_port,) = free_ports(1)

    def section(self, *, password: str) -> str:
        file = Path(self.mktemp()).absolute()
        file.write_text(f"{password}\n")
        listen = f'listen = "udp:{LOOPBACK}:{self.hep_port}"'
        return f'[hep]\n{listen}\npassword_file = "{file}"\n'

    def asterisk(self) -> Asterisk:
        directory = tempfile.mkdtemp(prefix="umd-asterisk-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        return self.started(Asterisk(directory, hep_port=self.hep_port))

    def followed(self, trunk: Trunk) -> dict[str, int]:
        status = trunk.status()
        return {name: status[name] for name in ("witness_calls", "witness_calls_live")}

    def wait_for(self, trunk: Trunk, **expected: int) -> None:
        wait_until(lambda: self.followed(trunk) == expected, f"{expected} in umd status")


class FollowedCallsTests(HepCase):
    def test_both_legs_of_a_call_through_asterisk(self) -> None:
        """Also the leg that Asterisk has begun is followed, to the answer to its BYE."""
        far, asterisk = self.far_end(TALKS), self.asterisk()
        trunk = self.trunk(asterisk.port, sections=self.section(password="secret"))
        call = self.connected(trunk, f"dial-{far.port}")
        self.wait_for(trunk, witness_calls=2, witness_calls_live=2)
        trunk.disconnect(call)
        self.wait_for(trunk, witness_calls=2, witness_calls_live=0)
        status = trunk.status()
        self.assertEqual((status["hep_refused"], status["witness_malformed"]), (0, 0))
        self.assertEqual(status["hep_packets"], status["hep_messages"])

    def test_a_leg_whose_far_end_is_silent(self) -> None:
        """Asterisk has forgotten the leg; the witness shows that its BYE is unanswered."""
        far, asterisk = self.far_end(MUTE), self.asterisk()
        trunk = self.trunk(asterisk.port, sections=self.section(password="secret"))
        call = self.connected(trunk, f"dial-{far.port}")
        self.wait_for(trunk, witness_calls=2, witness_calls_live=2)
        trunk.disconnect(call)
        asterisk.wait_for_channels(0)
        self.wait_for(trunk, witness_calls=2, witness_calls_live=1)

    def test_a_wrong_password_is_refused(self) -> None:
        asterisk = self.asterisk()
        trunk = self.trunk(asterisk.port, sections=self.section(password="another"))
        trunk.disconnect(self.connected(trunk, "answer"))
        wait_until(lambda: trunk.status()["hep_refused"] > 0, "a refused packet")
        self.assertEqual(trunk.status()["witness_calls"], 0)
        self.assertRegex(trunk.status()["hep_refused_by_reason"], "^password [0-9]+$")

    def test_a_call_through_kamailio(self) -> None:
        """Both hops of a proxy have one Call-ID, and are one call."""
        far = self.far_end(TALKS)
        kamailio = self.started(Kamailio(self.mktemp(), hep_port=self.hep_port))
        trunk = self.trunk(kamailio.port, sections=self.section(password="secret"))
        call = self.connected(trunk, f"sip:callee@{LOOPBACK}:{far.port}")
        self.wait_for(trunk, witness_calls=1, witness_calls_live=1)
        trunk.disconnect(call)
        self.wait_for(trunk, witness_calls=1, witness_calls_live=0)

    def test_umd_sends_its_own_messages(self) -> None:
        """Another umd receives them as a collector does, over UDP and over TCP."""
        far = self.far_end(TALKS)
        for transport in ("udp", "tcp"):
            address = f"{transport}:{LOOPBACK}:{self.hep_port}"
            collector = self.trunk(far.port, sections=f'[hep]\nlisten = "{address}"\n')
            trunk = self.trunk(far.port, sections=f'[hep]\nsend = "{address}"\n')
            if transport == "tcp":
                wait_until(lambda: collector.status()["hep_connections"] == 1, "a connection")
            trunk.disconnect(self.connected(trunk, "100"))
            self.wait_for(collector, witness_calls=1, witness_calls_live=0)
            sent = trunk.status()["hep_sent"]
            wait_until(lambda: collector.status()["hep_messages"] == sent, "all messages")
            self.assertGreaterEqual(sent, 6)
            self.assertEqual(trunk.status()["hep_send_dropped"], 0)
            trunk.umd.stop()
            collector.umd.stop()


HANGS_UP: Final = "< INVITE\n> 180 INVITE\n> 200 INVITE\n< ACK\npause 200\n>> BYE\n< 200"
REFUSES: Final = "< INVITE\n> 486 INVITE\n< ACK"
GIVEN_UP: Final = RINGS.replace("> 487 INVITE", "> 487 INVITE alien")
REFUSES_BYE: Final = TALKS.replace("> 200 BYE", "> 408 BYE")


class JudgedEndingsTests(HepCase, TestCase):
    """What the witness makes of a leg from Asterisk to a telephone, by how it ends."""

    async def judged(self, script: str, *, answered: bool, ends_it: bool = True) -> bool:
        """Let a leg end, and return whether its end is proven."""
        far, asterisk = self.far_end(script), self.asterisk()
        trunk = self.trunk(asterisk.port)
        file = Path(self.mktemp())
        file.write_text(self.section(password="secret"))
        log, _ = capturing_log()
        capture = Capture(10, time.time)
        hep = Hep(
            load(str(file)), reactor, log, capture, None, lambda name: name.startswith("ready-")
        )
        hep.open()
        self.addCleanup(hep.close)
        number = f"dial-{far.port}"
        if ends_it:
            call = self.connected(trunk, number) if answered else self.ringing(trunk, number)
            trunk.disconnect(call)
        else:
            trunk.wait_for("call.disconnected", trunk.place(number))
        asterisk.wait_for_channels(0)
        call_id = far.log()[0].call_id
        witness = hep.witness
        assert witness is not None

        def has_ended() -> bool:
            view = witness.call(call_id)
            return view is not None and view.state is WireState.ENDED

        await self.wait_in_reactor(has_ended)
        # Copies arrive in their order: with that of an OPTIONS, all earlier ones are there.
        answers_options(asterisk.port)
        await self.wait_in_reactor(lambda: bool(capture.messages()))
        proofs: list[ShownDown] = []
        now = IReactorTime(reactor).seconds()
        witness.watch(call_id, (), since=time.time(), now=now, then=proofs.append)
        return bool(proofs)

    async def wait_in_reactor(self, condition: Callable[[], bool]) -> None:
        """Let the reactor read until a condition is true."""
        clock = IReactorTime(reactor)
        until = clock.seconds() + PATIENCE
        while not condition():
            self.assertLess(clock.seconds(), until)
            await deferLater(clock, 0.02)

    async def test_a_ringing_telephone_is_cancelled(self) -> None:
        """Its own 487 has the tag of its 180."""
        self.assertTrue(await self.judged(RINGS, answered=False))

    async def test_a_proxy_gives_up_a_ringing_telephone(self) -> None:
        """A 487 with another tag is not the telephone's, which may ring on."""
        self.assertFalse(await self.judged(GIVEN_UP, answered=False))

    async def test_the_telephone_hangs_up(self) -> None:
        self.assertTrue(await self.judged(HANGS_UP, answered=True, ends_it=False))

    async def test_the_telephone_refuses(self) -> None:
        self.assertTrue(await self.judged(REFUSES, answered=False, ends_it=False))

    async def test_a_bye_is_refused(self) -> None:
        """A 408 comes from a proxy that did not reach the telephone."""
        self.assertFalse(await self.judged(REFUSES_BYE, answered=True))


class OneLeg(LegBackend):
    """The leg that Asterisk has to a far end, ended at its console; only its word is reported."""

    Settings = Section

    def __init__(self, asterisk: Asterisk) -> None:
        self._asterisk = asterisk
        self.sink: LegSink | None = None

    async def start(self, sink: LegSink) -> None:
        self.sink = sink

    async def stop(self) -> None:
        pass

    async def legs(self) -> list[FoundLeg]:
        return []

    def place(self, leg: LegId, number: str) -> None:
        raise NotImplementedError

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        self._asterisk.hang_up(leg)
        assert self.sink is not None
        self.sink.leg_event(Ended(leg, cause, shown_by=Proof.PBX))


class ProofTests(HepCase, TestCase):
    """umd ends a leg that Asterisk has begun, and Asterisk says at once that it has ended."""

    async def end_leg_to(self, script: str, deadline: float) -> tuple[Outcome, Proof | None, Any]:
        far, asterisk = self.far_end(script), self.asterisk()
        trunk = self.trunk(asterisk.port)
        file = Path(self.mktemp())
        file.write_text(self.section(password="secret"))
        log, _ = capturing_log()
        capture = Capture(1000, time.time)
        clock = IReactorTime(reactor)
        hep = Hep(load(str(file)), reactor, log, capture, None, lambda name: control.carries(name))
        backend = OneLeg(asterisk)
        control = Control(
            backends={"pbx": backend},
            node="lab",
            clock=clock,
            wall=time.time,
            journal=NullJournal(lambda call, event: None),
            log=log,
            settings=ControlSettings(deadline=deadline),
            witness=hep.wire_witness,
        )
        hep.open()
        self.addCleanup(hep.close)
        await control.start()
        self.connected(trunk, f"dial-{far.port}")
        wait_until(lambda: len(far.log()) >= 2, "the ACK at the far end")
        call_id = far.log()[0].call_id
        channel = self.channel_of(asterisk)
        assert backend.sink is not None
        backend.sink.leg_found(
            FoundLeg(
                leg=LegId(channel),
                state=CallState.CONNECTED,
                number="callee",
                aliases={"sip-call-id": call_id},
            )
        )
        call = control.resolve(call_id)
        outcome = await control.disconnect(ALICE, call.id, "r-1")
        shown_by = call.shown_by
        messages = [message for message in capture.messages() if sip_call_id(message[3]) == call_id]
        await control.stop()
        return outcome, shown_by, [message[3].start_line.split()[:2] for message in messages]

    def channel_of(self, asterisk: Asterisk) -> str:
        """Return the channel that Asterisk has dialled, which runs no extension of its own."""
        lines = asterisk.console("core show channels concise").splitlines()
        (channel,) = [line.split("!")[0] for line in lines if "!AppDial!" in line]
        return channel

    async def test_a_far_end_that_answers(self) -> None:
        """Its 200 on the wire confirms the end that Asterisk alone would not."""
        outcome, shown_by, messages = await self.end_leg_to(TALKS, 20.0)
        self.assertEqual((outcome, shown_by), (Outcome.ENDED, Proof.FAR_END))
        self.assertEqual(messages[0][0], "INVITE")
        self.assertEqual([message[0] for message in messages[-2:]], ["BYE", "SIP/2.0"])

    async def test_a_silent_far_end(self) -> None:
        """Nothing is confirmed, although Asterisk says that the call has ended."""
        outcome, shown_by, messages = await self.end_leg_to(MUTE, 1.5)
        self.assertEqual((outcome, shown_by), (Outcome.ENDED_UNCONFIRMED, None))
        self.assertIn("BYE", [message[0] for message in messages])
