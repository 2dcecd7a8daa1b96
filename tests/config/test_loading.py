"""A configuration is loaded from a file, the command line and the defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from tests.config.case import ConfigCase
from umd.backends.sim import SimBackend
from umd.backends.sim.section import SimSection
from umd.backends.sip import SipSection
from umd.config import Settings, load
from umd.config.mistakes import ANY, known_keys
from umd.config.places import find_lines
from umd.daemon.build import control_settings

EXAMPLE = Path(__file__).parents[2] / "conf" / "umd.toml"
SIP_EXAMPLE = EXAMPLE.with_name("umd-sip.toml")
FROM_EXAMPLE = ("sip:umd@example.com", "umd")
DEMO = files("umd.cli") / "demo.toml"


class ReadTests(ConfigCase):
    def test_the_defaults_serve_the_simulator_on_loopback(self) -> None:
        settings = load(None)
        self.assertEqual(settings.http.listen, ("tcp:8080:interface=127.0.0.1",))
        self.assertFalse(settings.http.allow_anonymous)
        (backend,) = settings.backends
        self.assertEqual((backend.name, backend.type), ("sim", SimBackend))

    def test_the_example_has_every_key_and_every_default(self) -> None:
        text = EXAMPLE.read_text()
        example, default = load(str(EXAMPLE)), load(None, ["node=lab-1"])
        for section in known_keys(Settings):
            if section[0] != "backend":
                name = section[0]
                self.assertEqual(getattr(example, name), getattr(default, name), name)
        shown = re.sub(r"^#(?=[a-z_]+ =|\[\[)", "", text, flags=re.MULTILINE)
        self.assertEqual(self.read(shown).prompts.folder, "/var/lib/umd/prompts")
        in_example = {
            tuple(ANY if part.isdigit() else part for part in path) for path in find_lines(shown)
        }
        known = known_keys(Settings) + known_keys(SimSection, ("backend", "sim"))
        self.assertEqual(sorted(set(known) - in_example), [])

    def test_the_sip_example_has_every_key_and_every_default(self) -> None:
        """As it is, and with every key that is commented out."""
        (backend,) = load(str(SIP_EXAMPLE)).backends
        default = SipSection.model_validate({"peer": "udp:127.0.0.1:5070"})
        self.assertEqual(backend.settings, default)
        shown = re.sub(r"^#(?=[a-z_]+ =)", "", SIP_EXAMPLE.read_text(), flags=re.MULTILINE)
        (backend,) = self.read(shown).backends
        assert isinstance(backend.settings, SipSection)
        self.assertEqual((backend.settings.from_, backend.settings.username), FROM_EXAMPLE)
        known = known_keys(SipSection, ("backend", "pbx"))
        self.assertEqual(sorted(set(known) - set(find_lines(shown))), [])

    def test_the_demo_is_an_ordinary_configuration(self) -> None:
        load(str(DEMO))

    def test_an_override_replaces_the_value_in_the_file(self) -> None:
        settings = self.read(
            '[call]\ndeadline = "3s"\nretention = "1h"\n',
            "call.deadline=250ms",
            "http.listen=unix:/run/umd.sock",
            "call.retained=5",
            'log.level="debug"',
        )
        self.assertEqual((settings.call.deadline, settings.call.retention), (0.25, 3600.0))
        self.assertEqual(settings.call.retained, 5)
        self.assertEqual(settings.http.listen, ("unix:/run/umd.sock",))
        self.assertEqual(settings.log.level, "debug")

    def test_several_listeners(self) -> None:
        both = 'http.listen = ["tcp6:0:interface=\\\\:\\\\:1", "systemd:domain=INET:index=0"]'
        settings = self.read(both)
        self.assertEqual(len(settings.http.listen), 2)

    def test_several_backends_in_the_order_of_the_file(self) -> None:
        settings = self.read('[backend.two]\ntype = "sim"\ndelay = "1s"\n[backend.sim]\n')
        self.assertEqual([backend.name for backend in settings.backends], ["two", "sim"])


class OverrideTests(ConfigCase):
    def test_a_mistake_in_an_override_names_the_override(self) -> None:
        self.assertEqual(
            self.mistakes("", "http.lisen=tcp:1"),
            ["-o http.lisen=tcp:1: http.lisen is not a setting; did you mean http.listen?"],
        )
        self.assertEqual(
            self.mistakes('[call]\ndeadline = "1s"\n', "call.deadline=soon"),
            [
                '-o call.deadline=soon: call.deadline = "soon": expected a duration such as "5s"'
                ' or "250ms"'
            ],
        )
        for bad in ("http.listen", "=1", "a..b=1", "node.x=1"):
            self.assertIn(f"-o {bad}: ", self.mistakes('node = "n"', bad)[0])

    def test_an_override_of_a_section_replaces_the_lines_below_it(self) -> None:
        for override, key in (
            ('call={deadline="x"}', "call.deadline"),
            ('backend.sim.seed=[{state="up"}]', "backend.sim.seed.0.state"),
        ):
            (mistake,) = self.mistakes(
                '\n[call]\n\ndeadline = "1s"\n[[backend.sim.seed]]\nstate = "alerting"\n', override
            )
            self.assertTrue(mistake.startswith(f"-o {override}: {key} = "), mistake)
        (mistake,) = self.mistakes("", 'call={deadline="x"}', "call.deadline=y")
        self.assertTrue(mistake.startswith("-o call.deadline=y: "), mistake)


class OwnersTests(ConfigCase):
    """`call.owners`: to which users the calls belong that umd finds on a PBX."""

    def owners(self, text: str) -> Mapping[str, str] | None:
        return control_settings(self.read(text).call).owners

    def test_a_mapping(self) -> None:
        expected = {"agent-7": "alice", "PJSIP/1001": "bob"}
        self.assertEqual(
            self.owners('[call.owners]\nagent-7 = "alice"\n"PJSIP/1001" = "bob"\n'), expected
        )
        self.assertEqual(
            self.owners('call.owners = { agent-7 = "alice", "PJSIP/1001" = "bob" }\n'), expected
        )

    def test_an_empty_mapping_is_not_the_same_as_none(self) -> None:
        """With it, found calls belong to no user; without it, to the user that the PBX names."""
        self.assertEqual(self.owners("[call.owners]\n"), {})
        self.assertIsNone(self.owners(""))

    def test_mistakes(self) -> None:
        for value in ('""', '"a\\nb"', f'"{"x" * 257}"'):
            (mistake,) = self.mistakes(f"[call.owners]\nagent-7 = {value}\n")
            self.assertIn("umd.toml:2: call.owners.agent-7 = ", mistake)
            self.assertIn("expected a user name of 1 to 256 printable characters", mistake)
        (mistake,) = self.mistakes("[call.owners]\nagent-7 = 7\n")
        self.assertEqual(mistake, "umd.toml:2: call.owners.agent-7 = 7: expected a string")
        (mistake,) = self.mistakes('[call]\nowners = "alice"\n')
        self.assertEqual(mistake, 'umd.toml:2: call.owners = "alice": expected a section')
