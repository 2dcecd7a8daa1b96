"""A PBX that lies: each call ends once, and no end is confirmed while its far end is in it."""

from __future__ import annotations

from itertools import product

from tests.backends.sim_pbx.room import NUMBER, SILENT, StoryCase
from umd.backends.sim_pbx.messages import Lie
from umd.backends.sim_pbx.track import Track, Verdicts
from umd.call.call import Call
from umd.call.cause import EndedBy
from umd.call.events import Disconnected, Lost
from umd.call.leg import Proof
from umd.control.outcome import Outcome


class LieTests(StoryCase):
    def test_ok_and_nothing_done(self) -> None:
        """umd commands again, and gives up after 32 s without a proof."""
        self.open(Lie.OK_AND_NOTHING_DONE)
        call = self.call()
        self.end(call)
        self.room.advance(31.0)
        self.assertEqual(self.room.ends_of(call), [])
        self.assertGreater(self.pbx.commands, 2)
        self.assertIs(self.unconfirmed_end(call).shown_by, Proof.NONE)
        self.assertTrue(self.pbx.holds(call.leg))

    def test_a_call_that_umd_gave_up_is_found_again(self) -> None:
        """A call that the PBX lists a minute after its unconfirmed end is a call again."""
        self.open(Lie.OK_AND_NOTHING_DONE)
        call = self.call()
        self.end(call)
        self.unconfirmed_end(call)
        self.pbx.lies.clear()
        self.room.advance(120.0)
        again = self.room.control.resolve(call.leg)
        self.assertNotEqual(again.id, call.id)
        self.end(again)
        self.confirmed_end(again)

    def test_nothing_done_at_first(self) -> None:
        """A PBX that ignores the first command gets a second one."""
        self.open(Lie.OK_AND_NOTHING_DONE)
        call = self.call()
        self.end(call)
        self.room.advance(0.5)
        self.pbx.lies.clear()
        self.assertIs(self.confirmed_end(call, 4.0).cause.by, EndedBy.CLIENT)
        self.assertEqual(self.pbx.commands, 2)

    def test_one_sided_bye(self) -> None:
        """umd looks at both legs of a bridge, and ends the one that the PBX forgot by itself."""
        self.open(Lie.ONE_SIDED_BYE)
        first, second = self.pair()
        self.end(first)
        for call in (first, second):
            self.confirmed_end(call, 4.0)

    def test_one_sided_bye_after_the_far_end_hung_up(self) -> None:
        """The leg that the PBX forgot goes on without a partner, and can be ended."""
        self.open(Lie.ONE_SIDED_BYE)
        first, second = self.pair()
        self.pbx.far_end_hangs_up(first.leg)
        self.assertIs(self.confirmed_end(first).cause.by, EndedBy.FAR_END)
        self.assertEqual((self.room.ends_of(second), second.partners), ([], ()))
        self.end(second)
        self.confirmed_end(second)

    def test_end_event_before_answer(self) -> None:
        """umd waits for the far end, which answers later than the PBX says."""
        far_end = {"5550101": {"bye_after": "5s", "answer_after": "0.1s"}}
        self.open(Lie.END_EVENT_BEFORE_ANSWER, far_end=far_end)
        call = self.call("5550101")
        self.end(call)
        self.room.advance(4.5)
        self.assertEqual(self.room.ends_of(call), [])
        self.assertIs(self.confirmed_end(call, 1.0).shown_by, Proof.FAR_END)

    def test_end_event_and_no_answer(self) -> None:
        """A far end that never answers is not confirmed, although the PBX reports the end."""
        self.open(Lie.END_EVENT_BEFORE_ANSWER)
        call = self.call(SILENT)
        self.end(call)
        self.assertIs(self.unconfirmed_end(call).shown_by, Proof.PBX)

    def test_end_event_before_answer_and_a_second_look(self) -> None:
        """On a PBX that lists calls until their far end is down, umd looks until it does not."""
        far_end = {"5550101": {"bye_after": "5s", "answer_after": "0.1s"}}
        self.open(
            Lie.END_EVENT_BEFORE_ANSWER, witness=False, lists_until_answered=True, far_end=far_end
        )
        call = self.call("5550101")
        self.end(call)
        self.assertIs(self.confirmed_end(call).shown_by, Proof.SECOND_LOOK)

    def test_no_end_event(self) -> None:
        """The message of the far end shows a requested end; of another one it shows the cause."""
        self.open(Lie.NO_END_EVENT)
        ended, left = self.call(), self.call()
        self.end(ended)
        self.pbx.far_end_hangs_up(left.leg)
        self.assertIs(self.confirmed_end(ended, 1.0).cause.by, EndedBy.CLIENT)
        self.assertIs(self.unconfirmed_end(left, 8.0).cause.by, EndedBy.FAR_END)

    def test_no_end_event_and_no_witness(self) -> None:
        """Without any sign the PBX's word is all there is, and it confirms nothing."""
        self.open(Lie.NO_END_EVENT, witness=False)
        call = self.call()
        self.end(call)
        self.assertIs(self.unconfirmed_end(call).shown_by, Proof.PBX)

    def test_a_stale_list(self) -> None:
        """A list that lacks a new call ends none, and one that has an ended call revives none."""
        room = self.open(Lie.STALE_LIST)
        ended, stays = self.call(), self.found(self.pbx.new_call(NUMBER))
        new = self.pbx.new_call(NUMBER)
        room.advance(0.1)
        self.end(ended)
        self.confirmed_end(ended)
        self.pbx.break_connection(reachable=True)
        room.advance(2.0)
        self.assertEqual(
            list(room.control.live_calls()), [stays, room.control.resolve(new)]
        )

    def test_a_stale_list_after_an_outage(self) -> None:
        """A call that began during an outage, and that the list lacks, is found a little later."""
        room = self.open(Lie.STALE_LIST)
        self.pbx.break_connection()
        room.advance(1.0)
        channel = self.pbx.new_call(NUMBER)
        self.pbx.allow_connection()
        room.advance(12.0)
        self.end(room.control.resolve(channel))
        self.confirmed_end(room.control.resolve(channel))

    def test_a_stale_list_at_the_start(self) -> None:
        """An ended call that the list still has is no live call for long."""
        room = self.open(Lie.STALE_LIST)
        call = self.call()
        self.pbx.loses_events = True
        self.pbx.mirrors = False
        self.pbx.far_end_hangs_up(call.leg)
        self.end(call)
        self.unconfirmed_end(call)
        self.assertEqual(list(room.control.live_calls()), [])

    def test_ringing_ignored(self) -> None:
        """A ringing call that `hang_up` does not end is cancelled."""
        self.open(Lie.RINGING_IGNORED)
        call = self.ringing()
        self.end(call)
        end = self.confirmed_end(call, 4.0)
        self.assertEqual((end.cause.by, end.cause.sip_status), (EndedBy.CLIENT, 487))

    def test_gone_overtakes_event(self) -> None:
        """A call that the PBX no longer has when umd ends it was ended by its far end."""
        self.open(Lie.GONE_OVERTAKES_EVENT)
        call = self.call()
        self.pbx.far_end_hangs_up(call.leg)
        answers = self.end(call)
        end = self.confirmed_end(call, 4.0)
        self.assertIs(end.shown_by, Proof.FAR_END)
        assert end.superseded is not None
        self.assertIs(end.superseded.by, EndedBy.FAR_END)
        self.assertEqual(answers, [Outcome.ENDED])

    def test_gone_overtakes_event_without_witness(self) -> None:
        """Without a witness such an end is the PBX's word, and not NoSuchCall."""
        self.open(Lie.GONE_OVERTAKES_EVENT, witness=False)
        call = self.call()
        self.pbx.far_end_hangs_up(call.leg)
        self.end(call)
        self.assertIs(self.unconfirmed_end(call).shown_by, Proof.PBX)

    def test_double_events(self) -> None:
        """Each event that comes twice counts once."""
        room = self.open(Lie.DOUBLE_EVENTS)
        call = self.ringing()
        self.pbx.answer(call.leg)
        room.advance(0.1)
        self.pbx.far_end_hangs_up(call.leg, 17)
        self.assertEqual(self.confirmed_end(call).cause.q850, 17)
        self.assertEqual(room.event_names(call), ["Found", "Connected", "Disconnected"])

    def test_events_that_are_lost(self) -> None:
        """A call whose events are lost is found by the next comparison, and its end is seen."""
        room = self.open()
        self.pbx.loses_events = True
        channel = self.pbx.new_call(NUMBER)
        room.advance(120.0)
        call = room.control.resolve(channel)
        self.end(call)
        self.confirmed_end(call, 1.0)

    def test_a_call_that_the_pbx_forgot_is_lost(self) -> None:
        """A call that ends without any sign is noticed by the next comparison with the list."""
        for witness in (True, False):
            room = self.open(witness=witness)
            call = self.call()
            self.pbx.lose(call.leg)
            room.advance(100.0)
            self.assertIsInstance(self.the_end(call), Lost)

    def test_every_lie_with_every_proof(self) -> None:
        """Whatever a PBX does, a requested end comes within 40 s, once, and no false one."""
        runs = 0
        lies = ([], *([lie] for lie in Lie), list(Lie))
        for lied, witness, lists, number in product(
            lies, (True, False), (True, False), (NUMBER, SILENT, "5550181")
        ):
            keys = {"witness": witness, "lists_until_answered": lists}
            room = self.open(*lied, **keys)
            calls = [self.call(number), self.ringing(number), *self.pair()]
            gone = [self.call(number), *self.pair()]
            for call in gone[:2]:
                self.pbx.far_end_hangs_up(call.leg)
            for call in calls[:3]:
                self.end(call)
            room.advance(0.5)
            self.pbx.break_connection(reachable=True)
            room.advance(45.0)
            for call in calls[:3]:
                ends = room.ends_of(call)
                self.assertEqual(len(ends), 1, f"{lied} {keys} {number}: {call.leg} {ends}")
            for call in gone:
                self.check_once(call)
            self.assertEqual(room.wrong, [], f"{lied} {keys} {number}")
            runs += 1
        self.assertEqual(runs, len(lies) * 12)

    def test_a_follower_that_believes_the_pbx_is_found_out(self) -> None:
        """The far ends show that an end confirmed by the PBX's word was false."""

        def believe(verdicts: Verdicts, track: Track, *_: object) -> Proof | None:
            return None if track.event is None else Proof.FAR_END

        self.patch(Verdicts, "proof", believe)
        room = self.open(Lie.END_EVENT_BEFORE_ANSWER)
        call = self.call(SILENT)
        self.end(call)
        self.confirmed_end(call)
        (fault,) = room.wrong
        self.assertIn("confirmed, and the far end is in the call", fault)
        room.wrong.clear()

    def check_once(self, call: Call) -> None:
        ends: list[Disconnected | Lost] = self.room.ends_of(call)
        self.assertLessEqual(len(ends), 1)
        self.assertEqual(bool(ends), call.ended)
