"""The behaviour of each simulated far end, seen from the end of umd, on virtual time."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from umd.backend import Answered, Ended, LegEvent, LegId, Progressed
from umd.backends.sim.directory import Directory, built_in_far_ends, last_digits
from umd.backends.sim.section import Behaviour, SimSection
from umd.backends.sim.simulation import Simulation
from umd.call.call import CallState
from umd.call.cause import Cause, EndedBy

LEG = LegId("leg")
CLIENT = Cause(by=EndedBy.CLIENT)
README = Path(__file__).parent.parent.parent.parent / "README.md"


class World:
    """A simulation on virtual time, with the events that it reported."""

    def __init__(self, **section: object) -> None:
        self.now = 0.0
        self.events: list[LegEvent] = []
        self.times: list[float] = []
        keys = {"random_seed": 1, "check_every": 1, **section}
        self.simulation = Simulation(SimSection.model_validate(keys), self._report)

    def _report(self, event: LegEvent) -> None:
        self.events.append(event)
        self.times.append(round(self.now, 6))

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        network = self.simulation.network
        network.run(self.now)
        while (due := network.next_due()) is not None and due <= until:
            self.now = max(self.now, due)
            network.run(self.now)
        self.now = until

    def place(self, number: str, leg: LegId = LEG) -> None:
        self.simulation.place(leg, number, self.now)

    def hang_up(self, leg: LegId = LEG) -> None:
        self.simulation.hang_up(leg, CLIENT, self.now)

    @property
    def left(self) -> tuple[int, ...]:
        """Return the sessions, dialogs and transactions at both ends; all 0 after the last call."""
        ours, theirs = self.simulation.endpoint, self.simulation.far_ends.endpoint
        return (
            len(self.simulation.legs),
            ours.dialogs,
            len(ours.transactions),
            theirs.dialogs,
            len(theirs.transactions),
        )


class FarEndCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.world.events]

    def end(self) -> Ended:
        event = self.world.events[-1]
        assert isinstance(event, Ended), self.world.events
        return event

    def said(self) -> tuple[str, int | None, int, bool]:
        end = self.end()
        return end.cause.by.value, end.cause.sip_status, end.cause.q850, end.confirmed

    def nothing_is_left(self) -> None:
        self.world.run(100.0)
        self.assertEqual(self.world.left, (0, 0, 0, 0, 0))
        self.assertIsNone(self.world.simulation.network.next_due())
        self.assertEqual(self.names().count("Ended"), 1)


class PlaceTests(FarEndCase):
    def test_answers_and_stays(self) -> None:
        """555 0100 rings, answers and stays."""
        self.world.place("5550100")
        self.world.run(10_000.0)
        self.assertEqual(self.world.events, [Progressed(LEG), Answered(LEG)])
        self.assertEqual(self.world.times, [0.003, 1.003])

    def test_far_ends_that_reject(self) -> None:
        """A rejected call ends with the status of the far end."""
        for number, status, q850, seconds in (
            ("5550102", 302, 127, 0.002),
            ("5550103", 603, 21, 2.003),
            ("5550104", 404, 1, 0.002),
            ("5550105", 500, 41, 0.002),
            ("5550186", 486, 17, 0.002),
            ("5550187", 480, 18, 10.003),
        ):
            self.world = World()
            self.world.place(number)
            self.world.run(60.0)
            self.assertEqual(self.said(), ("far-end", status, q850, True), number)
            self.assertEqual(self.world.times[-1], seconds, number)
            self.nothing_is_left()

    def test_dead_far_end(self) -> None:
        """Without any response the call ends after 64*T1, timer B (RFC 3261 section 17.1.1.2)."""
        self.world.place("5550108")
        self.world.run(31.999)
        self.assertEqual(self.world.events, [])
        self.world.run(0.001)
        self.assertEqual(self.said(), ("daemon", 408, 102, False))
        self.nothing_is_left()

    def test_refusing_host(self) -> None:
        """A host where nothing listens ends the call at once."""
        self.world.place("5550107")
        self.world.run(0.0)
        self.assertEqual(self.said()[:2], ("daemon", 503))
        self.nothing_is_left()

    def test_far_ends_that_hang_up(self) -> None:
        """A far end that hangs up ends the call."""
        for number, seconds in (("5550120", 21.006), ("5550121", 1.007)):
            self.world = World()
            self.world.place(number)
            self.world.run(30.0)
            self.assertEqual(self.said(), ("far-end", None, 16, True))
            self.assertAlmostEqual(self.world.times[-1], seconds, 2)
            self.nothing_is_left()

    def test_random_answer_time(self) -> None:
        """The answer comes within the configured spread."""
        times = set()
        for seed in range(10):
            self.world = World(random_seed=seed)
            self.world.place("5550115")
            self.world.run(20.0)
            times.add(self.world.times[-1])
            self.assertTrue(1.0 < self.world.times[-1] < 10.1)
        self.assertEqual(len(times), 10)

    def test_forking(self) -> None:
        """Three telephones ring, and one answers."""
        self.world.place("5550130")
        self.world.run(0.5)
        self.assertEqual(self.world.events, [Progressed(LEG)])
        self.assertEqual(self.world.simulation.endpoint.dialogs, 3)
        self.world.run(1.0)
        self.assertEqual(self.world.events[-1], Answered(LEG))
        self.assertEqual(self.world.simulation.endpoint.dialogs, 1)
        self.world.hang_up()
        self.nothing_is_left()


class HangUpTests(FarEndCase):
    def hang_up_after(self, number: str, seconds: float) -> None:
        self.world.place(number)
        self.world.run(seconds)
        self.world.hang_up()
        self.world.run(70.0)

    def test_hang_up_before_any_response(self) -> None:
        """CANCEL waits for a provisional response (RFC 3261 section 9.1)."""
        self.hang_up_after("5550180", 0.0)
        self.assertEqual(self.said(), ("client", 487, 16, True))
        self.assertNotIn("Answered", self.names())
        self.nothing_is_left()

    def test_hang_up_with_a_dead_far_end(self) -> None:
        """Without any response no CANCEL is sent."""
        self.hang_up_after("5550108", 1.0)
        self.assertEqual(self.said(), ("client", 408, 102, False))
        self.nothing_is_left()

    def test_hang_up_while_ringing(self) -> None:
        """A hang-up of a ringing call is confirmed by the 487."""
        self.hang_up_after("5550180", 5.0)
        self.assertEqual(self.said(), ("client", 487, 16, True))
        self.nothing_is_left()

    def test_200_crosses_cancel(self) -> None:
        """If the 200 crosses the CANCEL, ACK and BYE end the call (RFC 3261 section 15)."""
        self.hang_up_after("5550181", 5.0)
        self.assertEqual(self.said(), ("client", 200, 16, True))
        self.assertEqual(self.names(), ["Progressed", "Answered", "Ended"])
        self.nothing_is_left()

    def test_hang_up_of_an_answered_call(self) -> None:
        """The 200 to the BYE confirms the end."""
        self.hang_up_after("5550100", 5.0)
        self.assertEqual(self.said(), ("client", 200, 16, True))
        self.assertEqual(self.world.times[-1], 5.002)
        self.nothing_is_left()

    def test_bye_crosses_bye(self) -> None:
        """If both ends send BYE, the call ends once."""
        self.hang_up_after("5550190", 5.0)
        self.assertEqual(self.said(), ("client", 200, 16, True))
        self.nothing_is_left()

    def test_481_to_bye(self) -> None:
        """A 481 to the BYE confirms the end."""
        self.hang_up_after("5550191", 5.0)
        self.assertEqual(self.said()[3], True)
        self.assertEqual(self.world.times[-1], 5.002)
        self.nothing_is_left()

    def test_unconfirmed_bye(self) -> None:
        """Silence, 500 and 408 to the BYE leave the end unconfirmed."""
        for number in ("5550195", "5550198", "5550199"):
            self.world = World()
            self.hang_up_after(number, 5.0)
            self.assertEqual((self.said()[0], self.said()[3]), ("client", False), number)
            self.nothing_is_left()

    def test_bye_is_retransmitted(self) -> None:
        """
        BYE is sent again after 0.5, 1.5, 3.5, 7.5 s, then every 4 s, for 32 s (timers E and F).
        """
        byes: list[float] = []
        self.world.place("5550199")
        self.world.run(5.0)
        self.world.simulation.network.tap = lambda now, flight: byes.append(round(now - 5.0, 6))
        self.world.hang_up()
        self.world.run(60.0)
        self.assertEqual(byes, [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5])
        self.assertEqual(self.world.times[-1], 37.0)


class DirectoryTests(SynchronousTestCase):
    def test_last_digits(self) -> None:
        """The last seven digits select the far end, however the number is written."""
        for number in ("5550186", "+15550186", "+1 (555) 0186", "sip:+1-555-0186@10.0.0.1:5060"):
            self.assertEqual(last_digits(number), "5550186", number)
        self.assertEqual(Directory().find("12").words, "answers, stays")
        self.assertEqual(Directory().find("").words, "answers, stays")

    def test_configured_far_end(self) -> None:
        """A configured far end replaces a built-in one."""
        own = {"5550186": Behaviour(words="mine", reject_with=600), "1234567": Behaviour()}
        self.assertEqual(Directory(own).find("+1 555 0186").reject_with, 600)
        self.assertIs(Directory(own).find("1234567"), own["1234567"])

    def test_readme_lists_all_far_ends(self) -> None:
        """README.md lists all built-in far ends."""
        text = README.read_text()
        for number, behaviour in built_in_far_ends().items():
            self.assertIn(f"| 555 {number[3:]}", text)
            self.assertIn(behaviour.words, text)


class SeedTests(SynchronousTestCase):
    def test_put_into_a_state(self) -> None:
        """A call can be created in any state."""
        for state in ("connecting", "alerting", "connected"):
            for number in built_in_far_ends():
                world = World()
                world.simulation.put(LEG, number, CallState(state), 0.0)
                ((leg, is_in, user),) = world.simulation.legs.states()
                self.assertEqual((leg, is_in, user), (LEG, state, number))
                world.hang_up()
                world.run(200.0)
                self.assertEqual(world.left, (0, 0, 0, 0, 0), (state, number))
