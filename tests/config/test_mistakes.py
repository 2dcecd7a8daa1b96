"""Every mistake in a configuration is reported with its place."""

from __future__ import annotations

from tests.config.case import ConfigCase
from umd.config import ConfigError, load


class PlaceTests(ConfigCase):
    """A value that fails only when it is used is reported with its place too."""

    def message(self, text: str, *overrides: str) -> str:
        settings = self.read(text, *overrides)
        line = settings.mistake(("tls", "key"), settings.tls.key, "not\nthere")
        return line.replace(self.file, "umd.toml")

    def test_a_mistake_found_later_names_the_line(self) -> None:
        self.assertEqual(
            self.message('[tls]\n\nkey = "/k"\n'), 'umd.toml:3: tls.key = "/k": not\\nthere'
        )

    def test_a_mistake_found_later_names_the_option(self) -> None:
        self.assertEqual(
            self.message('[tls]\nkey = "/k"\n', "tls.key=/x"),
            '-o tls.key=/x: tls.key = "/x": not\\nthere',
        )


class MistakeTests(ConfigCase):
    def test_invalid_dial_rules_and_pin_deliveries(self) -> None:
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

    def test_every_mistake_is_reported_with_its_line(self) -> None:
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

    def test_an_unknown_key_without_a_similar_one(self) -> None:
        (mistake,) = self.mistakes("zzz.qqq = 1\n")
        self.assertEqual(mistake, "umd.toml:1: zzz is not a setting")

    def test_values_of_the_wrong_type(self) -> None:
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

    def test_invalid_control_sockets_are_refused(self) -> None:
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

    def test_the_number_of_traced_messages_has_limits(self) -> None:
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

    def test_invalid_seeds_and_far_ends_are_refused(self) -> None:
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

    def test_at_most_a_hundred_mistakes_are_shown(self) -> None:
        lines = self.mistakes("[call]\n" + "".join(f"k{n} = 1\n" for n in range(500)))
        self.assertEqual((len(lines), lines[-1]), (101, "and 400 more like these"))
        lines = self.mistakes("".join(f"[backend.sim{n}]\nx = 1\n" for n in range(500)))
        self.assertEqual(len(lines), 100)

    def test_a_message_stays_on_one_line(self) -> None:
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

    def test_a_suggestion_keeps_indexes_and_names(self) -> None:
        for text, hint in (
            ("[[backend.sim.seed]]\n[[backend.sim.seed]]\ncallid = 1", "seed.1.call_id"),
            ("[backend.sim]\nseed = [{callid = 1}]", "seed.0.call_id"),
            ("[backend.sim.far_end.555]\nrechable = 1", "far_end.555.reachable"),
            ("[backend.sim]\ncall_id = 1", "seed.call_id"),
        ):
            (mistake,) = self.mistakes(text)
            self.assertTrue(mistake.endswith(f"did you mean backend.sim.{hint}?"), mistake)
