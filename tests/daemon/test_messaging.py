"""Each setting of unified messaging arrives at the part that uses it."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ControlRoom, MemoryUsers
from umd.config import Settings, load
from umd.daemon.messaging import UnusablePath, apply, check, make_use_cases, make_users
from umd.messaging.dialplan import Destination, NotDialable
from umd.messaging.pin import NoDelivery, SmtpDelivery, SpoolDelivery
from umd.messaging.prompts import TONE, NoSuchPrompt
from umd.messaging.use_cases import MessagingSettings, UseCases
from umd.messaging.users import MEMORY


class MessagingTests(SynchronousTestCase):
    def read(self, text: str) -> Settings:
        path = self.mktemp()
        Path(path).write_text(text)
        return load(path)

    def cases(self, text: str) -> UseCases:
        room = ControlRoom()
        return make_use_cases(self.read(text), room.control, MemoryUsers(), Clock())

    def test_the_defaults(self) -> None:
        cases = self.cases("")
        self.assertEqual(cases.settings, MessagingSettings())
        self.assertIsInstance(cases.pins, NoDelivery)
        self.assertEqual(cases.prompts.of_entry("AAAA").path, TONE)
        self.assertEqual(cases.plan.find("+1 555"), Destination("+1555", None))

    def test_the_dial_plan(self) -> None:
        cases = self.cases(
            "[[dial.rule]]\nmatch='1900[0-9]*'\nrefuse=true\n"
            "[[dial.rule]]\nmatch='9([0-9]+)'\nto='+1\\1'\nbackend='sim'\n"
        )
        self.assertEqual(cases.plan.find("9555"), Destination("+1555", "sim"))
        with self.assertRaisesRegex(NotDialable, "refuses"):
            cases.plan.find("1900 1")

    def test_other_settings(self) -> None:
        cases = self.cases(
            '[um]\nprofile="extended"\n[users]\nenabled=["a*"]\naccess_numbers=["1"]\n'
            '[pin]\nlength=8\nmail_domain="example.com"\n'
        )
        self.assertEqual(
            cases.settings,
            MessagingSettings(
                extended=True,
                enabled=("a*",),
                access_numbers=("1",),
                pin_length=8,
                mail_domain="example.com",
            ),
        )

    def test_prompts(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        text = f'[prompts]\nfolder="{folder}"\n'
        for default, path in (("", None), ('"none"', None), ('"tone"', TONE), (f'"{TONE}"', TONE)):
            cases = self.cases(text + (f"default={default}\n" if default else ""))
            if path is None:
                self.assertRaises(NoSuchPrompt, cases.prompts.of_entry, "AAAA")
            else:
                self.assertEqual(cases.prompts.of_entry("AAAA").path, path)

    def test_how_a_pin_is_sent(self) -> None:
        cases = self.cases('[pin]\ndelivery="spool"\nspool="/x"\nsender="a@example.com"\n')
        self.assertEqual(cases.pins, SpoolDelivery("/x", "a@example.com"))
        text = '[pin]\ndelivery="smtp"\nsmtp="mail.example.com:587"\n'
        for more, tls in (("", True), ("smtp_tls=false\n", False)):
            pins = self.cases(text + more).pins
            assert isinstance(pins, SmtpDelivery)
            self.assertEqual((pins.host, pins.port), ("mail.example.com", 587))
            self.assertIs(pins.tls, tls)

    def test_settings_change_while_umd_runs(self) -> None:
        cases = self.cases("")
        text = "[[dial.rule]]\nmatch='1'\n[pin]\ndelivery='spool'\nspool='/x'\n"
        apply(self.read(text + "[prompts]\ndefault='none'\n"), cases, Clock())
        self.assertRaises(NotDialable, cases.plan.find, "2")
        self.assertIsInstance(cases.pins, SpoolDelivery)
        self.assertRaises(NoSuchPrompt, cases.prompts.of_entry, "AAAA")

    def test_where_users_are_stored(self) -> None:
        for store, state, path in (
            ("auto", None, MEMORY),
            ("auto", "/var/lib/umd:/var/lib/other", "/var/lib/umd/users.sqlite"),
            ("memory", "/var/lib/umd", MEMORY),
            ("/x/users.sqlite", "/var/lib/umd", "/x/users.sqlite"),
        ):
            environment = {} if state is None else {"STATE_DIRECTORY": state}
            self.patch(os, "environ", environment)
            users = make_users(self.read(f'[users]\nstore="{store}"\n').users, None)
            self.assertEqual(users.path, path)

    def test_unusable_paths_are_found_before_the_start(self) -> None:
        for text, words in (
            ('[prompts]\nfolder="/nowhere"\n', "prompts.folder"),
            ('[prompts]\ndefault="/nowhere.wav"\n', "prompts.default"),
            (f'[prompts]\ndefault="{__file__}"\n', "prompts.default"),
            ('[pin]\ndelivery="spool"\nspool="/nowhere"\n', "pin.spool"),
        ):
            with self.assertRaisesRegex(UnusablePath, words):
                check(self.read(text))
        check(self.read('[pin]\nspool="/nowhere"\n'))
