"""The configuration: what it may say, and how every mistake is told with its place."""

from __future__ import annotations

import json
import os
import re
import tomllib
from importlib.resources import files
from pathlib import Path

from twisted.internet.endpoints import serverFromString
from twisted.trial.unittest import SynchronousTestCase

from umd.backends.sim import SimBackend
from umd.backends.sim.section import SimSection
from umd.backends.sip import SipSection
from umd.config import ConfigError, Settings, load
from umd.config.endpoints import endpoint_fields, parse_listen
from umd.config.mistakes import ANY, known_keys
from umd.config.places import find_lines
from umd.config.values import parse_duration, parse_size

EXAMPLE = Path(__file__).parents[2] / "conf" / "umd.toml"
SIP_EXAMPLE = EXAMPLE.with_name("umd-sip.toml")
FROM_EXAMPLE = ("sip:umd@example.com", "umd")
DEMO = files("umd.cli") / "demo.toml"


class ConfigCase(SynchronousTestCase):
    def read(self, text: str, *overrides: str) -> Settings:
        self.file = self.mktemp()
        Path(self.file).write_text(text)
        return load(self.file, overrides)

    def read_octets(self, octets: bytes) -> Settings:
        self.file = self.mktemp()
        Path(self.file).write_bytes(octets)
        return load(self.file)

    def mistakes(self, text: str, *overrides: str) -> list[str]:
        with self.assertRaises(ConfigError) as caught:
            self.read(text, *overrides)
        return [line.replace(self.file, "umd.toml") for line in caught.exception.mistakes]


class PlaceTests(ConfigCase):
    """What turns out wrong only when it is used is told with its place too."""

    def told(self, text: str, *overrides: str) -> str:
        settings = self.read(text, *overrides)
        line = settings.mistake(("tls", "key"), settings.tls.key, "not\nthere")
        return line.replace(self.file, "umd.toml")

    def test_in_the_file(self) -> None:
        self.assertEqual(
            self.told('[tls]\n\nkey = "/k"\n'), 'umd.toml:3: tls.key = "/k": not\\nthere'
        )

    def test_on_the_command_line(self) -> None:
        self.assertEqual(
            self.told('[tls]\nkey = "/k"\n', "tls.key=/x"),
            '-o tls.key=/x: tls.key = "/x": not\\nthere',
        )


class PathTests(ConfigCase):
    def test_what_can_be_no_path(self) -> None:
        """It was a traceback at the start, by whatever opened the file."""
        for key in ("auth.password_file", "auth.token.key_file", "tls.key", "prompts.folder",
                    "prompts.default", "users.store", "pin.spool"):  # fmt: skip
            section, _, name = key.rpartition(".")
            for value in ("", "a\\u0000b"):
                (told, *_) = self.mistakes(f'[{section}]\n{name} = "{value}"\n')
                self.assertEqual(told, f'umd.toml:2: {key} = "{value}": expected a path')


class HostsTests(ConfigCase):
    def test_names_and_addresses(self) -> None:
        hosts = '["umd.example.com", "10.0.0.1", "[2001:db8::1]", "*"]'
        self.assertEqual(len(self.read(f"http.hosts = {hosts}").http.hosts), 4)
        self.assertEqual(self.read('http.hosts = "umd"').http.hosts, ("umd",))
        self.assertEqual(self.read("http.hosts = []").http.hosts, ())

    def test_what_is_no_name(self) -> None:
        for wrong in ('["umd:8080"]', '["http://umd"]', '[""]', "[5]", "5", '["::1"]', '["*.a"]'):
            (mistake,) = self.mistakes(f"http.hosts = {wrong}")
            self.assertIn("expected a list of names or addresses without ports", mistake)


class ReadTests(ConfigCase):
    def test_the_defaults_serve_the_simulator_on_loopback(self) -> None:
        settings = load(None)
        self.assertEqual(settings.http.listen, ("tcp:8080:interface=127.0.0.1",))
        self.assertFalse(settings.http.allow_anonymous)
        (backend,) = settings.backends
        self.assertEqual((backend.name, backend.type), ("sim", SimBackend))

    def test_the_example_says_every_key_and_every_default(self) -> None:
        text = EXAMPLE.read_text()
        example, default = load(str(EXAMPLE)), load(None, ["node=lab-1"])
        for section in known_keys(Settings):
            if section[0] != "backend":
                name = section[0]
                self.assertEqual(getattr(example, name), getattr(default, name), name)
        shown = re.sub(r"^#(?=[a-z_]+ =|\[\[)", "", text, flags=re.MULTILINE)
        self.assertEqual(self.read(shown).prompts.folder, "/var/lib/umd/prompts")
        said = {
            tuple(ANY if part.isdigit() else part for part in path) for path in find_lines(shown)
        }
        known = known_keys(Settings) + known_keys(SimSection, ("backend", "sim"))
        self.assertEqual(sorted(set(known) - said), [])

    def test_the_sip_example_says_every_key_and_every_default(self) -> None:
        """As it stands, and with every key that it only shows."""
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

    def test_an_override_goes_before_the_file(self) -> None:
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

    def test_a_delay_may_be_none(self) -> None:
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


class MistakeTests(ConfigCase):
    def test_rules_and_deliveries_that_can_never_work(self) -> None:
        for text, words in (
            ("[[dial.rule]]\nmatch='('", 'umd.toml:2: dial.rule.0.match = "(": expected a regular'),
            ("[[dial.rule]]\nmatch='1'\nto='\\1'", "dial.rule.0.to"),
            ("[[dial.rule]]\nmatch='(?=1)'", "dial.rule.0.match"),
            ("[[dial.rule]]\nmatch='(1)'\nto='\\2'", "dial.rule.0.to"),
            ("[[dial.rule]]\nmatch='(1)'\nto='\\x'", "dial.rule.0.to"),
            ("[[dial.rule]]\nmatch='(1)'\nto='1\\'", "dial.rule.0.to"),
            ("[[dial.rule]]\nmatch='1'\nbackend='x'", 'dial.rule.0.backend = "x": expected one of'),
            ("[pin]\ndelivery='spool'", "pin.delivery"),
            ("[um]\nsoap12_sender_status=404", "um.soap12_sender_status"),
            ("[pin]\ndelivery='smtp'\nsmtp='mail.example.com'", "pin.smtp"),
            ("[pin]\nsmtp='mail.example.com:65536'", "pin.smtp"),
            ("[pin]\nsender='a@b\\nc'", "pin.sender"),
        ):
            self.assertIn(words, "\n".join(self.mistakes(text)))
        self.read("[[dial.rule]]\nmatch='(?i)(sip:.*)'\nto='\\1'\nbackend='sim'")

    def test_every_mistake_is_told_at_once_with_its_line(self) -> None:
        text = (
            "# a comment\n"
            'nod = "x"\n'
            "[http]\n"
            'lisen = "tcp:8080"\n'
            "max_body = 64\n"
            'allow_anonymous = "yes"\n'
            "[call]\n"
            'deadline = "5 apples"\n'
            'ended_is = "sucess"\n'
            "retained = -1\n"
            "[backend.sim]\n"
            "dely = 1\n"
            "[backend.pbx]\n"
            'type = "astrisk"\n'
        )
        self.assertEqual(
            self.mistakes(text),
            [
                "umd.toml:2: nod is not a setting; did you mean node?",
                "umd.toml:4: http.lisen is not a setting; did you mean http.listen?",
                'umd.toml:5: http.max_body = 64: expected a size such as "512B" or "64KiB"',
                'umd.toml:6: http.allow_anonymous = "yes": expected true or false',
                'umd.toml:8: call.deadline = "5 apples": expected a duration such as "5s"'
                ' or "250ms"',
                'umd.toml:9: call.ended_is = "sucess": expected one of "success" or "fault"',
                "umd.toml:10: call.retained = -1: expected at least 0",
                "umd.toml:12: backend.sim.dely is not a setting; did you mean backend.sim.delay?",
                self.no_such_type("umd.toml:14", "backend.pbx", "astrisk"),
            ],
        )

    def no_such_type(self, place: str, section: str, name: str) -> str:
        from umd.backend import backend_types

        offered = ", ".join(backend_types())
        return f"{place}: {section}: no backend of type {name!r} is installed (there is: {offered})"

    def test_a_key_in_the_wrong_section(self) -> None:
        (mistake,) = self.mistakes('listen = "tcp:1"\n')
        self.assertEqual(mistake, "umd.toml:1: listen is not a setting; did you mean http.listen?")

    def test_a_key_like_no_other(self) -> None:
        (mistake,) = self.mistakes("zzz.qqq = 1\n")
        self.assertEqual(mistake, "umd.toml:1: zzz is not a setting")

    def test_wrong_kinds(self) -> None:
        cases = {
            "http = 5": "umd.toml:1: http = 5: expected a section",
            "node = 5": "umd.toml:1: node = 5: expected a name of letters, digits, dots, hyphens"
            " and underscores",
            "call.retained = 1.5": "umd.toml:1: call.retained = 1.5: expected a whole number",
            "backend = 1": "umd.toml:1: backend = 1: expected a section",
            "backend.sim = 1": "umd.toml:1: backend.sim = 1: expected a section",
            "[backend]": "umd.toml:1: backend has no section; expected one such as [backend.sim]",
            'http.max_body = "1MiB"': 'umd.toml:1: http.max_body = "1MiB": expected at most 65536',
        }
        for text, mistake in cases.items():
            self.assertEqual(self.mistakes(text), [mistake])

    def test_listeners_that_cannot_be(self) -> None:
        for listen in ('"8080"', '"http:8080"', "8080", "[]", '""', '["tcp:1", 2]', '"tcp:abc"'):
            (mistake,) = self.mistakes(f"http.listen = {listen}")
            self.assertIn('expected a Twisted endpoint string such as "tcp:8080:interface', mistake)
        for listen, why in (
            ("tcp:-1", "the port is not from 0 to 65535"),
            ("tcp6:99999", "the port is not from 0 to 65535"),
            ("tcp", "it needs a port"),
            ("tcp:" + "1" * 5000, "the port is no number"),
            ("tcp:1:backlog=x", "the backlog is no number"),
            ("tcp:1:127.0.0.1:50:more", "tcp has at most 3 parameters"),
            ("tcp:1:port=2", "port is given by its position and by its name"),
            ("tcp:1:interface=nonsense", "the interface is no IP address"),
            ("tcp6:1:interface=\\:x", "the interface is no IP address"),
            ("tcp:1\\", "nothing follows the last backslash"),
            ("tcp:1:a\n=1", 'tcp has no parameter "a\\n"'),
            ("unix:/a:mode=888", "the mode is no number"),
            ("unix:/a:lockfile=yes", "the lockfile is no number"),
            ("unix:", "the path is not of 1 to 107 octets"),
            ("unix:/" + "x" * 107, "the path is not of 1 to 107 octets"),
            ("systemd:", "either an index or a name"),
            ("systemd:domain=INET", "either an index or a name"),
            ("systemd:domain=INET:index=0:name=x", "either an index or a name"),
            ("systemd:domain=X25:index=0", "not INET, INET6 or UNIX"),
            ("systemd:domain=INET:index=-1", "the index is no number"),
            ("systemd:domain=INET:name=", "the name is empty"),
        ):
            (mistake,) = self.mistakes(f"http.listen = {json.dumps(listen)}")
            self.assertIn(why, mistake)
            self.assertLess(len(mistake), 400)

    def test_twisted_and_umd_read_the_same_endpoints(self) -> None:
        """umd checks an endpoint without Twisted, but Twisted is what listens there."""
        for endpoint in (
            "tcp:1", "tcp:1:50", "tcp:1:127.0.0.1", "tcp:1:127.0.0.1:50", "tcp:port=1",
            "tcp:1:interface=\\127.0.0.1:backlog=5", "tcp6:1:50:\\:\\:1", "tcp6:1:interface=\\:\\:",
            "tcp", "tcp:", "tcp:x", "tcp:1:port=2", "tcp:1:inter=x", "tcp:1:127.0.0.1:50:4",
            "tcp:1:backlog=x", "tcp:1:interface=10.0.0.1:interface=127.0.0.1", "tcp6:1:x",
            "unix:/a", "unix:/a\\:b\\=c:660", "unix:/a:mode=888", "unix:/a:lockfile=no",
            "unix:/a:lockfile=0", "unix:/a:666:50:1:more", "unix:address=/a=b", "unix",
        ):  # fmt: skip
            try:
                serverFromString(None, endpoint)
            except (TypeError, ValueError):
                self.assertRaises(ValueError, parse_listen, endpoint)
            else:
                interface = endpoint_fields(endpoint).get("interface", "")
                if interface != "50":  # Twisted takes any text for an address
                    self.assertEqual(parse_listen(endpoint), (endpoint,))

    def test_nothing_listens_anywhere(self) -> None:
        for text in ("http.listen = []", "http.listen = []\nhttp.listen_tls = []"):
            (mistake,) = self.mistakes(text)
            self.assertIn("umd.toml:1: http.listen = []: expected a Twisted endpoint", mistake)
            self.assertIn("or one in http.listen_tls: umd would listen nowhere", mistake)

    def test_https_alone(self) -> None:
        settings = self.read(
            '[http]\nlisten = []\nlisten_tls = "tcp:1:interface=localhost"\n'
            '[tls]\ncertificate = "/c"\nkey = "/k"\n'
        )
        self.assertEqual(settings.http.listen, ())

    def test_client_certificates_that_nobody_could_sign(self) -> None:
        """They were not demanded at all."""
        (mistake,) = self.mistakes("[tls]\nclient_required = true")
        said = "umd.toml:2: tls.client_required = true: expected tls.client_ca beside it"
        self.assertEqual(mistake, said)

    def test_listeners_that_can_be(self) -> None:
        for listen in (
            "unix:/a\\:b\\=c:mode=660",
            "systemd:INET:0",
            "systemd:domain=UNIX:name=x",
            "tcp:0:127.0.0.1",
            "tcp6:0:50:\\:\\:1",
        ):
            self.assertEqual(self.read(f"http.listen = '{listen}'").http.listen, (listen,))

    def test_listeners_that_others_reach_need_to_be_asked_for(self) -> None:
        for listen in (
            "tcp:1",
            "tcp:1:interface=0.0.0.0",
            "tcp6:1",
            "tcp:1:interface=10.0.0.1",
            "tcp:1:interface=127.0.0.1:interface=0.0.0.0",
        ):
            (mistake,) = self.mistakes(f'http.listen = "{listen}"')
            self.assertIn(f"anyone who reaches {listen} could end any call", mistake)
            self.read(f'http.listen = "{listen}"\nhttp.allow_anonymous = true')
        for listen in ("tcp:1:interface=127.0.0.2", "tcp:1:interface=localhost", "unix:/x"):
            self.read(f'http.listen = "{listen}"')

    def test_control_sockets_that_cannot_be(self) -> None:
        for value, words in (
            ('"@umd"', "a path: an abstract socket has no owner, so any user could connect to it"),
            ('"umd.sock"', '"auto", "none", or a path that begins with "/"'),
            ("5", '"auto", "none", or a path that begins with "/"'),
            (f'"/{"x" * 107}"', "a path of at most 107 octets"),
        ):
            (mistake,) = self.mistakes(f"control.socket = {value}")
            self.assertTrue(mistake.startswith("umd.toml:1: control.socket = "), mistake)
            self.assertTrue(mistake.endswith(f": expected {words}"), mistake)
        for good in ("auto", "none", "/run/umd/control.sock"):
            settings = self.read("", f"control.socket={good}")
            self.assertEqual(settings.control.socket, good)

    def test_how_many_messages_are_kept(self) -> None:
        self.assertEqual(load(None).trace.messages, 10_000)
        (mistake,) = self.mistakes("trace.messages = 1000001")
        self.assertIn("trace.messages = 1000001: expected at most 1000000", mistake)

    def test_a_mistake_in_an_array_of_tables(self) -> None:
        text = (
            "[[backend.sim.seed]]\n"
            'number = "1"\n'
            "\n"
            "[[backend.sim.seed]]\n"
            'state = "up"\n'
            "[[backend.sim.seed]]\n"
            'call_id = "garbage"\n'
        )
        first, second = self.mistakes(text)
        self.assertEqual(
            first,
            'umd.toml:5: backend.sim.seed.1.state = "up": expected one of "connecting", "alerting"'
            ' or "connected"',
        )
        self.assertTrue(second.startswith("umd.toml:7: backend.sim.seed.2.call_id"), second)

    def test_seeds_and_far_ends_that_cannot_be(self) -> None:
        seed = '[[backend.sim.seed]]\ncall_id = "YUBi"\n'
        for text, mistake in (
            (seed + seed, "expected a call_id with a name of its own for each call"),
            (seed + "count = 2\n", "expected count = 1 where a call_id is given"),
            ('[backend.sim.far_end."+1 555"]\n', "numbers of one to seven digits, not '+1 555'"),
            ('[backend.sim.far_end.1]\nredirect_to = "a\\r\\nb: c"\n', "redirect_to"),
            ("[backend.sim.far_end.1]\nreject_with = 200\n", "expected at least 300"),
        ):
            self.assertIn(mistake, self.mistakes(text)[0])

    def test_a_sip_backend(self) -> None:
        text = '[backend.pbx]\ntype = "sip"\n'
        self.assertEqual(self.mistakes(text), ["umd.toml:1: backend.pbx.peer is missing"])
        text += 'peer = "udp:pbx.example.com:5060"\nfrm = "sip:a@b"\nuri = "sip:1@pbx"\n'
        self.assertEqual(
            self.mistakes(text),
            [
                'umd.toml:3: backend.pbx.peer = "udp:pbx.example.com:5060": expected an address'
                ' such as "udp:127.0.0.1:5060" or "udp:[::1]:5060", without a name',
                "umd.toml:4: backend.pbx.frm is not a setting; did you mean backend.pbx.from?",
                'umd.toml:5: backend.pbx.uri = "sip:1@pbx": expected a SIP URI with {number} in it,'
                ' such as "sip:{number}@example.com"',
            ],
        )
        text = '[backend.pbx]\ntype = "sip"\npeer = "udp:[::1]:5070"\nlisten = "udp:[::1]:0"\n'
        self.read(text)
        text += 'username = "umd"\n'
        (line,) = self.mistakes(text)
        self.assertIn("expected username and password_file, both or neither", line)

    def test_what_is_no_toml(self) -> None:
        (mistake,) = self.mistakes('[http]\nlisten = "tcp\n')
        self.assertTrue(mistake.startswith("umd.toml:2: "), mistake)
        (mistake,) = self.mistakes("a = 1\na = 2\n")
        self.assertTrue(mistake.startswith("umd.toml:2: "), mistake)
        (mistake,) = self.mistakes("a = [\n")
        self.assertTrue(mistake.startswith("umd.toml:2: "), mistake)

    def test_a_file_that_is_not_there_or_no_text(self) -> None:
        with self.assertRaisesRegex(ConfigError, "nowhere.toml: No such file"):
            load("nowhere.toml")
        file = Path(self.mktemp())
        file.write_bytes(b"\xef\xbb\xbfnode = 'marked'")
        self.assertEqual(load(str(file)).node, "marked")
        file.write_bytes(b"node = '\xff'")
        with self.assertRaisesRegex(ConfigError, "not UTF-8 at octet 8"):
            load(str(file))
        with self.assertRaisesRegex(ConfigError, "^[.]: not a regular file$"):
            load(".")
        with self.assertRaisesRegex(ConfigError, '^"": expected the path of a configuration'):
            load("")

    def test_a_file_that_would_never_end(self) -> None:
        fifo = self.mktemp()
        os.mkfifo(fifo)
        for file in (fifo, "/dev/zero"):
            with self.assertRaisesRegex(ConfigError, f"^{file}: not a regular file$"):
                load(file)
        self.read("#" * 1024**2)
        self.assertEqual(self.mistakes("#" * (1024**2 + 1)), ["umd.toml: longer than 1 MiB"])

    def test_what_would_cost_too_much_to_read(self) -> None:
        for value, why in (
            ("1" * 5000, "a number of more than 100 digits"),
            ("-0x" + "f" * 6000, "a number of more than 100 digits"),
            ("0x" + "f" * 6000, "a number of more than 100 digits"),
            ("[" * 3000 + "]" * 3000, "a value nested more than 16 deep"),
            ("{a=" * 3000 + "1" + "}" * 3000, "a value nested more than 16 deep"),
            ("[\n" * 20, "a value nested more than 16 deep"),
            ("{" + ".".join("a" * 3000) + "=1}", "a key of more than 16 parts"),
        ):
            line = 18 if "\n" in value else 2
            self.assertEqual(
                self.mistakes(f"[call]\nretained = {value}"), [f"umd.toml:{line}: {why}"]
            )
            (mistake,) = self.mistakes("", f"call.retained={value}")
            self.assertTrue(mistake.endswith(f"...: {why}") or "\n" in value, mistake)
            self.assertLess(len(mistake), 200)
        dots = ".".join("a" * 3000)
        for text in (f"\n{dots} = 1", f"\n[{dots}]", f"\n[[{dots}]]"):
            self.assertEqual(self.mistakes(text), ["umd.toml:2: a key of more than 16 parts"])
        self.assertIn(": a key of more than 16 parts", self.mistakes("", f"{dots}=1")[0])

    def test_what_is_just_not_too_much(self) -> None:
        dots = ".".join("a" * 16)
        value = ("[{" + dots + "=") * 8 + "1" + "}]" * 8
        (mistake,) = self.mistakes(f"[{dots}]\n{dots} = {value}")
        self.assertEqual(mistake, "umd.toml:1: a is not a setting")
        self.read("[backend.sim]\nrandom_seed = " + "9" * 100)

    def test_a_string_is_not_counted(self) -> None:
        for value in ("1" * 200, "[" * 100, "." * 100):
            for text in (f'"{value}"', f"'{value}'", f'"""\n{value}"""', f"'''\n{value}'''"):
                (mistake,) = self.mistakes(f"call.deadline = {text}  # {value}")
                self.assertIn("umd.toml:1: call.deadline", mistake)
        dots = ".".join("a" * 100)
        self.assertEqual(self.read("", f"node={dots}").node, dots)

    def test_the_lines_of_a_file_with_carriage_returns(self) -> None:
        text = 'node = "n"\r\n[call]\r\nretention = """\r\n1 s"""\r\ndeadline = "x"\r\n'
        with self.assertRaises(ConfigError) as caught:
            self.read_octets(text.encode())
        first, second = caught.exception.mistakes
        self.assertIn(":3: call.retention", first)
        self.assertIn(":5: call.deadline", second)
        with self.assertRaisesRegex(ConfigError, ":3: "):
            self.read_octets(b"[call]\r\n\r\nx\r\n")

    def test_a_mistake_in_a_long_list_is_found_in_one_pass(self) -> None:
        """As a growing chunk for each line, this took half a minute."""
        items = '{ number = "1" },\n' * 2000
        text = f"[backend.sim]\nseed = [\n{items}]\n" + "[http]\nlisen = 1\n"
        self.assertTrue(self.mistakes(text)[0].startswith("umd.toml:2005: http.lisen"))
        many = '[[backend.sim.seed]]\r\nnumber = "1"\r\n' * 1000 + "stat = 1\r\n"
        with self.assertRaises(ConfigError) as caught:
            self.read_octets(many.encode())
        self.assertEqual(
            caught.exception.mistakes,
            (
                f"{self.file}:2001: backend.sim.seed.999.stat is not a setting;"
                " did you mean backend.sim.seed.999.state?",
            ),
        )

    def test_no_more_mistakes_than_anybody_reads(self) -> None:
        lines = self.mistakes("[call]\n" + "".join(f"k{n} = 1\n" for n in range(500)))
        self.assertEqual((len(lines), lines[-1]), (101, "and 400 more like these"))
        lines = self.mistakes("".join(f"[backend.sim{n}]\nx = 1\n" for n in range(500)))
        self.assertEqual(len(lines), 100)

    def test_keys_and_values_stay_on_one_line(self) -> None:
        evil = '"a\\n\\u001b[31m\\u0085\\U000E0001\\\\\\""'
        shown = '"a\\n\\u001B[31m\\u0085\\U000E0001\\\\\\""'
        for text, mistake in (
            (f"{evil} = 1", f"{shown} is not a setting"),
            (f"[http.{evil}]", f"http.{shown} is not a setting"),
            (f"[backend.{evil}]", f"backend {shown}: expected letters"),
            (f"[backend.sim.{evil}]", f"backend.sim.{shown} is not a setting"),
            ('"" = 1', '"" is not a setting'),
            ('"a.b" = 1', '"a.b" is not a setting'),
            ('"' + "k" * 5000 + '" = 1', '"' + "k" * 57 + '..." is not a setting'),
            ('[backend.x]\ntype = "\\u001b"', "no backend of type '\\x1b'"),
            ("[backend.x]\ntype = [1]", "backend.x.type = [1]: expected a string"),
            ("call.retained = [1979-05-27]", '["1979-05-27"]: expected a whole number'),
        ):
            (found,) = self.mistakes(text)
            self.assertIn(mistake, found)
            self.assertTrue(found.isprintable(), found)
        (found,) = self.mistakes("", "a\x1b\n=1")
        self.assertEqual(found, '-o a\\u001B\\n=1: "a\\u001B" is not a setting')
        with self.assertRaisesRegex(ConfigError, r"^no\\nfile\\u001B: No such file"):
            load("no\nfile\x1b")

    def test_a_hint_keeps_numbers_and_names(self) -> None:
        for text, hint in (
            ("[[backend.sim.seed]]\n[[backend.sim.seed]]\ncallid = 1", "seed.1.call_id"),
            ("[backend.sim]\nseed = [{callid = 1}]", "seed.0.call_id"),
            ("[backend.sim.far_end.555]\nrechable = 1", "far_end.555.reachable"),
            ("[backend.sim]\ncall_id = 1", "seed.call_id"),
        ):
            (mistake,) = self.mistakes(text)
            self.assertTrue(mistake.endswith(f"did you mean backend.sim.{hint}?"), mistake)

    def test_overrides_are_told_by_themselves(self) -> None:
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

    def test_an_override_of_a_section_takes_the_places_below_it(self) -> None:
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


class LinesTests(SynchronousTestCase):
    def test_every_way_to_write_a_key(self) -> None:
        text = (
            'a.b = 1\n"c d" = 2\n\n[t]\nx = [\n  1,\n  # z = 1\n  2,\n]\n'
            'y = """\n[no]\nz = 1\n"""\n'
            "in = { k = 1, l.m = 2 }\n[[r]]\nq = 1\n[r.s]\nu = 1\n"
            "[[r]]\nq = 2\n['quoted'.t]\nv = 1\n"
        )
        self.assertEqual(
            find_lines(text),
            {
                ("a",): 1, ("a", "b"): 1, ("c d",): 2, ("t",): 4, ("t", "x"): 5,
                ("t", "y"): 10, ("t", "in"): 14, ("r",): 15, ("quoted",): 21, ("r", "0"): 15,
                ("r", "0", "q"): 16, ("r", "0", "s"): 17, ("r", "0", "s", "u"): 18,
                ("r", "1"): 19, ("r", "1", "q"): 20, ("quoted", "t"): 21, ("quoted", "t", "v"): 22,
            },
        )  # fmt: skip

    def test_brackets_quotes_and_signs_inside_of_values(self) -> None:
        text = (
            "a = [ # ] = [\n  \"]\", ']',\n  { b = [ 1 ] }, # }\n]\n"
            'b = """\n"] \\""" [c] = 1\n""""" # """\n'
            "c = '''\n''] \\\nd = \"\"\"\n'''''\n"
            "  [ \"x.y\" . 'z=]' . w ] # [no]\n"
            '"=".\'#\' . "\\u0041\\"" = "\\"" # "\n'
            "\t[[ s ]]\ne=\"\"\nf=''\n"
        )
        tomllib.loads(text)
        place = ("x.y", "z=]", "w")
        self.assertEqual(
            find_lines(text),
            {
                ("a",): 1, ("b",): 5, ("c",): 8,
                place[:1]: 12, place[:2]: 12, place: 12, (*place, "="): 13,
                (*place, "=", "#"): 13, (*place, "=", "#", 'A"'): 13,
                ("s",): 14, ("s", "0"): 14, ("s", "0", "e"): 15, ("s", "0", "f"): 16,
            },
        )  # fmt: skip
