"""The text of a configuration: its lines, and the limits that keep parsing cheap."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.config.case import ConfigCase
from umd.config import ConfigError, load
from umd.config.places import find_lines


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


class SourceTests(ConfigCase):
    def test_text_that_is_not_toml(self) -> None:
        (mistake,) = self.mistakes('[http]\nlisten = "tcp\n')
        self.assertTrue(mistake.startswith("umd.toml:2: "), mistake)
        (mistake,) = self.mistakes("a = 1\na = 2\n")
        self.assertTrue(mistake.startswith("umd.toml:2: "), mistake)
        (mistake,) = self.mistakes("a = [\n")
        self.assertTrue(mistake.startswith("umd.toml:2: "), mistake)

    def test_files_that_cannot_be_read(self) -> None:
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

    def test_a_device_or_pipe_is_not_read(self) -> None:
        fifo = self.mktemp()
        os.mkfifo(fifo)
        for file in (fifo, "/dev/zero"):
            with self.assertRaisesRegex(ConfigError, f"^{file}: not a regular file$"):
                load(file)
        self.read("#" * 1024**2)
        self.assertEqual(self.mistakes("#" * (1024**2 + 1)), ["umd.toml: longer than 1 MiB"])

    def test_text_that_is_too_costly_to_parse(self) -> None:
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

    def test_text_at_the_limits(self) -> None:
        dots = ".".join("a" * 16)
        value = ("[{" + dots + "=") * 8 + "1" + "}]" * 8
        (mistake,) = self.mistakes(f"[{dots}]\n{dots} = {value}")
        self.assertEqual(mistake, "umd.toml:1: a is not a setting")
        self.read("[backend.sim]\nrandom_seed = " + "9" * 100)

    def test_the_limits_do_not_count_strings(self) -> None:
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

    def test_the_scan_of_a_long_list_takes_linear_time(self) -> None:
        """A scan that starts anew for each line takes half a minute."""
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
