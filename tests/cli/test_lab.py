"""The commands `umd lab`: their output, the files they write, and their exit status."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from click.testing import CliRunner, Result

from tests.lab.planting import PlantingCase
from umd.cli.main import main
from umd.lab.rules import Rule
from umd.sip.session import CallerSession

EXAMPLES = Path(__file__).parents[2] / "examples" / "lab"
CROSSES = str(EXAMPLES / "answer-crosses-cancel.toml")

UNMET = """
title = "a wrong guess"
[[step]]
do = "place"
number = "5550186"
[[expect]]
q850 = 16
"""


class LabCase(PlantingCase):
    def lab(self, *arguments: str, status: int = 0) -> Result:
        result = CliRunner().invoke(main, ["lab", *arguments], catch_exceptions=False)
        self.assertEqual(result.exit_code, status, result.output)
        return result

    def write(self, text: str) -> str:
        file = f"{self.mktemp()}.toml"
        Path(file).write_text(text)
        return file

    def plant(self) -> None:
        """Plant a fault: umd acknowledges no 2xx."""
        self.patch(CallerSession, "_send_ack", lambda *args: None)


class RunTests(LabCase):
    def test_as_expected(self) -> None:
        output = self.lab("run", CROSSES).output
        self.assertTrue(output.startswith("ok        the answer crosses the CANCEL"), output)

    def test_an_expectation_that_is_not_met(self) -> None:
        junit = self.mktemp()
        output = self.lab("run", self.write(UNMET), CROSSES, "--junit", junit, status=1).output
        self.assertIn("not met   a wrong guess", output)
        self.assertIn("call: expected q850 16, found 17", output)
        (suite,) = ElementTree.parse(junit).getroot()
        self.assertEqual((suite.get("tests"), suite.get("failures")), ("2", "1"))
        self.assertEqual([len(case) for case in suite], [1, 0])

    def test_a_violation_is_worse(self) -> None:
        self.plant()
        output = self.lab("run", self.write(UNMET), CROSSES, "--json", status=4).output
        first, second = map(json.loads, output.splitlines())
        self.assertEqual((first["verdict"], second["verdict"]), ("not-met", "violated"))
        self.assertIn(Rule.PROTOCOL, second["said"][0])

    def test_a_mistake_in_a_file(self) -> None:
        wrong = self.write("titel = 1\n")
        result = self.lab("run", CROSSES, wrong, status=2)
        self.assertIn(f"{wrong}:1: titel is not a setting; did you mean title?", result.output)
        self.lab("run", "/nowhere", status=2)
        self.lab("run", status=2)

    def test_a_file_that_cannot_be_written(self) -> None:
        output = self.lab("run", CROSSES, "--junit", "/nowhere/junit.xml", status=2).output
        self.assertIn("/nowhere/junit.xml: No such file or directory", output)

    def test_a_violation_is_reported_even_if_no_file_can_be_written(self) -> None:
        """The exit status is that of the violation, not that of the file."""
        self.plant()
        output = self.lab("run", CROSSES, "--junit", "/dev/full", status=4).output
        self.assertIn("VIOLATED  the answer crosses the CANCEL", output)
        self.assertIn("/dev/full: No space left on device", output)
        for command in (
            ["walk", "--steps", "2000"],
            ["explore", "--far-end", "5550101", "--depth", "0", "--losses", "0"],
        ):
            output = self.lab(*command, "--seeds", "/dev/null/seeds", status=4).output
            self.assertIn("; no seed is written: /dev/null/seeds: Not a directory", output)


class ExploreTests(LabCase):
    def test_the_count_is_printed(self) -> None:
        output = self.lab("explore", "--far-end", "+1 555 0186", "--depth", "1", "--json").output
        last = json.loads(output.splitlines()[-1])
        self.assertEqual((last["name"], last["violations"]), ("everything", 0))
        self.assertGreater(last["interleavings"], 50)
        self.assertGreaterEqual(last["runs"], last["interleavings"])

    def test_around_a_scenario(self) -> None:
        output = self.lab("explore", "--scenario", CROSSES, "--depth", "0").output
        self.assertIn("the answer crosses the CANCEL", output)

    def test_an_unknown_far_end(self) -> None:
        output = self.lab("explore", "--far-end", "5550999", status=2).output
        self.assertIn("no far end of the simulator is 5550999", output)

    def test_a_violation_becomes_a_seed_that_is_replayed(self) -> None:
        self.plant()
        seeds, junit = self.mktemp(), self.mktemp()
        bounds = ("--far-end", "5550101", "--depth", "1", "--losses", "1")
        output = self.lab("explore", *bounds, "--seeds", seeds, "--junit", junit, status=4).output
        self.assertIn("umd lab replay", output)
        errors = [suite.get("errors") for suite in ElementTree.parse(junit).getroot()]
        self.assertEqual(errors, ["1", "1"])
        (seed,) = (each for each in Path(seeds).iterdir() if each.name.startswith("protocol"))
        text = seed.read_text()
        self.assertNotIn("choices", text)  # it takes none: every call lacks its ACK
        self.assertIn('violated = "protocol"', text)
        run_log = self.lab("replay", str(seed), status=4).output
        self.assertIn("!! protocol: a 2xx to INVITE got no ACK", run_log)
        self.lab("run", str(seed), status=4)

    def test_a_seed_that_is_not_violated_any_more(self) -> None:
        send_ack = CallerSession._send_ack
        self.plant()
        seeds = self.mktemp()
        bounds = ("--far-end", "5550101", "--depth", "0", "--losses", "0")
        self.lab("explore", *bounds, "--seeds", seeds, status=4)
        self.patch(CallerSession, "_send_ack", send_ack)
        (seed,) = Path(seeds).iterdir()
        self.assertIn("not violated any more: protocol", self.lab("replay", str(seed)).output)


class WalkTests(LabCase):
    def test_its_figures(self) -> None:
        output = self.lab("walk", "--steps", "2000", "--seed", "5", "--json").output
        figures = json.loads(output)
        self.assertEqual((figures["steps"], figures["transactions_left"]), (2000, 0))

    def test_a_violation_becomes_a_seed_that_is_replayed(self) -> None:
        count: list[Any] = []
        send_ack = CallerSession._send_ack

        def forgetful(session: CallerSession, *args: Any) -> None:
            count.append(args)
            if len(count) != 30:
                send_ack(session, *args)

        self.patch(CallerSession, "_send_ack", forgetful)
        seeds = self.mktemp()
        self.lab("walk", "--steps", "4000", "--seeds", seeds, status=4)
        (seed,) = Path(seeds).iterdir()
        count.clear()
        run_log = self.lab("replay", str(seed), status=4).output
        self.assertIn("!! protocol: a 2xx to INVITE got no ACK", run_log)
        self.assertLess(len(run_log.splitlines()), 100)  # of one call, not of them all

    def test_a_jitter_that_is_not_a_duration(self) -> None:
        output = self.lab("walk", "--jitter", "5 apples", status=2).output
        self.assertIn("--jitter 5 apples: expected a duration such as 80ms", output)
