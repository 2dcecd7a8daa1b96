"""A reload applies changed settings while umd runs."""

from __future__ import annotations

import time

from tests.messaging.test_faults import DaemonCase
from umd.config import ConfigError, Settings
from umd.config.sections import CallSection, DialRule, DialSection, PromptsSection, UmSection
from umd.messaging.use_cases import MessagingSettings
from umd.soap.contract import UM


class ReloadTests(DaemonCase):
    async def play(self) -> tuple[int, str, str]:
        return await self.ask(UM, UM.operations["PlayOnPhone"], number="2")

    def reload(self, settings: Settings) -> None:
        self.daemon.reload(lambda: settings)

    async def test_a_changed_dial_plan_applies_at_once(self) -> None:
        self.assertEqual((await self.play())[1], "ok")
        plan = DialSection(rule=[DialRule(match="2", refuse=True)])
        self.reload(self.daemon.settings.model_copy(update={"dial": plan}))
        self.assertEqual((await self.play())[1], "not-dialable")
        self.assertEqual(self.daemon.use_cases.settings, MessagingSettings())

    async def test_the_status_of_soap_1_2_faults_applies_at_once(self) -> None:
        self.assertEqual(self.daemon._soap.soap12_sender_status, 400)
        um = UmSection(soap12_sender_status=500)
        self.reload(self.daemon.settings.model_copy(update={"um": um}))
        self.assertEqual(self.daemon._soap.soap12_sender_status, 500)

    def test_the_owners_of_found_calls_apply_at_once(self) -> None:
        """A call that is found later belongs to the user that the mapping names."""
        call = CallSection(owners={"agent-7": "alice"})
        self.reload(self.daemon.settings.model_copy(update={"call": call}))
        self.assertEqual(self.daemon.control.settings.owners, {"agent-7": "alice"})

    async def test_a_setting_that_cannot_be_used_changes_nothing(self) -> None:
        plan = DialSection(rule=[DialRule(match="2", refuse=True)])
        prompts = PromptsSection(folder="/nowhere")
        self.reload(self.daemon.settings.model_copy(update={"dial": plan, "prompts": prompts}))
        (line,) = (line for line in self.lines if line["event"] == "config.refused")
        self.assertIn("prompts.folder", line["mistakes"][0])
        self.assertEqual((await self.play())[1], "ok")

    def status(self) -> tuple[object, object, object]:
        told = self.daemon.status()
        return told["last_reload"], told["last_reload_at"], told["last_reload_why"]

    def test_the_status_has_the_result_of_the_last_reload(self) -> None:
        self.patch(time, "time", lambda: 1_000_000.0)
        self.assertEqual(self.status(), (None, None, None))
        self.reload(self.daemon.settings)
        at = "1970-01-12T13:46:40.000Z"
        self.assertEqual(self.status(), ("done", at, None))

        def read() -> Settings:
            raise ConfigError(["umd.toml:1: first", "umd.toml:2: second", "umd.toml:3: third"])

        self.daemon.reload(read)
        why = f"reload refused at {at}, nothing has changed: umd.toml:1: first (and 2 more)"
        self.assertEqual(self.status(), ("refused", at, why))
        self.reload(self.daemon.settings)
        self.assertEqual(self.status(), ("done", at, None))

    def test_a_bug_in_a_reload_is_reported_as_a_refusal(self) -> None:
        def read() -> Settings:
            raise RuntimeError("two\nlines")

        self.daemon.reload(read)
        told = self.status()
        self.assertEqual(told[0], "refused")
        self.assertNotIn("\n", str(told[2]))
        self.assertIn("RuntimeError", str(told[2]))
        self.flushLoggedErrors(RuntimeError)
