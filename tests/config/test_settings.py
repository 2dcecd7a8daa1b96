"""The sections of the configuration, and what a reload of each needs."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from umd.config import Settings, load
from umd.config.sections import AppliedBy, CoreSection
from umd.config.settings import changes_for_restart

EXAMPLE = Path(__file__).parents[2] / "conf" / "umd.toml"


class ExampleTests(SynchronousTestCase):
    """`conf/umd.toml` explains every key, and says how changes take effect."""

    def test_every_section_says_how_changes_take_effect(self) -> None:
        settings = load(None)
        for name in Settings.model_fields:
            if name in ("node", "backend"):
                continue
            section = getattr(settings, name)
            header = rf"^\[{name}\]\n(# Changes .*)"
            (comment,) = re.findall(header, EXAMPLE.read_text(), re.MULTILINE)
            self.assertIn(f"take effect at {section.applied_by.value}", comment)
            for attribute in section.restart_attributes:
                key = "authentication" if attribute == "authenticates" else attribute
                self.assertRegex(comment.partition("; ")[2], rf"\b{key}\b.* a restart")

    def test_every_key_follows_a_comment(self) -> None:
        """A key may share the comment of the key before it; far ends have a page of their own."""
        shares_comment = {"min_body_rate", "jitter", "duplicate", "type"}
        explained = set(shares_comment)
        before = ""
        for line in EXAMPLE.read_text().partition("[backend.sim.far_end")[0].splitlines():
            key = re.match(r"#?([a-z_0-9]+) = ", line)
            if key and key[1] not in explained:
                self.assertTrue(before.startswith("# "), line)
                explained.add(key[1])
            before = line


class RestartTests(SynchronousTestCase):
    def changes(self, *overrides: str) -> list[str]:
        return changes_for_restart(load(None, ["node=lab"]), load(None, ["node=lab", *overrides]))

    def test_a_reload_applies_most_keys(self) -> None:
        self.assertEqual(self.changes(), [])
        reloaded = ("http.max_body=2KiB", "call.deadline=1s", "um.profile=extended",
                    "pin.length=8", "users.enabled=[]", "drain.deadline=1s", "auth.realm=lab",
                    "prompts.default=none", "tls.key=/k")  # fmt: skip
        self.assertEqual(self.changes(*reloaded), [])

    def test_what_needs_a_restart_is_named(self) -> None:
        for override, name in (
            ("node=other", "node"),
            ("backend.sim.delay=5s", "backend"),
            ("http.listen=tcp:1:interface=127.0.0.1", "http.listen"),
            ("http.allow_anonymous=true", "http.allow_anonymous"),
            ("users.store=memory", "users.store"),
            ("auth.password_file=/p", "auth"),
            ("log.level=debug", "log"),
            ("trace.messages=1", "trace"),
            ("control.socket=none", "control"),
            ("journal.keep=1d", "journal"),
        ):
            self.assertEqual(self.changes(override), [name])

    def test_another_way_to_write_a_value_is_no_change(self) -> None:
        self.assertEqual(self.changes("backend.sim.delay=0.001s", "journal.keep=720h"), [])

    def test_every_section_declares_what_applies_it(self) -> None:
        settings = load(None)
        for name in Settings.model_fields:
            section = getattr(settings, name)
            if name not in ("node", "backend"):
                self.assertIsInstance(section, CoreSection, name)
                self.assertIsInstance(section.applied_by, AppliedBy, name)
                for attribute in section.restart_attributes:
                    getattr(section, attribute)
