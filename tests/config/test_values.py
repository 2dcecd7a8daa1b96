"""The types of values: durations, sizes, paths and host names."""

from __future__ import annotations

from tests.config.case import ConfigCase
from umd.backends.sim.section import SimSection
from umd.config import ConfigError
from umd.config.values import parse_duration, parse_size


class PathTests(ConfigCase):
    def test_invalid_paths_are_refused(self) -> None:
        """A path must not be empty, and the system does not accept a NUL character in it."""
        for key in ("auth.password_file", "auth.token.key_file", "tls.key", "prompts.folder",
                    "prompts.default", "users.store", "pin.spool"):  # fmt: skip
            section, _, name = key.rpartition(".")
            for value in ("", "a\\u0000b"):
                (message, *_) = self.mistakes(f'[{section}]\n{name} = "{value}"\n')
                self.assertEqual(message, f'umd.toml:2: {key} = "{value}": expected a path')


class HostsTests(ConfigCase):
    def test_names_and_addresses(self) -> None:
        hosts = '["umd.example.com", "10.0.0.1", "[2001:db8::1]", "*"]'
        self.assertEqual(len(self.read(f"http.hosts = {hosts}").http.hosts), 4)
        self.assertEqual(self.read('http.hosts = "umd"').http.hosts, ("umd",))
        self.assertEqual(self.read("http.hosts = []").http.hosts, ())

    def test_invalid_host_names_are_refused(self) -> None:
        for wrong in ('["umd:8080"]', '["http://umd"]', '[""]', "[5]", "5", '["::1"]', '["*.a"]'):
            (mistake,) = self.mistakes(f"http.hosts = {wrong}")
            self.assertIn("expected a list of names or addresses without ports", mistake)


class DurationTests(ConfigCase):
    def test_a_delay_may_be_zero(self) -> None:
        settings = self.read('[backend.sim]\ndelay = "0s"\n')
        section = settings.backends[0].settings
        assert isinstance(section, SimSection)
        self.assertEqual(section.delay, 0.0)
        with self.assertRaisesRegex(ConfigError, "call.deadline.*a duration longer than zero"):
            self.read('call.deadline = "0s"')

    def test_durations(self) -> None:
        for text, seconds in (
            ("250ms", 0.25),
            ("5s", 5),
            ("1.5h", 5400),
            ("2m", 120),
            ("7d", 604800),
        ):
            self.assertEqual(parse_duration(text), seconds)
        for bad in (
            "5",
            5,
            "5 s",
            "",
            "s",
            "-5s",
            "5S",
            "0s",
            "1e3s",
            "9999999d",
            None,
            True,
            "٥s",
        ):
            with self.assertRaises(ValueError, msg=repr(bad)):
                parse_duration(bad)

    def test_sizes(self) -> None:
        for text, octets in (("512B", 512), ("64KiB", 65536), ("1MiB", 1048576)):
            self.assertEqual(parse_size(text), octets)
        for bad in ("64", 64, "64KB", "1.5KiB", "-1B", ""):
            with self.assertRaises(ValueError, msg=repr(bad)):
                parse_size(bad)
