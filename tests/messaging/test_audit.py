"""Each request that ends or places a call has one audit line: user, operation, call, outcome."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import (
    BOB,
    FAKE_NUMBERS,
    ControlRoom,
    MemoryUsers,
    RecordingDelivery,
)
from tests.http.fuzz import ADDRESS
from tests.http.helpers import request
from tests.soap.test_contract import disconnect, envelope
from umd.call.principal import Principal, Scope
from umd.control.bulk_end import CountChanged
from umd.http.authentication import Authenticator
from umd.http.front import Front
from umd.http.rules import Rules
from umd.http.tokens import TokenVerifier
from umd.management.console import Console
from umd.messaging.service import SoapService
from umd.messaging.use_cases import UseCases
from umd.soap.namespaces import MESSAGES
from umd.trace.capture import Capture

KEYS = {"request_id", "principal", "address", "outcome"}


class AuditCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.room = ControlRoom()
        self.control = self.room.control
        self.successResultOf(ensureDeferred(self.control.start()))

    def audit(self) -> dict[str, Any]:
        """Return the audit line; there must be exactly one."""
        lines, self.room.lines[:] = self.room.lines[:], []
        (line,) = [line for line in lines if KEYS <= line.keys()]
        return dict(line)


class RequestTests(AuditCase):
    def setUp(self) -> None:
        super().setUp()
        use_cases = UseCases(
            self.control, users=MemoryUsers(), plan=FAKE_NUMBERS, pins=RecordingDelivery()
        )
        service = SoapService(use_cases, self.room.log, self.room.clock.seconds)
        self.front = Front(self.serve, self.room.clock, self.room.log)
        self.service = service
        self.who = Principal("alice", "192.0.2.1")
        self.call = self.control.place(self.who, "answers")
        self.room.lines.clear()

    def serve(self, asked: Any) -> Any:
        asked.principal = self.who
        return self.service.serve(asked)

    def send(self, octets: bytes) -> StringTransport:
        self.channel = self.front.buildProtocol(ADDRESS)
        transport = StringTransport()
        self.channel.makeConnection(transport)
        self.channel.dataReceived(octets)
        return transport

    def ask(self, body: str, *headers: str) -> dict[str, Any]:
        """Return the audit line of a request, found by the request id of the reply."""
        octets = request(
            "Content-Type: text/xml", *headers, target="/EWS/UM2007Legacy.asmx", body=body.encode()
        )
        transport = self.send(octets)
        self.room.clock.pump([0.1] * 10)
        line = self.audit()
        told = f"X-UMD-Request: {line['request_id']}\r\n".encode()
        self.assertIn(told, transport.value())
        return line

    def told(self, line: dict[str, Any]) -> tuple[Any, ...]:
        keys = ("event", "principal", "address", "operation", "call", "outcome")
        return tuple(line.get(key) for key in keys)

    def test_a_request_that_succeeds(self) -> None:
        address = self.who.address
        for outcome in ("ended", "already-ended"):
            self.assertEqual(
                self.told(self.ask(disconnect(self.call.id))),
                ("soap.answered", "alice", address, "Disconnect", self.call.id, outcome),
            )
        line = self.ask(disconnect("unknown"))
        self.assertEqual((line["call"], line["outcome"]), ("unknown", "unknown"))

    def test_a_call_of_another_user(self) -> None:
        """The client gets "no such call"; the log has "forbidden"."""
        self.who = Principal("bob", "192.0.2.1", frozenset({Scope.END_OWN}))
        inform = disconnect(self.call.id).replace("Disconnect", "GetCallInfo")
        for body in (disconnect(self.call.id), inform):
            line = self.ask(body)
            told = line["principal"], line["call"], line["outcome"]
            self.assertEqual(told, ("bob", self.call.id, "forbidden"))
        self.assertFalse(self.call.ended)

    def test_a_missing_scope(self) -> None:
        self.who = Principal("bob", "192.0.2.1", frozenset())
        place = (
            "<PlayOnPhone xmlns='{ns}'><entryId>AAAA</entryId>"
            "<DialString>1</DialString></PlayOnPhone>"
        )
        for body, operation in (
            (self.operation(place), "PlayOnPhone"),
            (self.operation("<GetUMProperties xmlns='{ns}'/>"), "GetUMProperties"),
            (self.operation("<ResetPIN xmlns='{ns}'/>"), "ResetPIN"),
        ):
            line = self.ask(body)
            told = line["principal"], line["operation"], line["outcome"]
            self.assertEqual(told, ("bob", operation, "forbidden"))

    def operation(self, element: str) -> str:
        return envelope(element.format(ns=MESSAGES))

    def test_a_request_that_fails(self) -> None:
        line = self.ask(disconnect("x" * 300))
        self.assertEqual((line["outcome"], line["call"]), ("unknown", "x" * 200))
        self.room.fake.reachable = False
        line = self.ask(disconnect(self.call.id))
        self.assertEqual((line["outcome"], line["call"]), ("backend-unavailable", self.call.id))

    def test_a_client_that_disconnects_before_the_reply(self) -> None:
        call = self.control.place(self.who, "silent")
        self.room.lines.clear()
        octets = request(
            "Content-Type: text/xml",
            target="/EWS/UM2007Legacy.asmx",
            body=disconnect(call.id).encode(),
        )
        self.send(octets)
        self.channel.connectionLost(Failure(ConnectionDone()))
        line = self.audit()
        self.assertEqual((line["call"], line["outcome"]), (call.id, "client-gone"))

    def test_a_failed_login(self) -> None:
        rules = Rules(tokens=TokenVerifier(b"x" * 32, ["HS256"], "umd", "i"))
        authenticator = Authenticator(rules, self.room.clock, self.room.log, self.front.state.busy)
        self.front.state.authenticator = authenticator
        line = self.ask(disconnect(self.call.id), "Authorization: Bearer x")
        self.assertEqual(
            self.told(line), ("auth.failed", "", ADDRESS.host, "authenticate", None, "denied")
        )
        self.assertFalse(self.call.ended)
        authenticator.stop()


class ConsoleTests(AuditCase):
    def setUp(self) -> None:
        super().setUp()
        self.call = self.control.place(BOB, "answers")
        self.console = Console(
            self.control, Capture(0, lambda: 0.0), lambda: 0.0, self.breathe, log=self.room.log
        )

    async def breathe(self) -> None:
        """The directory has no other users."""

    def ask(self, **fields: str) -> tuple[Any, ...]:
        self.room.lines.clear()

        async def all_of(replies: AsyncGenerator[Any, None]) -> None:
            async with aclosing(replies):
                async for _ in replies:
                    pass

        asked = ensureDeferred(all_of(self.console.answer(json.dumps(fields).encode())))
        self.room.clock.advance(10.0)
        _ = asked.addErrback(lambda failure: None)
        self.assertTrue(asked.called)
        self.line = self.audit()
        keys = ("event", "principal", "operation", "call", "outcome")
        return tuple(self.line.get(key) for key in keys)

    def test_requests_of_operators(self) -> None:
        for outcome in ("ended", "already-ended"):
            self.assertEqual(
                self.ask(request="end", call=self.call.leg),
                ("control.answered", "operator", "end", self.call.id, outcome),
            )
        self.assertEqual(
            self.ask(request="end", call="nothing"),
            ("control.answered", "operator", "end", None, "no-such-call"),
        )
        told = self.ask(request="place", number="answers")
        self.assertEqual(told[:3] + told[4:], ("control.answered", "operator", "place", "ok"))
        told = self.ask(request="place", number="1", backend="none")
        self.assertEqual(told[4], "bad-request")

    def test_the_renewal_of_leases(self) -> None:
        """The line has the label and how many leases were renewed."""
        self.control.place(BOB, "answers", labels=["ci"], lease=300.0)
        for label, outcome, renewed in (("ci", "ok", 1), ("nothing", "no-such-call", 0)):
            self.assertEqual(self.ask(request="lease-renew", label=label)[4], outcome)
            self.assertEqual((self.line["label"], self.line["renewed"]), (label, renewed))

    def test_the_end_of_many_calls(self) -> None:
        """The line has the selectors and the counts, also if the client leaves."""
        self.successResultOf(self.end_many(expect=1))
        line = self.audit()
        self.assertEqual(
            (line["operation"], line["outcome"], line["selectors"]),
            ("end-many", "ok", {"owner": "bob"}),
        )
        counts = {key: line[key] for key in ("selected", "begun", "ended", "failed")}
        self.assertEqual(counts, {"selected": 1, "begun": 1, "ended": 1, "failed": 0})
        self.failureResultOf(self.end_many(expect=1), CountChanged)
        line = self.audit()
        self.assertEqual(line["outcome"], "count-changed")
        self.assertIn("0 calls are selected now, not 1", line["why"])

    def test_a_client_that_leaves_during_the_end_of_many_calls(self) -> None:
        """The call whose end has begun ends, and no other."""
        calls = [self.call, *(self.control.place(BOB, "silent") for _ in range(3))]
        leaving = self.end_many(expect=4, rate=0.1)
        self.room.clock.advance(10.0)
        self.room.lines.clear()
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        line = self.audit()
        self.assertEqual(
            (line["outcome"], line["selected"], line["begun"], line["ended"]),
            ("client-gone", 4, 2, 1),
        )
        self.room.clock.advance(60.0)
        self.assertEqual([call.ended for call in calls], [True, True, False, False])

    def end_many(self, **fields: float) -> Deferred[None]:
        async def read_all(replies: AsyncGenerator[Any, None]) -> None:
            async with aclosing(replies):
                async for _ in replies:
                    pass

        request = {"request": "end-many", "owner": "bob", "max": 9, **fields}
        self.room.lines.clear()
        return ensureDeferred(read_all(self.console.answer(json.dumps(request).encode())))
