"""The explorer enumerates every run within a bound, and umd violates no invariant."""

import json
import subprocess
import sys
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from umd.backends.sim.directory import built_in_far_ends
from umd.lab.checker import InvariantChecker
from umd.lab.choices import FAR, REST, Fate, Verb
from umd.lab.explore import Tally, children, explore, explore_unit, units_of
from umd.lab.plans import A, Bound, Plan, default_plans
from umd.lab.run import run
from umd.lab.scenario import one_call
from umd.lab.testbed import Testbed

RACE = ((A, Verb.DISCONNECT), (FAR, Verb.ANSWER), (FAR, Verb.HANG_UP))


class ExploreTests(SynchronousTestCase):
    def explore(self, number: str, bound: Bound) -> Tally:
        tally = Tally()
        plan = Plan("test", (one_call(number),), (bound,))
        for each in explore(list(units_of([plan]))):
            tally.add(each)
        return tally

    def test_the_default_set_in_short(self) -> None:
        """No invariant is violated, whatever the far end, the acts and the losses."""
        tally = Tally()
        for each in explore(list(units_of(default_plans(short=True)))):
            tally.add(each)
        self.assertEqual([str(each) for each in tally.findings], [])
        self.assertGreater(len(tally.orders), 1000)

    def test_the_default_set_has_every_far_end(self) -> None:
        plan = default_plans()[0]
        numbers = [scenario.step[0].number for scenario in plan.scenarios]
        self.assertEqual(numbers, list(built_in_far_ends()))

    def test_every_place_and_every_message(self) -> None:
        """A client can ask after each step of a call, and each message can get lost."""
        scenario = one_call("5550101")
        (unit, *_) = units_of([Plan("test", (scenario,), (Bound(1, 1, (Fate.LOSE,)),))])
        result = run(scenario, branch_points=True)
        unit = replace(unit, start=(0, 0))
        found = [str(choices[-1]) for choices, _ in children(unit, result.branch_points)]
        self.assertEqual(
            found,
            [
                "lose > INVITE 1",
                "A disconnects after told Placed",
                "A disconnects after got > INVITE 1",
                "lose < 200 INVITE 1",
                "A disconnects after sent < 200 INVITE 1",
                "lose > ACK 1",
                "A disconnects after got < 200 INVITE 1",
                "A disconnects after got > ACK 1",
                f"A disconnects after {REST}",
            ],
        )

    def test_the_count_is_the_same_each_time_and_with_any_number_of_jobs(self) -> None:
        tallies = [self.explore("5550180", Bound(2, 0, allowed_acts=RACE)) for _ in range(2)]
        self.assertEqual(tallies[0].orders, tallies[1].orders)
        # In a process of its own: this one may have threads, and must not fork.
        bounds = ("--far-end", "5550101", "--losses", "1", "--depth", "1", "--json")
        told = []
        for jobs in ("1", "2"):
            command = [sys.executable, "-m", "umd", "lab", "explore", *bounds, "--jobs", jobs]
            done = subprocess.run(command, check=True, capture_output=True)
            last = json.loads(done.stdout.splitlines()[-1])
            told.append((last["runs"], last["interleavings"]))
        self.assertEqual(told[0], told[1])
        self.assertGreater(told[0][1], 200)

    def test_runs_with_the_same_order_count_once(self) -> None:
        """A delay that lets no message overtake gives no new interleaving."""
        tally = self.explore("5550186", Bound(0, 1, (Fate.DELAY,)))
        self.assertLess(len(tally.orders), tally.runs)

    def test_choices_are_added_in_the_order_of_time(self) -> None:
        """So no set of choices is tried twice."""
        seen: set[frozenset[str]] = set()
        for unit in units_of([Plan("test", (one_call("5550101"),), (Bound(0, 2, (Fate.LOSE,)),))]):
            tally = explore_unit(unit)
            self.assertEqual(tally.violated, 0)
            result = run(unit.scenario, unit.choices, branch_points=True)
            for choices, _ in children(unit, result.branch_points):
                chosen = frozenset(map(str, choices))
                self.assertNotIn(chosen, seen)
                seen.add(chosen)
        self.assertGreater(len(seen), 5)


class TestbedTests(SynchronousTestCase):
    def test_a_test_bed_without_acts_comes_to_rest(self) -> None:
        scenario = one_call("5550180")
        checker = InvariantChecker(5.0)
        testbed = Testbed(scenario.sim_section(), scenario.control_settings(), checker)
        call = testbed.place("call", "5550180")
        while testbed.step():
            pass
        self.assertEqual((call.state.value, checker.violations), ("alerting", []))
        self.assertIsNotNone(testbed.far_session(call))
