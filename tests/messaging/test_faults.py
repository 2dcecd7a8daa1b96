"""Every row of docs/operations.md's tables, triggered over HTTP on a daemon's own port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from lxml import etree
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

from tests.helpers import FAKE_NUMBERS, RecordingDelivery, capturing_log
from tests.soap.test_contract import envelope
from umd.call.principal import ANONYMOUS, Principal
from umd.config import Section, load
from umd.config.settings import BackendSettings
from umd.control.control import Control
from umd.daemon.daemon import Daemon
from umd.messaging.prompts import Prompts
from umd.messaging.use_cases import MessagingSettings
from umd.messaging.users import Users, UsersUnusable
from umd.soap import ews, pages, um
from umd.soap.contract import CONTRACTS, Contract
from umd.soap.document import local_name
from umd.soap.namespaces import MESSAGES, TYPES
from umd.soap.operations import Family, Operation
from umd.soap.problem import Problem
from umd.soap.requests import Disconnect
from umd.testing import FakeBackend

ASKER = Principal(ANONYMOUS, "")
VALID = {
    "CallId": "<CallId>{call}</CallId>",
    "PhoneCallId": '<PhoneCallId Id="{call}"/>',
    "entryId": "<entryId>{entry}</entryId>",
    "ItemId": '<ItemId Id="{entry}"/>',
    "DialString": "<DialString>{number}</DialString>",
    "GreetingType": "<GreetingType>NormalCustom</GreetingType>",
    "status": "<status>true</status>",
    "dialString": "<dialString>{number}</dialString>",
    "base64FolderID": "<base64FolderID>{entry}</base64FolderID>",
    "ActingAs": "",
    "RequestedConfiguration": "<RequestedConfiguration><ConfigurationName>"
    "UnifiedMessagingConfiguration</ConfigurationName></RequestedConfiguration>",
}


class DaemonCase(TestCase):
    """A daemon with a fake backend, and an HTTP client."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        log, self.lines = capturing_log()
        settings = load(None, ["http.listen=tcp:0:interface=127.0.0.1", "control.socket=none"])
        fake = BackendSettings("fake", FakeBackend, Section())
        self.daemon = Daemon(settings.with_backends([fake]), reactor, log)
        await self.daemon.start()
        self.addCleanup(self.daemon.stop)
        self.delivery = RecordingDelivery()
        self.daemon.use_cases.plan = FAKE_NUMBERS
        self.daemon.use_cases.pins = self.delivery
        self.daemon.use_cases.settings = MessagingSettings(mail_domain="example.com")
        backend = self.daemon.control.links["fake"].backend
        assert isinstance(backend, FakeBackend)
        self.fake = backend
        self.pool = HTTPConnectionPool(reactor, persistent=False)
        self.addCleanup(self.pool.closeCachedConnections)

    async def post(self, contract: Contract, document: str) -> tuple[int, str, bytes]:
        """Return `(status, X-UMD-Outcome, body)`."""
        port = self.daemon.ports[0].getHost().port  # type: ignore[attr-defined]
        response: Any = await Agent(reactor, pool=self.pool).request(
            b"POST",
            f"http://127.0.0.1:{port}{contract.path}".encode(),
            Headers({"Content-Type": ["text/xml; charset=utf-8"]}),
            FileBodyProducer(BytesIO(document.encode())),
        )
        body: bytes = await readBody(response)
        return response.code, response.headers.getRawHeaders("X-UMD-Outcome")[0], body

    async def ask(
        self, contract: Contract, operation: Operation, **values: str
    ) -> tuple[int, str, str]:
        """Return `(status, X-UMD-Outcome, code)` of a valid request with these values replaced."""
        given = {"call": "x", "entry": "AA==", "number": "1", **values}
        parts = "".join(VALID[part.name] for part in operation.request).format(**given)
        body = f'<{operation.name} xmlns="{MESSAGES}">{parts}</{operation.name}>'
        status, outcome, octets = await self.post(contract, envelope(body))
        return status, outcome, code_in(octets)


def code_in(octets: bytes) -> str:
    """Return the code of a fault or of an error response."""
    for element in etree.fromstring(octets).iter():
        if local_name(element) in ("faultcode", "ResponseCode"):
            return (element.text or "").rpartition(":")[2]
    return ""


class FaultTableTests(DaemonCase):
    async def unknown_call(self, ask: Callable[..., Awaitable[Any]]) -> Any:
        return await ask(call="bm9ib2R5QGxhYg==")

    async def invalid_object(self, ask: Callable[..., Awaitable[Any]]) -> Any:
        folder = Path(self.mktemp())
        (folder / "greetings" / f"NormalCustom-{ANONYMOUS}.wav").mkdir(parents=True)
        self.daemon.use_cases.prompts = Prompts(str(folder), None)
        return await ask(entry="AAA")

    async def not_dialable(self, ask: Callable[..., Awaitable[Any]]) -> Any:
        return await ask(number="nine")

    async def not_enabled(self, ask: Callable[..., Awaitable[Any]]) -> Any:
        self.daemon.use_cases.settings = MessagingSettings(enabled=())
        return await ask()

    async def pin_not_sent(self, ask: Callable[..., Awaitable[Any]]) -> Any:
        self.delivery.refuses = True
        return await ask()

    async def settings_unavailable(self, ask: Callable[..., Awaitable[Any]]) -> Any:
        async def broken(*_: object) -> None:
            raise UsersUnusable("the test says so")

        patch = self.patch(Users, "_run", broken)
        try:
            return await ask(number="")
        finally:
            patch.restore()

    async def busy(self, ask: Callable[..., Awaitable[Any]]) -> Any:
        await self.daemon.control.drain()
        return await ask()

    async def backend_unavailable(self, ask: Callable[..., Awaitable[Any]]) -> Any:
        call = self.daemon.control.place(ASKER, "answers")
        self.fake.reachable = False
        try:
            return await ask(call=call.id)
        finally:
            self.fake.reachable = True
            assert self.fake.sink is not None
            self.fake.sink.backend_up()

    async def check_row(self, contract: Contract, operation: Operation, problem: Problem) -> None:
        trigger = getattr(self, problem.name.lower())
        answer = await trigger(lambda **values: self.ask(contract, operation, **values))
        status = 500 if contract.family is Family.UM else 200
        expected = (status, problem.value, pages.code_of(contract.family, problem))
        self.assertEqual(answer, expected, f"{operation.name}, {problem}")

    async def check_family(self, contract: Contract) -> None:
        rows = [(o, problem) for o in contract.operations.values() for problem in o.problems]
        rows.sort(key=lambda row: row[1] is Problem.BUSY)  # nothing is placed after it
        for operation, problem in rows:
            await self.check_row(contract, operation, problem)
            self.delivery.refuses = False
            self.daemon.use_cases.prompts = Prompts()
            self.daemon.use_cases.settings = MessagingSettings(mail_domain="example.com")

    async def test_um(self) -> None:
        await self.check_family(CONTRACTS[0])

    async def test_ews(self) -> None:
        await self.check_family(CONTRACTS[1])

    async def test_each_operation_succeeds(self) -> None:
        for contract in CONTRACTS:
            for operation in contract.operations.values():
                call = self.daemon.control.place(ASKER, "answers")
                status, outcome, code = await self.ask(contract, operation, call=call.id)
                self.assertEqual((status, code), (200, "NoError" if code else ""), operation.name)
                self.assertIn(outcome, ("ok", "ended"))
                self.assertEqual(call.ended, operation.request_type is Disconnect)

    async def test_faults_of_any_operation(self) -> None:
        """Every row of that table in docs/operations.md."""
        must = '<s:Header><h xmlns="urn:h" s:mustUnderstand="1"/></s:Header>'
        impersonating = (
            f'<s:Header><t:ExchangeImpersonation xmlns:t="{TYPES}"><t:ConnectingSID><t:SID>S-1'
            "</t:SID></t:ConnectingSID></t:ExchangeImpersonation></s:Header>"
        )
        version = (
            f'<s:Header><t:RequestServerVersion xmlns:t="{TYPES}" Version="x"/></s:Header>'
        )
        end = "DisconnectPhoneCall"
        end = f'<{end} xmlns="{MESSAGES}"><PhoneCallId Id="x"/></{end}>'
        invalid = Problem.INVALID_REQUEST
        unsound = ("ErrorInvalidRequest", "ErrorSchemaValidation")
        rows: list[tuple[str, tuple[str | None, str], Problem]] = [
            ("<a>", unsound, invalid),
            ("<!DOCTYPE a>" + envelope("<a/>"), unsound, invalid),
            (envelope("<a/><b/>"), unsound, invalid),
            (envelope(""), ("ErrorInvalidRequest",) * 2, invalid),
            (envelope(f'<FindItem xmlns="{MESSAGES}"/>'), ("ErrorInvalidRequest",) * 2, invalid),
            (envelope("<a/>", soap="urn:x"), ("VersionMismatch",) * 2, invalid),
            (envelope(end, header=must), ("MustUnderstand",) * 2, invalid),
            (
                envelope(end, header=version),
                (None, "ErrorInvalidServerVersion"),
                Problem.INVALID_VERSION,
            ),
            (
                envelope(end, header=impersonating),
                (None, "ErrorImpersonateUserDenied"),
                Problem.IMPERSONATION_DENIED,
            ),
        ]
        for document, codes, problem in rows:
            for contract, code in zip(CONTRACTS, codes, strict=True):
                if code is not None:
                    status, outcome, octets = await self.post(contract, document)
                    told = (status, outcome, code_in(octets))
                    self.assertEqual(told, (500, problem.value, code), document)

    async def test_an_unexpected_exception(self) -> None:
        self.patch(Control, "place", lambda *_, **__: 1 / 0)
        for contract in CONTRACTS:
            operation = contract.operations["PlayOnPhone"]
            told = await self.ask(contract, operation)
            self.assertEqual(told, (500, "internal-error", "ErrorInternalServerError"))
        self.assertIn("soap.failed", [line["event"] for line in self.lines])

    def test_every_problem_has_a_response(self) -> None:
        for contract in CONTRACTS:
            by_answer = um.FAULTS if contract.family is Family.UM else ews.RESPONSES
            by_fault = um.FAULTS if contract.family is Family.UM else ews.FAULTS
            self.assertEqual({*by_answer, *by_fault}, set(Problem))
            for operation in contract.operations.values():
                self.assertLessEqual(operation.problems.keys(), by_answer.keys())
