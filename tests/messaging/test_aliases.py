"""The SOAP door takes each id of a call of a PBX, and says what shows that the call is down."""

from __future__ import annotations

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import (
    ALICE,
    DEADLINE,
    ControlRoom,
    MemoryUsers,
    RecordingDelivery,
)
from tests.soap.test_contract import disconnect, envelope
from umd.backend import Ended, FoundLeg, LegId, Proof
from umd.call.call import Call, CallState
from umd.call.cause import Cause, EndedBy
from umd.call.principal import Principal, Scope
from umd.http.exchange import Reply, Request
from umd.messaging.service import SoapService
from umd.messaging.use_cases import MessagingSettings, UseCases
from umd.soap.namespaces import MESSAGES

BOB_OWN = Principal("bob", "", frozenset({Scope.END_OWN}))


def get_call_info(call_id: str) -> str:
    return envelope(f'<GetCallInfo xmlns="{MESSAGES}"><CallId>{call_id}</CallId></GetCallInfo>')


class AliasTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.room = ControlRoom()
        self.successResultOf(ensureDeferred(self.room.control.start()))
        self.use_cases = UseCases(
            self.room.control, users=MemoryUsers(), pins=RecordingDelivery()
        )
        self.service = SoapService(self.use_cases, self.room.log, self.room.clock.seconds)
        self.call = self.room.control.place(ALICE, "answers")

    def post(
        self, body: str, principal: Principal = ALICE, path: str = "/EWS/UM2007Legacy.asmx"
    ) -> Deferred[Reply]:
        headers = {"content-type": "text/xml; charset=utf-8"}
        request = Request(principal, "POST", path, "", "http", "h", headers, body.encode())

        async def serve() -> Reply:
            return await self.service.serve(request)

        return ensureDeferred(serve())

    def answer(self, body: str, principal: Principal = ALICE) -> Reply:
        return self.successResultOf(self.post(body, principal))

    def test_the_header_says_what_shows_the_end(self) -> None:
        """The end of an unconfirmed call is shown by nothing, also when it is asked again."""
        reply = self.answer(disconnect(self.call.id))
        self.assertEqual(reply.headers["X-UMD-Proof"], "far-end")
        call = self.room.control.place(ALICE, "silent")
        asked = self.post(disconnect(call.id))
        self.room.clock.advance(DEADLINE)
        self.assertEqual(self.successResultOf(asked).headers["X-UMD-Proof"], "none")
        by_word = self.found("chan-w")
        self.report(Ended(by_word.leg, Cause(by=EndedBy.FAR_END), shown_by=Proof.PBX))
        reply = self.answer(disconnect(by_word.id))
        self.assertEqual(reply.headers["X-UMD-Proof"], "pbx")
        self.assertNotIn("X-UMD-Proof", self.answer(disconnect("garbage")).headers)

    def test_an_alias_ends_its_call(self) -> None:
        """Each id that is not the CallId, exactly and under the same rights."""
        for text in ("chan-a", "a@pbx", "SIP/a", "only-a"):
            call = self.found("chan-a", "a")
            for beginning in (text[:-1], text.upper(), text + " x"):
                if beginning != text:
                    self.assert_unknown(self.answer(disconnect(beginning)))
            self.assert_unknown(self.answer(disconnect(text), principal=BOB_OWN))
            self.assertFalse(call.ended)
            reply = self.answer(disconnect(text))
            self.assertEqual(reply.headers["X-UMD-Outcome"], "ended")
            self.assertEqual(reply.headers["X-UMD-Proof"], "far-end")
            self.assertEqual(call.cause and call.cause.by, EndedBy.CLIENT)
            self.setUp()

    def test_a_label_that_several_calls_have_gets_the_fault(self) -> None:
        self.found("chan-a", "a")
        self.found("chan-b", "b")
        self.assert_unknown(self.answer(disconnect("ci")))
        self.assertEqual(sum(1 for _ in self.room.control.live_calls()), 3)

    def test_aliases_are_not_accepted_if_the_setting_says_so(self) -> None:
        call = self.found("chan-a", "a")
        self.use_cases.settings = MessagingSettings(accept_aliases=False)
        for text in ("chan-a", "a@pbx", "only-a"):
            self.assert_unknown(self.answer(disconnect(text)))
            self.assert_unknown(self.answer(get_call_info(text)))
        self.assertFalse(call.ended)
        self.assertEqual(self.answer(disconnect(call.id)).headers["X-UMD-Outcome"], "ended")

    def test_an_alias_gets_the_state_of_its_call(self) -> None:
        self.found("chan-a", "a")
        self.assertIn(b"Connected", self.answer(get_call_info("a@pbx")).body)

    def found(self, leg: str, name: str = "") -> Call:
        """Let a call of the PBX appear; `name` occurs in each of its other ids."""
        aliases = {"sip-call-id": f"{name}@pbx", "channel": f"SIP/{name}"} if name else {}
        labels = ("ci", f"only-{name}") if name else ()
        self.room.fake.appear(
            FoundLeg(
                leg=LegId(leg), state=CallState.CONNECTED, number="100", aliases=aliases,
                labels=labels,
            )
        )  # fmt: skip
        return self.room.control.resolve(leg)

    def report(self, event: Ended) -> None:
        assert self.room.fake.sink is not None
        self.room.fake.sink.leg_event(event)

    def assert_unknown(self, reply: Reply) -> None:
        self.assertEqual(reply.status, 500)
        self.assertIn(b"InvalidCallIdException", reply.body)
        self.assertEqual(reply.headers["X-UMD-Outcome"], "unknown")
