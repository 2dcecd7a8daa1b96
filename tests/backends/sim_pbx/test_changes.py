"""Calls of a PBX that change: bridges, transfers, other ids, outages, a restart of the PBX."""

from __future__ import annotations

from twisted.python.failure import Failure

from tests.backends.sim_pbx.room import NUMBER, SILENT, StoryCase
from umd.backend import BackendUnavailable
from umd.backends.sim_pbx.messages import Lie
from umd.call.alias import SIP_CALL_ID
from umd.call.cause import EndedBy
from umd.call.events import Lost


class ChangeTests(StoryCase):
    def test_one_request_ends_both_legs_of_a_bridge(self) -> None:
        """Both far ends are down, and each call has one end."""
        self.open()
        pair = self.pair()
        self.end(pair[0])
        for call in pair:
            self.confirmed_end(call, 2.0)
        self.check_over(pair)

    def test_the_partner_of_a_far_end_that_hangs_up(self) -> None:
        """The PBX ends the other leg, and that end says which call caused it."""
        self.open()
        first, second = self.pair()
        self.pbx.far_end_hangs_up(first.leg)
        self.assertIs(self.confirmed_end(first).cause.by, EndedBy.FAR_END)
        end = self.confirmed_end(second)
        self.assertEqual((end.cause.by, end.caused_by), (EndedBy.PARTNER, first.id))

    def test_a_blind_transfer(self) -> None:
        """The leg that stays is the same call with another partner, and ends with it."""
        room = self.open()
        first, second = self.pair()
        target = self.found(self.pbx.transfer_blind(first.leg, "5550181"))
        self.confirmed_end(first)
        self.assertEqual((second.partners, target.partners), ((target.id,), (second.id,)))
        self.assertEqual(room.ends_of(second), [])
        self.end(second)
        self.check_over((second, target))

    def test_an_attended_transfer(self) -> None:
        """The two legs that stay are partners of each other, and the other two have ended."""
        self.open()
        first, second = self.pair()
        third, fourth = self.pair()
        self.pbx.transfer_attended(second.leg, third.leg)
        self.confirmed_end(second)
        self.confirmed_end(third)
        self.assertEqual((first.partners, fourth.partners), ((fourth.id,), (first.id,)))
        self.end(fourth)
        self.check_over((first, fourth))

    def test_a_masquerade(self) -> None:
        """A channel with another far end is the same call with another SIP Call-ID."""
        room = self.open()
        kept, given = self.call(), self.call(SILENT)
        before = given.aliases[SIP_CALL_ID]
        self.pbx.masquerade(kept.leg, given.leg)
        self.confirmed_end(given)
        self.assertEqual((room.ends_of(kept), kept.aliases[SIP_CALL_ID]), ([], before))
        self.end(kept)
        self.unconfirmed_end(kept)

    def test_a_masquerade_whose_events_are_lost(self) -> None:
        """The end of the far end that a channel had before confirms nothing of the channel."""
        room = self.open()
        kept, given = self.call(), self.call(SILENT)
        self.pbx.loses_events = True
        self.pbx.masquerade(kept.leg, given.leg)
        room.advance(1.0)
        self.end(kept)
        self.unconfirmed_end(kept)

    def test_a_masquerade_and_an_end_without_any_event(self) -> None:
        """The message of a far end says nothing of a channel that may have had another one."""
        self.open()
        kept, given = self.call(), self.call(SILENT)
        self.pbx.loses_events = True
        self.pbx.masquerade(kept.leg, given.leg)
        self.pbx.end(kept.leg)
        self.unconfirmed_end(kept)
        self.assertTrue(self.pbx.holds(kept.leg))

    def test_events_older_than_a_command(self) -> None:
        """An event that shows a channel with its former far end undoes nothing."""
        room = self.open(Lie.GONE_OVERTAKES_EVENT, Lie.NO_END_EVENT)
        kept, given = self.call(), self.call(SILENT)
        self.pbx.rename(kept.leg, "SIM/before")
        room.advance(0.5)
        self.pbx.masquerade(kept.leg, given.leg)
        self.end(kept)
        self.unconfirmed_end(kept)

    def test_a_call_has_another_name_and_other_labels(self) -> None:
        """umd ends a call by the name that it has now."""
        room = self.open()
        call = self.call()
        self.pbx.rename(call.leg, "SIM/other")
        self.pbx.label(call.leg, "run-7")
        room.advance(0.1)
        self.assertEqual(call.labels, ("run-7",))
        self.assertIs(room.control.resolve("SIM/other"), call)
        self.end(room.control.resolve("run-7"))
        self.confirmed_end(call)


class OutageTests(StoryCase):
    def test_an_outage(self) -> None:
        """What began is found, what changed is known, and what ended has one end."""
        room = self.open()
        stays, ends, other = self.call(), self.call(), self.call()
        self.pbx.break_connection()
        room.advance(2.0)
        new = self.pbx.new_call(NUMBER)
        self.pbx.far_end_hangs_up(ends.leg)
        self.pbx.bridge(stays.leg, other.leg)
        self.pbx.allow_connection()
        self.assertIs(self.unconfirmed_end(ends).cause.by, EndedBy.FAR_END)
        self.assertEqual(stays.partners, (other.id,))
        self.end(room.control.resolve(new))
        self.end(stays)
        self.check_over((room.control.resolve(new), stays, other))

    def test_a_request_during_an_outage(self) -> None:
        """umd ends the call as soon as the PBX is back."""
        room = self.open()
        call = self.call()
        self.pbx.break_connection()
        room.advance(1.0)
        answers = self.end(call)
        assert isinstance(answers[0], Failure)
        answers[0].trap(BackendUnavailable)
        room.advance(5.0)
        self.assertEqual((self.pbx.commands, room.ends_of(call)), (0, []))
        self.pbx.allow_connection()
        self.assertIs(self.confirmed_end(call).cause.by, EndedBy.CLIENT)

    def test_the_connection_breaks_right_after_a_command(self) -> None:
        """A far end that answered meanwhile was seen, so the end is confirmed after the outage."""
        room = self.open()
        call = self.call()
        self.end(call)
        self.pbx.break_connection()
        room.advance(3.0)
        self.pbx.allow_connection()
        self.assertIs(self.confirmed_end(call).cause.by, EndedBy.CLIENT)

    def test_the_pbx_is_restarted(self) -> None:
        """Its calls are lost, with that reason, since their far ends may be in them still."""
        self.open()
        calls = [self.call(), self.call()]
        self.end(calls[0])
        self.pbx.restart()
        self.pbx.allow_connection()
        for call in calls:
            end = self.the_end(call)
            assert isinstance(end, Lost), end
            self.assertIn("restarted", end.reason)

    def test_the_pbx_is_away_at_the_start(self) -> None:
        """Its calls are found when it can be reached."""
        room = self.open(is_reachable=False)
        channel = self.pbx.new_call(NUMBER)
        room.advance(3.0)
        self.pbx.allow_connection()
        room.advance(3.0)
        self.end(room.control.resolve(channel))
        self.confirmed_end(room.control.resolve(channel))
