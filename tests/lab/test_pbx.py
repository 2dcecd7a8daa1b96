"""The lab over a simulated PBX: no story violates anything, and each planted fault is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.lab.planting import PlantingCase
from umd.backend import FoundLeg
from umd.backends.sim_pbx.follower import Follower
from umd.backends.sim_pbx.messages import Lie
from umd.backends.sim_pbx.track import Track, Verdicts
from umd.call.alias import SIP_CALL_ID
from umd.call.call import Call
from umd.call.call_id import make_call_id
from umd.call.leg import Proof
from umd.config import ConfigError
from umd.control.alias_index import AliasIndex
from umd.control.found_legs import FoundLegs
from umd.control.lifecycle import Lifecycle
from umd.control.links import BackendLink
from umd.control.reconciliation import Reconciliation
from umd.control.registry import Registry
from umd.control.teardowns import Teardowns
from umd.lab.pbx_commands import explore_stories, run_story
from umd.lab.pbx_lab import PbxRun, explore_pbx
from umd.lab.pbx_stories import NoStory, read_story, stories
from umd.lab.report import Status, worst_status
from umd.lab.rules import Rule

SAMPLE = 37
"""One of so many stories is run."""


class StoriesTests(PlantingCase):
    def test_a_sample_of_all_stories_violates_nothing(self) -> None:
        """Stories of a PBX that may lie end as they must."""
        tally = explore_pbx(list(stories(2))[::SAMPLE])
        self.assertEqual([(str(story), found.text) for story, found in tally.findings], [])
        self.assertGreater(tally.runs, 1000)

    def test_a_story_is_written_and_read(self) -> None:
        for story in list(stories(1))[::100]:
            self.assertEqual(read_story(str(story)), story)

    def test_a_partner_of_which_umd_has_not_heard(self) -> None:
        """A request ends only what was a call then: the other leg is gone, or not listed yet."""
        for story in (
            "silent-pair lists no-lie appears+0.006 hangs-up+0 killed+0.006 disconnect-by-alias+0",
            "silent-pair lists stale-list appears+0.006 hangs-up+0 killed+0.006 disconnect+0",
        ):
            self.assertEqual(PbxRun(read_story(story)).play(), [])

    def test_a_text_that_tells_no_story(self) -> None:
        for text in ("", "pair", "pair witness no-lie flies", "pair witness no-lie killed+soon"):
            self.assertRaises(NoStory, read_story, text)

    def test_every_lie_and_every_act_is_in_a_story(self) -> None:
        told = list(stories(1))
        self.assertEqual({story.lie for story in told}, {None, *Lie})
        self.assertEqual(len({act for story in told for act, _ in story.acts}), 8)
        self.assertEqual(len(set(told)), len(told))


class FoundTests(PlantingCase):
    """Faults of umd that these stories have shown."""

    def test_a_stale_list_after_a_restart(self) -> None:
        """The list has a leg whose call has ended; its second end was called illegal."""
        self.replay("ringing witness stale-list appears+3 disconnect-by-alias+3 killed+0")

    def test_an_end_that_a_stale_list_hides(self) -> None:
        """The backend noticed at a comparison that a leg was gone, and never looked again."""
        self.replay("pair lists stale-list appears+3 events-lost+3 hangs-up+0")

    def replay(self, story: str) -> None:
        self.assertEqual(PbxRun(read_story(story)).play(), [])


class CommandTests(PlantingCase):
    def test_a_violation_is_shown_with_the_story_that_repeats_it(self) -> None:
        planted = self.patch(Registry, "partner_of", lambda registry, call: None)
        verdicts = explore_stories(1, 37)
        self.assertIs(worst_status(verdicts), Status.VIOLATED)
        found = next(verdict for verdict in verdicts if verdict.problems)
        story = found.problems[0].partition("--story ")[2].strip("'")
        self.assertIs(run_story(story)[0].status, Status.VIOLATED)
        planted.restore()
        self.assertIs(run_story(story)[0].status, Status.OK)

    def test_a_story_that_is_none(self) -> None:
        self.assertRaises(ConfigError, run_story, "pair")


class PlantedTests(PlantingCase):
    """Each test plants a fault, and names the first story that shows it."""

    def plant(self, owner: Any, name: str, fault: Callable[..., Any]) -> None:
        """Replace `owner.name` by a faulty function, which gets the original as first argument."""
        original = getattr(owner, name)
        faulty = lambda *args, **kwargs: fault(original, *args, **kwargs)  # noqa: E731
        self.planted = self.patch(owner, name, faulty)

    def assert_found(self, rule: Rule, story: str) -> None:
        """The story violates the rule with the fault, and nothing without it."""
        violations = PbxRun(read_story(story)).play()
        self.assertIn(rule, {violation.rule for violation in violations}, violations)
        self.planted.restore()
        self.assertEqual(PbxRun(read_story(story)).play(), [])

    def test_the_ok_of_the_pbx_is_believed(self) -> None:
        def believe(original: Any, verdicts: Verdicts, track: Track, *more: Any) -> Proof | None:
            if track.commanded:
                return Proof.FAR_END
            proof: Proof | None = original(verdicts, track, *more)
            return proof

        self.plant(Verdicts, "proof", believe)
        self.assert_found(
            Rule.TRUTHFUL, "pair witness ok-and-nothing-done appears+3 disconnect+0"
        )

    def test_the_event_of_the_pbx_is_believed(self) -> None:
        def believe(original: Any, verdicts: Verdicts, track: Track, *more: Any) -> Proof | None:
            if track.event is not None:
                return Proof.FAR_END
            proof: Proof | None = original(verdicts, track, *more)
            return proof

        self.plant(Verdicts, "proof", believe)
        self.assert_found(
            Rule.TRUTHFUL, "silent-pair witness end-event-before-answer appears+3 disconnect+0"
        )

    def test_a_second_look_is_believed_of_a_pbx_that_lists_less(self) -> None:
        def believe(original: Any, verdicts: Verdicts, track: Track, *more: Any) -> Proof | None:
            proof: Proof | None = original(verdicts, track, *more)
            return Proof.SECOND_LOOK if track.missing_since is not None else proof

        self.plant(Verdicts, "proof", believe)
        self.assert_found(Rule.TRUTHFUL, "silent-pair word no-lie appears+3 disconnect+0")

    def test_an_event_during_the_list_is_not_heard(self) -> None:
        def deaf(original: Any, link: BackendLink, event: Any) -> None:
            heard, link.heard = link.heard, None
            original(link, event)
            link.heard = heard

        self.plant(BackendLink, "leg_event", deaf)
        self.assert_found(
            Rule.HEARD, "pair word no-lie appears+3 connection-lost+0 disconnect+0"
        )

    def test_a_leg_whose_end_is_confirmed_is_a_call_again(self) -> None:
        def resurrect(original: Any, found_legs: FoundLegs, found: FoundLeg, link: Any) -> Any:
            return original(found_legs, found, link) or make_call_id(f"{found.leg};again", "pbx")

        self.plant(FoundLegs, "_call_id_of", resurrect)
        self.assert_found(Rule.ONE_END, "pair witness stale-list appears+3 hangs-up+3 killed+0")

    def test_a_crash_loses_the_request(self) -> None:
        self.plant(Teardowns, "resume", lambda original, teardowns, call: None)
        self.assert_found(
            Rule.RECOVERED, "pair witness ok-and-nothing-done appears+3 disconnect+3 killed+0"
        )

    def test_the_request_is_not_repeated_after_an_outage(self) -> None:
        self.plant(Teardowns, "send_kept", lambda original, teardowns, link, kept: None)
        self.assert_found(
            Rule.RECOVERED, "pair witness no-lie appears+3 connection-lost+0 disconnect-by-alias+0"
        )

    def test_only_one_of_two_bridged_legs_is_ended(self) -> None:
        self.plant(Registry, "partner_of", lambda original, registry, call: None)
        self.assert_found(
            Rule.RECOVERED, "pair witness ok-and-nothing-done appears+3 disconnect+0"
        )

    def test_an_alias_leads_to_the_wrong_call(self) -> None:
        last: list[Call] = []

        def mistake(original: Any, index: AliasIndex, call: Call) -> None:
            original(index, call)
            if last:
                index._entries[call.aliases[SIP_CALL_ID]] = last[0]
            last[:] = [call]

        self.plant(AliasIndex, "add", mistake)
        self.assert_found(Rule.HEARD, "pair witness no-lie appears+0")

    def test_a_zombie_is_never_looked_for(self) -> None:
        def forgetful(original: Any, follower: Follower, track: Track) -> None:
            return None

        self.plant(Follower, "_begin_to_end", forgetful)
        self.assert_found(Rule.HEARD, "pair witness no-end-event appears+3 disconnect+0")

    def test_legs_are_not_compared_at_the_interval(self) -> None:
        self.plant(Reconciliation, "_interval_passed", lambda original, reconciliation: None)
        self.assert_found(Rule.HEARD, "pair witness ok-and-nothing-done appears+3 disconnect+0")

    def test_an_end_is_reported_twice(self) -> None:
        def twice(original: Any, lifecycle: Lifecycle, call: Call, event: Any) -> None:
            original(lifecycle, call, event)
            lifecycle.record(call, event)

        self.plant(Lifecycle, "_end", twice)
        self.assert_found(Rule.ONE_END, "pair witness no-lie appears+3 disconnect+0")
