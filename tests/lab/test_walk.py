"""Random walks, and the drawing of a run."""

from typing import Any

from tests.lab.planting import PlantingCase
from umd.lab.choices import parse_choice
from umd.lab.ladder import heading, ladder
from umd.lab.random_walk import walk
from umd.lab.rules import Rule
from umd.lab.run import run
from umd.lab.scenario import JournalSection, Scenario, one_call
from umd.sip.session import CallerSession

BAD = Scenario.model_validate({"network": {"jitter": "80ms", "loss": 0.1, "duplicate": 0.1}})


class WalkTests(PlantingCase):
    def test_no_transaction_is_left(self) -> None:
        for seed in (1, 2):
            walked = walk(BAD, steps=6000, seed=seed, calls=30)
            self.assertIsNone(walked.violation)
            self.assertEqual((walked.steps, walked.left), (6000, 0))
            self.assertGreater(walked.calls, 300)
            self.assertGreater(walked.lost, 200)

    def test_the_same_seed_is_the_same_walk_watched_or_not(self) -> None:
        one = walk(BAD, steps=1500, seed=3, calls=20)
        other = walk(BAD, steps=1500, seed=3, calls=20, watch=True)
        self.assertTrue(other.run_log)
        other.run_log = []
        self.assertEqual(one, other)

    def test_a_walk_with_a_journal(self) -> None:
        """Many calls share each commit; commits fail, and umd crashes now and then."""
        scenario = BAD.model_copy(update={"journal": JournalSection()})
        walked = walk(scenario, steps=8000, seed=3, calls=30)
        self.assertIsNone(walked.violation)
        self.assertEqual((walked.steps, walked.left), (8000, 0))
        self.assertGreater(walked.crashes, 1)
        self.assertGreater(walked.commits, 300)

    def test_a_planted_fault_is_found_and_repeated(self) -> None:
        send_ack = CallerSession._send_ack
        acks = []

        def forgetful(session: CallerSession, dialog: Any, response: Any) -> None:
            acks.append(response.call_id)
            if len(acks) % 50:
                send_ack(session, dialog, response)

        self.patch(CallerSession, "_send_ack", forgetful)
        first = walk(BAD, steps=20_000, seed=4, calls=20)
        assert first.violation is not None
        self.assertEqual(first.violation.rule, Rule.PROTOCOL)
        acks.clear()
        again = walk(BAD, steps=first.steps, seed=4, calls=20, watch=True)
        self.assertEqual(again.violation, first.violation)
        leg = first.violation.leg
        self.assertTrue(any(line.leg == leg for line in again.run_log))


class LadderTests(PlantingCase):
    def test_a_ladder(self) -> None:
        """The drawing has each message, its loss, each act and each answer."""
        choices = [
            parse_choice("A disconnects after told Alerting"),
            parse_choice("lose > BYE 1"),
            parse_choice("echo < 180 INVITE 1"),
        ]
        scenario = one_call("5550181")
        result = run(scenario, choices)
        told = "\n".join([*heading(scenario, choices), *ladder(result)])
        for words in (
            "far end   5550181: rings, answers just before a CANCEL",
            "choice    lose > BYE 1",
            "0.0210  A disconnects ",
            "|- BYE 1 -",
            "x             | lost",
            " copies after 0.01 s, 4.51 s",
            "call: ended by client, 200 confirmed",
            "A is answered: ended ",
            "-- nothing is under way --",
        ):
            self.assertIn(words, told)

    def test_a_violation_is_drawn_at_its_place(self) -> None:
        self.patch(CallerSession, "_send_ack", lambda *args: None)
        lines = list(ladder(run(one_call("5550101"))))
        where = next(number for number, line in enumerate(lines) if "!! protocol" in line)
        self.assertIn("200 INVITE 1 <", lines[where - 2])
