"""The use cases of unified messaging: calls, states, settings and PINs."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import asdict, fields
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, FAKE_NUMBERS, ControlRoom, MemoryUsers, RecordingDelivery
from umd.backend import CarriesMedia, LegId, Media
from umd.call.call import Call
from umd.call.cause import rejection
from umd.control.errors import NoSuchCall
from umd.messaging import use_cases as module
from umd.messaging.dialplan import DialPlan, NotDialable, Rule
from umd.messaging.operations import carry_out
from umd.messaging.pin import PinNotSent, verify_pin
from umd.messaging.prompts import NoSuchPrompt, Prompts
from umd.messaging.use_cases import (
    InvalidFolder,
    MessagingSettings,
    NotEnabled,
    Requester,
    UseCases,
)
from umd.soap.contract import CONTRACTS
from umd.soap.document import InvalidRequest
from umd.soap.operations import Part
from umd.soap.requests import (
    CallInfo,
    GetCallInfo,
    GetServiceConfiguration,
    GetUMProperties,
    ServiceConfiguration,
    UMProperties,
)
from umd.testing import FakeBackend

T = TypeVar("T")


class FakeWithMedia(FakeBackend, CarriesMedia):
    """A fake backend that remembers the media of each call."""

    media: dict[LegId, Media]

    def place_with_media(self, leg: LegId, number: str, media: Media) -> None:
        self.media = {**getattr(self, "media", {}), leg: media}
        self.place(leg, number)


def keys_of(parts: tuple[Part, ...]) -> set[str]:
    keys = {part.key for part in parts if part.key}
    for part in parts:
        keys |= {key for key in part.attributes.values() if key} | keys_of(part.parts)
    return keys


class UseCaseCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.fake = FakeWithMedia()
        self.room = ControlRoom({"fake": self.fake})
        self.users = MemoryUsers()
        self.delivery = RecordingDelivery()
        self.cases = UseCases(
            self.room.control, users=self.users, plan=FAKE_NUMBERS, pins=self.delivery
        )
        self.successResultOf(ensureDeferred(self.room.control.start()))
        # No thread in a synchronous test.
        self.patch(module, "deferToThread", lambda work, *args: succeed(work(*args)))
        self.alice = Requester(ALICE, "r-1")

    def done(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        return self.successResultOf(ensureDeferred(work))

    def refused(self, kind: type[Exception], work: Coroutine[Any, Any, Any]) -> str:
        return str(self.failureResultOf(ensureDeferred(work), kind).value)

    def play(self, number: str, entry_id: str = "AA==") -> Call:
        return self.done(self.cases.play_message(self.alice, entry_id, number))

    def info(self, call: Call) -> tuple[str, str]:
        info = self.done(carry_out(self.cases, self.alice, GetCallInfo(call.id)))
        assert isinstance(info, CallInfo)
        return info.state, info.cause


class TableTests(SynchronousTestCase):
    def test_the_keys_of_a_message_are_the_fields_of_its_class(self) -> None:
        """A part of a message names a field of the request's or the response's class."""
        for contract in CONTRACTS:
            for operation in contract.operations.values():
                request_type: Any = operation.request_type
                self.assertEqual(
                    {field.name for field in fields(request_type)}, keys_of(operation.request)
                )
                answered = {field.name for field in fields(operation.response_type)}
                self.assertEqual(keys_of(operation.answer) - answered, set(), operation.name)


class CallTests(UseCaseCase):
    def test_a_message_is_played_to_the_number_of_the_dial_plan(self) -> None:
        call = self.play("1")
        self.assertEqual((call.owner, call.number, call.backend), ("alice", "answers", "fake"))
        media = self.fake.media[call.leg]
        self.assertEqual((media.prompt_s, media.record_to), (0.5, None))

    def test_a_greeting_is_played_and_recorded(self) -> None:
        folder = self.mktemp()
        self.cases.prompts = Prompts(folder)
        call = self.done(self.cases.play_greeting(self.alice, "OofCustom", "1"))
        media = self.fake.media[call.leg]
        self.assertEqual(media.record_to, f"{folder}/greetings/OofCustom-alice.wav")

    def test_numbers_that_are_not_dialled(self) -> None:
        for number in ("9", "555", "hello", ""):
            self.refused(NotDialable, self.cases.play_message(self.alice, "AA==", number))
        self.refused(NoSuchPrompt, self.cases.play_message(self.alice, "?", "1"))
        self.assertEqual(self.room.events, [])

    def test_the_dial_plan_chooses_the_backend(self) -> None:
        second = FakeWithMedia()
        room = ControlRoom({"first": FakeWithMedia(), "second": second})
        self.successResultOf(ensureDeferred(room.control.start()))
        plan = DialPlan([Rule("1", "answers", "second")])
        cases = UseCases(room.control, users=self.users, plan=plan, pins=self.delivery)
        self.done(cases.play_message(self.alice, "AA==", "1"))
        self.assertEqual([command for command, _ in second.commands], ["place"])
        self.assertEqual(room.events[0].request_id, "r-1")  # type: ignore[union-attr]

    def test_an_empty_number_means_the_default(self) -> None:
        self.done(self.cases.set_dial_string(self.alice, "2"))
        self.assertEqual(self.play("").number, "rings")

    def test_the_states_that_the_published_protocol_reaches(self) -> None:
        call = self.play("4")
        self.assertEqual(self.info(call), ("Connecting", "None"))
        self.fake.ring(call.leg)
        self.assertEqual(self.info(call), ("Connecting", "None"))
        self.fake.answer(call.leg)
        self.assertEqual(self.info(call), ("Connected", "None"))
        self.fake.confirms = False
        request = ensureDeferred(self.cases.disconnect(self.alice, call))
        self.assertEqual(self.info(call), ("Connected", "None"))  # until it is confirmed
        self.fake.end(call.leg)
        self.assertEqual(self.info(call), ("Disconnected", "None"))
        self.assertEqual(self.successResultOf(request), "ended")

    def test_an_early_call_that_is_being_ended(self) -> None:
        call = self.play("2")
        self.fake.confirms = False
        request = ensureDeferred(self.cases.disconnect(self.alice, call))
        self.assertEqual(self.info(call), ("Connecting", "None"))
        self.fake.end(call.leg)
        self.successResultOf(request)
        self.assertEqual(self.info(call), ("Disconnected", "None"))

    def test_causes(self) -> None:
        self.assertEqual(self.info(self.play("3")), ("Disconnected", "UserBusy"))

    def test_the_extended_profile(self) -> None:
        self.cases.settings = MessagingSettings(extended=True)
        call = self.play("2")
        self.assertEqual(self.info(call), ("Alerted", "None"))
        for status, cause in ((480, "NoAnswer"), (404, "Unavailable"), (500, "Other")):
            call = self.play("4")
            self.fake.end(call.leg, rejection(status))
            self.cases.settings = MessagingSettings(extended=True)
            self.assertEqual(self.info(call), ("Disconnected", cause))
            self.cases.settings = MessagingSettings()
            self.assertEqual(self.info(call), ("Disconnected", "None"))

    def test_an_unknown_call(self) -> None:
        self.refused(NoSuchCall, carry_out(self.cases, self.alice, GetCallInfo("x")))


class SettingsTests(UseCaseCase):
    def properties(self) -> UMProperties:
        properties = self.done(carry_out(self.cases, self.alice, GetUMProperties()))
        assert isinstance(properties, UMProperties)
        return properties

    def test_settings_are_returned_as_set(self) -> None:
        self.cases.settings = MessagingSettings(access_numbers=("1", "2"))
        before = self.properties()
        self.assertEqual(
            asdict(before),
            {
                "oof_status": False,
                "missed_call_notification": True,
                "dial_string": None,
                "access_numbers": ("1", "2"),
                "access_folder": None,
            },
        )
        self.done(self.cases.set_oof_status(self.alice, True))
        self.done(self.cases.set_missed_call_notification(self.alice, False))
        self.done(self.cases.set_dial_string(self.alice, " 2 "))
        self.done(self.cases.set_access_folder(self.alice, "AAAA"))
        after = self.properties()
        self.assertEqual((after.oof_status, after.missed_call_notification), (True, False))
        self.assertEqual((after.dial_string, after.access_folder), (" 2 ", "AAAA"))
        request = GetServiceConfiguration(("UnifiedMessagingConfiguration",))
        configuration = self.done(carry_out(self.cases, self.alice, request))
        self.assertEqual(configuration, ServiceConfiguration(enabled=True, dial_string=" 2 "))

    def test_invalid_settings(self) -> None:
        for number in ("x", "9", "555"):
            work = self.cases.set_dial_string(self.alice, number)
            self.refused(NotDialable, work)
        for folder in ("", "?", "A"):
            work = self.cases.set_access_folder(self.alice, folder)
            self.refused(InvalidFolder, work)
        self.assertEqual(self.users.kept, {})

    def test_a_user_who_is_not_enabled(self) -> None:
        self.cases.settings = MessagingSettings(enabled=("b*",))
        self.assertFalse(self.cases.is_enabled(self.alice))
        for work in (
            self.cases.get_settings(self.alice),
            self.cases.set_oof_status(self.alice, True),
            self.cases.reset_pin(self.alice),
            self.cases.play_message(self.alice, "AA==", "1"),
            self.cases.play_greeting(self.alice, "NormalCustom", "1"),
        ):
            self.refused(NotEnabled, work)
        self.assertEqual((self.users.kept, self.room.events), ({}, []))

    def test_a_new_pin(self) -> None:
        self.cases.settings = MessagingSettings(mail_domain="example.com", pin_length=8)
        self.done(self.cases.reset_pin(self.alice))
        ((address, pin),) = self.delivery.delivered
        self.assertEqual((address, len(pin)), ("alice@example.com", 8))
        self.assertTrue(verify_pin(pin, self.users.kept["alice"].pin_hash))
        self.assertNotIn(pin, str(self.users.kept))
        self.assertNotIn(pin, str(self.room.lines))

    def test_a_pin_that_cannot_be_sent_is_not_stored(self) -> None:
        self.cases.settings = MessagingSettings(mail_domain="example.com")
        self.done(self.cases.reset_pin(self.alice))
        old = self.users.kept["alice"].pin_hash
        self.delivery.refuses = True
        self.refused(PinNotSent, self.cases.reset_pin(self.alice))
        self.assertEqual(self.users.kept["alice"].pin_hash, old)
        self.cases.settings = MessagingSettings()
        self.assertIn("mail_domain", self.refused(PinNotSent, self.cases.reset_pin(self.alice)))
        self.assertEqual(self.users.kept["alice"].pin_hash, old)

    def test_a_pin_is_stored_and_sent_although_the_client_leaves(self) -> None:
        self.cases.settings = MessagingSettings(mail_domain="example.com")
        self.delivery.slow = Deferred()
        request = ensureDeferred(self.cases.reset_pin(self.alice))
        request.cancel()
        self.failureResultOf(request)
        self.delivery.slow.callback(None)
        ((_, pin),) = self.delivery.delivered
        self.assertTrue(verify_pin(pin, self.users.kept["alice"].pin_hash))

    def test_a_new_pin_is_not_the_old_one(self) -> None:
        self.cases.settings = MessagingSettings(mail_domain="example.com", pin_length=4)
        told: list[tuple[int, str]] = []

        def make(length: int, old: str) -> str:
            told.append((length, old))
            return "4829"

        self.patch(module, "make_pin", make)
        self.done(self.cases.reset_pin(self.alice))
        first = self.users.kept["alice"].pin_hash
        self.done(self.cases.reset_pin(self.alice))
        self.assertEqual(told, [(4, ""), (4, first)])

    def test_a_configuration_that_umd_does_not_have(self) -> None:
        work = carry_out(self.cases, self.alice, GetServiceConfiguration(("MailTips",)))
        self.refused(InvalidRequest, work)
