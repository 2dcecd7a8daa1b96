"""A reload of what may change while a daemon runs."""

from __future__ import annotations

from dataclasses import replace

from tests.test_faults import DaemonCase
from umd.config import DialRule, DialSection, PromptsSection, Settings
from umd.soap.contract import UM
from umd.use_cases import MessagingSettings


class ReloadTests(DaemonCase):
    async def play(self) -> tuple[int, str, str]:
        return await self.ask(UM, UM.operations["PlayOnPhone"], number="2")

    def reload(self, settings: Settings) -> None:
        self.daemon.reload(lambda: settings)

    async def test_a_changed_dial_plan_counts_at_once(self) -> None:
        self.assertEqual((await self.play())[1], "ok")
        plan = DialSection(rule=[DialRule(match="2", refuse=True)])
        self.reload(replace(self.daemon.settings, dial=plan))
        self.assertEqual((await self.play())[1], "not-dialable")
        self.assertEqual(self.daemon.use_cases.settings, MessagingSettings())

    async def test_what_is_of_no_use_changes_nothing(self) -> None:
        plan = DialSection(rule=[DialRule(match="2", refuse=True)])
        prompts = PromptsSection(folder="/nowhere")
        self.reload(replace(self.daemon.settings, dial=plan, prompts=prompts))
        (line,) = (line for line in self.lines if line["event"] == "config.refused")
        self.assertIn("prompts.folder", line["mistakes"][0])
        self.assertEqual((await self.play())[1], "ok")
