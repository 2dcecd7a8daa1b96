"""Scenario files: each mistake is reported with its line, and expectations are checked."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from umd.config import ConfigError
from umd.lab import scenario as files
from umd.lab.run import Result, run
from umd.lab.scenario import Scenario

EXAMPLES = Path(__file__).parents[2] / "examples" / "lab"

PLACE = """
[[step]]
do = "place"
number = "5550101"
"""


class FileCase(SynchronousTestCase):
    def write(self, text: str) -> str:
        file: str = self.mktemp()
        Path(file).write_text(text)
        return file

    def load(self, text: str) -> Scenario:
        return files.load(self.write(text))


class MistakeTests(FileCase):
    def refused(self, text: str) -> list[str]:
        file = self.write(text)
        with self.assertRaises(ConfigError) as caught:
            files.load(file)
        return [line.removeprefix(file) for line in caught.exception.mistakes]

    def test_each_mistake_has_its_line(self) -> None:
        said = self.refused(
            'titel = "x"\n[network]\ndelay = "5 apples"\nloss = 1.5\n'
            '[far_end.5551234]\nbye = "shouts"\n[[step]]\ndo = "dance"\n'
        )
        places = [line.partition(" ")[0] for line in said]
        self.assertEqual(places, [":1:", ":3:", ":4:", ":6:", ":8:"])
        self.assertIn("titel is not a setting; did you mean title?", said[0])

    def test_a_scenario_without_a_call(self) -> None:
        self.assertIn('do = "place"', self.refused("title = 'x'")[0])

    def test_mistakes_that_involve_several_keys(self) -> None:
        said = self.refused(
            PLACE
            + '[[step]]\ndo = "A leaves"\n'
            + '[[step]]\nat = "1s"\nafter = "rest"\ndo = "far answers (other)"\n'
            + '[[step]]\ndo = "place"\n'
            + '[[expect]]\ncall = "none"\nanswers = { B = "ended" }\n'
        )
        self.assertEqual(len(said), 7, said)
        self.assertIn(":6: A leaves: A asks for nothing that it could leave", said)
        self.assertIn(":9: expected at or after, not both", said)

    def test_an_impossible_network(self) -> None:
        self.assertIn("expected at most 2.5", self.refused(f'[network]\ndelay="3s"\n{PLACE}')[0])


class WriteTests(FileCase):
    def test_a_written_scenario_reads_back(self) -> None:
        for file in sorted(EXAMPLES.glob("*.toml")):
            scenario = files.load(str(file))
            self.assertEqual(self.load(files.write(scenario)), scenario, file)


class ExampleTests(SynchronousTestCase):
    def test_every_example_meets_its_expectations(self) -> None:
        examples = sorted(EXAMPLES.glob("*.toml"))
        self.assertGreaterEqual(len(examples), 5)
        for file in examples:
            result = run(files.load(str(file)))
            self.assertEqual((result.violations, result.unmet, result.not_done), ([], [], []))


class ExpectationTests(FileCase):
    def run_with(self, expect: str, steps: str = "") -> Result:
        return run(self.load(f"{PLACE}{steps}\n[[expect]]\n{expect}"))

    def test_unmet_expectations_are_reported(self) -> None:
        asks = '[[step]]\nat = "1s"\ndo = "A disconnects"\n'
        for expect, said in {
            'events = ["Placed"]': "expected events Placed, found Placed, Connected, ",
            'answers = { A = "already-ended" }': "the answer to A already-ended, found ended",
            'by = "far-end"': "expected by far-end, found client",
            "confirmed = false": "expected confirmed False, found True",
            "q850 = 17": "expected q850 17, found 16",
            "sip_status = 486": "expected sip_status 486, found 200",
            'within = "1ms"': "expected the end within 0.001 s: ended after 0.020 s",
            'answered_within = "1ms"': "A was answered after 0.020 s",
        }.items():
            (unmet,) = self.run_with(expect, asks).unmet
            self.assertIn(said, unmet)

    def test_a_call_that_never_ended(self) -> None:
        (unmet,) = self.run_with('within = "1s"').unmet
        self.assertIn("never ended", unmet)

    def test_a_step_whose_place_is_never_reached(self) -> None:
        steps = '[[step]]\nafter = "told Alerting"\ndo = "A disconnects"\n'
        (choice,) = self.run_with("", steps).not_done
        self.assertEqual(str(choice), "A disconnects after told Alerting")
