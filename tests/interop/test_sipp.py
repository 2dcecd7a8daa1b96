"""
umd calls SIPp and is called by SIPp, over UDP on loopback.

`UMD_INTEROP=long` runs the test of the callee that is silent to BYE with the T1 of RFC 3261, which
takes 32 s. The long form of the load test is `python -m tests.interop.sipp_load`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import structlog
from structlog.testing import CapturingLogger
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from tests.helpers import ALICE, capturing_log
from tests.interop import sipp_load
from tests.interop.sipp import LOOPBACK, Sipp, SippFailed, Traced, free_port, need_sipp
from tests.sip.schedules import request_schedule
from tests.soap.test_contract import disconnect
from umd.backend import CarriesMedia, FollowsPbx
from umd.backends.sim.directory import Directory
from umd.backends.sim.far_ends import FarEnds
from umd.backends.sim.section import Behaviour
from umd.backends.sip import SipBackend
from umd.backends.sip.udp import UdpPort
from umd.call.call import Call
from umd.config import load
from umd.daemon.daemon import Daemon
from umd.sip import sdp
from umd.sip.timing import Timing
from umd.sip.transaction import Hop
from umd.testing import RealTimeContract

reactor: Any = the_reactor
LONG = os.environ.get("UMD_INTEROP") == "long"


class LogLines:
    """A structlog processor that keeps the lines; a test can wait for a line."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self._waiting: list[tuple[dict[str, Any], Deferred[dict[str, Any]]]] = []

    def __call__(self, logger: object, level: str, line: Any) -> Any:
        self.seen.append({"level": level, **line})
        for waiter in self._waiting[:]:
            if waiter[0].items() <= line.items():
                self._waiting.remove(waiter)
                # Later, because the code that logs must not run the test.
                reactor.callLater(0, waiter[1].callback, line)
        raise structlog.DropEvent

    def of(self, event: str, **keys: Any) -> list[dict[str, Any]]:
        """Return the lines so far with this event and these keys."""
        wanted = {"event": event, **keys}
        return [line for line in self.seen if wanted.items() <= line.items()]

    async def wait_for(self, event: str, **keys: Any) -> dict[str, Any]:
        """Wait for the first line with this event and these keys."""
        for line in self.of(event, **keys):
            return line
        waiter: Deferred[dict[str, Any]] = Deferred()
        self._waiting.append(({"event": event, **keys}, waiter))
        return await waiter


class SippCase(TestCase):
    """Starts SIPp, and ends it after the test."""

    def setUp(self) -> None:
        need_sipp()

    async def sipp(self, scenario: str, *arguments: str, **keywords: Any) -> Sipp:
        sipp = Sipp(reactor, self.mktemp(), scenario, *arguments, **keywords)
        self.addCleanup(lambda: Deferred.fromCoroutine(sipp.stop()))
        await sipp.start()
        return sipp


class DaemonCase(SippCase):
    """Runs the daemon in this process, with SIPp as the peer of its backend."""

    async def serve(self, sipp: Sipp, *, deadline: str = "1s", **keys: str) -> None:
        """Start the daemon with a `call.deadline` and keys of the backend's section."""
        self.lines = LogLines()
        structlog.configure(processors=[self.lines])
        self.addCleanup(structlog.reset_defaults)
        log = structlog.wrap_logger(CapturingLogger(), processors=[self.lines]).bind()
        file = Path(self.mktemp())
        extra = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
        file.write_text(
            'node = "lab"\n'
            '[http]\nlisten = "tcp:0:interface=127.0.0.1"\n'
            f'[call]\ndeadline = "{deadline}"\n'
            '[drain]\ndeadline = "10ms"\n'
            '[control]\nsocket = "none"\n'
            '[backend.pbx]\ntype = "sip"\nlisten = "udp:127.0.0.1:0"\n'
            f'peer = "udp:127.0.0.1:{sipp.port}"\n{extra}'
        )
        self.daemon = Daemon(load(str(file)), reactor, log)
        await self.daemon.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.daemon.stop()))
        backend = self.daemon.control.links["pbx"].backend
        assert isinstance(backend, SipBackend) and backend.port is not None
        self.backend, self.port = backend, backend.port

    def place(self, number: str = "phone") -> Call:
        return self.daemon.control.place(ALICE, number)

    async def disconnect(self, call: Call) -> tuple[int, str | None]:
        """Send a Disconnect by SOAP; return the HTTP status and the outcome."""
        host = self.daemon.ports[0].getHost()
        assert hasattr(host, "port")
        url = f"http://{LOOPBACK}:{host.port}/EWS/UM2007Legacy.asmx"
        body = disconnect(call.id).encode()
        request = Request(url, body, {"Content-Type": "text/xml; charset=utf-8"})
        return await deferToThread(_answer_to, request)

    async def end_of(self, call: Call) -> dict[str, Any]:
        """Wait for the end event of a call; it is the only one, and no error is logged."""
        last = await self.lines.wait_for("call.disconnected", call=call.id)
        self.assertEqual(len(self.lines.of("call.disconnected", call=call.id)), 1)
        self.assertEqual([line for line in self.lines.seen if line["level"] == "error"], [])
        return last


def _answer_to(request: Request) -> tuple[int, str | None]:
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers["X-UMD-Outcome"]
    except HTTPError as error:
        with error:
            return error.code, error.headers["X-UMD-Outcome"]


def outcome_of(end: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(end[key] for key in ("outcome", "by", "sip_status", "cause"))


class PlacedTests(DaemonCase):
    async def test_answered_then_ended_by_soap(self) -> None:
        """umd sends one BYE with the cause, and replies after the 200."""
        sipp = await self.sipp("uas-answer", "-d", "100", calls=1)
        await self.serve(sipp)
        call = self.place()
        await self.lines.wait_for("call.connected", call=call.id)
        self.assertEqual(await self.disconnect(call), (200, "ended"))
        self.assertEqual(outcome_of(await self.end_of(call)), ("ended", "client", 200, 16))
        await sipp.finish()
        records = [(line.message, line.call_id, line.rest) for line in sipp.log()]
        self.assertEqual(
            records,
            [
                ("INVITE", call.leg, ""),
                ("ACKED", call.leg, ""),
                ("BYE", call.leg, "reason= Q.850;cause=16"),
            ],
        )
        self.assertEqual(await self.disconnect(call), (200, "already-ended"))

    async def test_cancelled_while_it_rings(self) -> None:
        sipp = await self.sipp("uas-ring", calls=1)
        await self.serve(sipp)
        call = self.place()
        await self.lines.wait_for("call.alerting", call=call.id)
        self.assertEqual(await self.disconnect(call), (200, "ended"))
        self.assertEqual(outcome_of(await self.end_of(call)), ("ended", "client", 487, 16))
        await sipp.finish()
        self.assertEqual([line.message for line in sipp.log()], ["INVITE", "CANCEL"])

    async def test_rejected(self) -> None:
        sipp = await self.sipp("uas-reject", calls=1)
        await self.serve(sipp)
        call = self.place()
        self.assertEqual(outcome_of(await self.end_of(call)), ("ended", "far-end", 486, 17))
        self.assertEqual(await self.disconnect(call), (200, "already-ended"))
        await sipp.finish()

    async def test_the_far_end_hangs_up(self) -> None:
        sipp = await self.sipp("uas-hangup", "-d", "100", calls=1)
        await self.serve(sipp)
        call = self.place()
        await self.lines.wait_for("call.connected", call=call.id)
        self.assertEqual(outcome_of(await self.end_of(call)), ("ended", "far-end", None, 16))
        await sipp.finish()
        self.assertEqual([line.message for line in sipp.log()], ["INVITE", "ACKED", "HANGUP"])

    async def test_a_callee_that_is_mute_to_bye(self) -> None:
        """
        The reply comes at the deadline; umd repeats BYE for 64*T1, then the call has ended.

        T1 is a fifth of its default, unless UMD_INTEROP=long. No BYE may come early; on a busy
        machine it may come late.
        """
        t1 = 0.5 if LONG else 0.1
        sipp = await self.sipp("uas-mute-bye", "-default_behaviors", "none")
        await self.serve(sipp, t1=f"{round(t1 * 1000)}ms")
        call = self.place()
        await self.lines.wait_for("call.connected", call=call.id)
        self.assertEqual(await self.disconnect(call), (200, "ended-unconfirmed"))
        self.assertEqual(self.lines.of("call.disconnected"), [])
        (found,) = await self.backend.legs()
        self.assertEqual(found.leg, call.leg)
        end = await self.end_of(call)
        self.assertEqual(outcome_of(end), ("ended-unconfirmed", "client", 408, 102))
        self.assertEqual(await self.backend.legs(), [])
        byes = [message for message in sipp.messages() if message.start.startswith("BYE ")]
        self.assert_on_schedule(byes, request_schedule(Timing(t1=t1)))
        (answer,) = [line for line in sipp.log() if line.message == "BYE"]
        self.assertEqual(answer.call_id, call.leg)

    def assert_on_schedule(self, sent: list[Traced], schedule: tuple[float, ...]) -> None:
        offsets = [(message.at - sent[0].at).total_seconds() for message in sent[1:]]
        print("BYE again after", " ".join(f"{offset:.3f}" for offset in offsets), "s")
        self.assertEqual({message.text for message in sent}, {sent[0].text})
        self.assertTrue(len(schedule) - 2 <= len(offsets) <= len(schedule), offsets)
        for offset, due in zip(offsets, schedule):
            self.assertGreater(offset, due - 0.05)

    async def test_a_closed_port(self) -> None:
        """A closed port is like a silent far end; umd can still use its own port."""
        sipp = await self.sipp("uas-answer", calls=1)
        await self.serve(sipp, t1="10ms")
        await sipp.stop()
        call = self.place()
        self.assertEqual(
            outcome_of(await self.end_of(call)), ("ended-unconfirmed", "daemon", 408, 102)
        )
        self.assertEqual(self.port.counts.failed, 0)

    async def test_lost_datagrams_do_not_matter(self) -> None:
        """The first copy of each datagram is lost, in both directions."""
        sipp = await self.sipp("uas-load")
        await self.serve(sipp, deadline="30s")
        seen: set[bytes] = set()
        lost: list[bytes] = []

        def first_time(data: bytes) -> bool:
            if data in seen:
                return False
            seen.add(data)
            lost.append(data)
            return True

        receive, port = self.port.datagramReceived, self.port._port
        send = port.write
        self.patch(
            self.port,
            "datagramReceived",
            lambda data, address: first_time(data) or receive(data, address),
        )
        self.patch(port, "write", lambda data, address: first_time(data) or send(data, address))
        call = self.place()
        await self.lines.wait_for("call.connected", call=call.id)
        self.assertEqual(await self.disconnect(call), (200, "ended"))
        self.assertEqual(outcome_of(await self.end_of(call)), ("ended", "client", 200, 16))
        words = [" ".join(data.decode().split(" ")[:2]).split(" sip:")[0] for data in lost]
        self.assertEqual(
            sorted(words),
            sorted(["INVITE", "SIP/2.0 180", "SIP/2.0 200", "ACK", "BYE", "SIP/2.0 200"]),
        )


class IncomingTests(DaemonCase):
    async def test_umd_takes_no_calls(self) -> None:
        sipp = await self.sipp("uas-answer")
        await self.serve(sipp)
        target = f"{LOOPBACK}:{self.port.address.port}"
        caller = await self.sipp("uac-ring", target, "-s", "umd", calls=1)
        await caller.finish()
        self.assertEqual([line.message for line in caller.log()], ["FINAL-480"])
        (line,) = self.lines.of("sip.call-refused")
        self.assertEqual(line["backend"], "pbx")


class NeedTests(SynchronousTestCase):
    def test_without_sipp(self) -> None:
        """The reason of the skip says what to install; with CI=true the test fails."""
        environ = {"PATH": "", "CI": ""}
        self.patch(os, "environ", environ)
        with self.assertRaisesRegex(SkipTest, "apt-get install sip-tester"):
            need_sipp()
        environ["CI"] = "true"
        with self.assertRaisesRegex(SippFailed, "apt-get install sip-tester"):
            need_sipp()


class UasTests(SippCase):
    """The far ends of the simulator on a UDP port, called by SIPp."""

    async def test_called_by_sipp(self) -> None:
        """A hundred calls are answered after 50 ms and ended by the caller; none fails."""
        answers = Behaviour.model_validate({"ring_after": "1ms", "answer_after": "50ms"})
        ids = iter(f"uas{number}" for number in range(1_000_000))
        port = UdpPort(reactor, capturing_log()[0])
        self.addCleanup(lambda: Deferred.fromCoroutine(port.close()))
        address = port.listen(LOOPBACK, 0)
        # SIPp fails if a retransmitted 200 arrives after its BYE. On a busy machine that happens
        # with the default T1.
        far_ends = FarEnds(
            Hop(LOOPBACK, address.port),
            ids.__next__,
            Random(1),
            Directory({"5550100": answers}),
            sdp.offer(address=LOOPBACK, port=9, session_id=1).encode(),
            Timing(t1=4.0),
        )
        port.serve(far_ends)
        target = f"{LOOPBACK}:{address.port}"
        options = ("-s", "5550100", "-d", "100", "-r", "100", "-l", "50")
        sipp = await self.sipp("-sn uac", target, *options, calls=100)
        await sipp.finish()
        records = sipp.statistics()
        self.assertEqual((records["SuccessfulCall"], records["FailedCall"]), (100, 0))
        self.assertEqual(far_ends.endpoint.dialogs, 0)


class LoadTests(SippCase):
    """The short form of `python -m tests.interop.sipp_load`."""

    async def run_load(self, **keywords: Any) -> None:
        structlog.configure(processors=[LogLines()])
        self.addCleanup(structlog.reset_defaults)
        figures = await sipp_load.run(reactor, self.mktemp(), **keywords)
        print(figures)
        self.assertEqual((figures.failed, figures.failed_there), (0, 0), figures)

    async def test_answered_and_ended_by_bye(self) -> None:
        await self.run_load(calls=500, at_once=50)

    async def test_cancelled_while_ringing(self) -> None:
        await self.run_load(calls=100, at_once=50, cancel=True)


class SipBackendOverUdpTests(RealTimeContract, TestCase):
    """The backend `sip` passes the contract of backends over UDP, with SIPp as its far ends."""

    backend_type = "sip"
    number_that_answers = "answers"
    number_that_rings = "rings"
    number_that_rejects = "rejects"
    number_that_hangs_up = "hangs-up"
    number_silent_to_bye = "silent"
    not_offered = (CarriesMedia, FollowsPbx)
    odd_numbers = ()  # SIPp has a far end for few numbers, and ignores the others
    quiet = 0.3
    step = 0.01

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        need_sipp()
        structlog.configure(processors=[LogLines()])
        self.addCleanup(structlog.reset_defaults)
        self.far = Sipp(reactor, self.mktemp(), "uas-by-number", "-default_behaviors", "none")
        self.addCleanup(lambda: Deferred.fromCoroutine(self.far.stop()))
        await self.far.start()
        # After a restart of umd, SIPp still answers to the port that the INVITE came from.
        # With this T1 the backend gives up after 64*T1 = 1.3 s, which is longer than `quiet`.
        self.section = {
            "listen": f"udp:127.0.0.1:{free_port()}",
            "peer": f"udp:127.0.0.1:{self.far.port}",
            "t1": "20ms",
        }
        await super().setUp()


class ContractCommandTests(SippCase):
    """`umd backend-contract` tests a backend against a real peer, in real time."""

    async def test_a_peer_of_the_operator(self) -> None:
        sipp = await self.sipp("uas-by-number", "-default_behaviors", "none")
        rows = await self.matrix(
            *("-o", f"peer=udp:127.0.0.1:{sipp.port}", "-o", f"listen=udp:127.0.0.1:{free_port()}"),
            *("--number", "answers=answers", "--number", "rejects=rejects"),
            *("--only", "place.rejected", "--only", "end.talking", "--only", "place.rings"),
        )
        self.assertEqual(
            rows,
            {
                "place.rings": "not-offered",
                "place.rejected": "pass",
                "place.rejected-cause": "pass",
                "end.talking": "pass",
            },
        )

    async def test_a_number_that_does_something_else(self) -> None:
        """A behaviour fails if the far end does not do what `--number` says."""
        sipp = await self.sipp("uas-by-number", "-default_behaviors", "none")
        rows = await self.matrix(
            *("-o", f"peer=udp:127.0.0.1:{sipp.port}", "-o", f"listen=udp:127.0.0.1:{free_port()}"),
            *("--number", "rings=answers", "--only", "place.rings"),
        )
        self.assertEqual(rows, {"place.rings": "fail"})

    async def matrix(self, *arguments: str) -> dict[str, str]:
        """Run the command; return the result of each behaviour by its id."""
        command = [sys.executable, "-m", "umd", "backend-contract", "sip", "--json", *arguments]
        ran = await deferToThread(subprocess.run, command, capture_output=True, timeout=60)
        rows = [json.loads(line) for line in ran.stdout.splitlines()]
        results = {row["id"]: row["result"] for row in rows}
        self.assertEqual(ran.returncode, int("fail" in results.values()), ran.stderr)
        return results
