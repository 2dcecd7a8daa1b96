"""The phases of an HTTP connection: every event in every phase."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.http.phase import ACCEPTING, TRANSITIONS, Event, IllegalEvent, Phase, next_phase


class PhaseTests(SynchronousTestCase):
    def test_every_event_leads_to_a_phase_or_is_illegal(self) -> None:
        """The table decides each of the combinations, and the others raise an error."""
        for phase in Phase:
            for event in Event:
                if event in TRANSITIONS[phase]:
                    self.assertIs(next_phase(phase, event), TRANSITIONS[phase][event])
                else:
                    with self.assertRaisesRegex(IllegalEvent, f"{event} of a .* {phase}"):
                        next_phase(phase, event)

    def test_a_connection_never_goes_back(self) -> None:
        """Each event leads to the same phase or to a later one."""
        order = list(Phase)
        for phase, row in TRANSITIONS.items():
            for following in row.values():
                self.assertGreaterEqual(order.index(following), order.index(phase))

    def test_every_phase_is_reached_and_can_be_lost(self) -> None:
        reached = {following for row in TRANSITIONS.values() for following in row.values()}
        self.assertEqual(reached | {Phase.HANDSHAKE}, set(Phase))
        for phase in set(Phase) - {Phase.LOST}:
            self.assertIs(next_phase(phase, Event.LOSE), Phase.LOST)

    def test_no_request_is_accepted_after_the_end(self) -> None:
        """After END and CLOSE, no event leads back to a phase that accepts requests."""
        for phase in (Phase.ENDING, Phase.CLOSED, Phase.LOST):
            self.assertNotIn(phase, ACCEPTING)
            self.assertTrue(set(ACCEPTING).isdisjoint(TRANSITIONS[phase].values()))

    def test_requests_are_read_only_after_the_handshake(self) -> None:
        self.assertNotIn(Event.FIRST_DATA, TRANSITIONS[Phase.HANDSHAKE])
        self.assertIs(next_phase(Phase.NEW, Event.FIRST_DATA), Phase.OPEN)
