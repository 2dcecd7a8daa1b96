"""The command `umd lab pbx`: runs stories of a simulated PBX, and returns verdicts."""

from __future__ import annotations

import time
from itertools import islice

from umd.config import ConfigError
from umd.lab.pbx_lab import PbxRun, PbxTally
from umd.lab.pbx_stories import NoStory, Story, read_story, stories
from umd.lab.report import Progress, Status, Verdict
from umd.lab.rules import Violation


def explore_stories(bound: int, every: int) -> list[Verdict]:
    """
    Run all stories up to a bound; return a verdict for each kind of lie, and one for all.

    Args:
        bound: acts in one story besides the call that appears, at most.
        every: one of so many stories is run.
    """
    progress = Progress("stories")
    tallies: dict[str, PbxTally] = {}
    everything = PbxTally()
    for story in islice(stories(bound), 0, None, every):
        violations = PbxRun(story).play()
        tallies.setdefault(story.lie or "no lie", PbxTally()).add(story, violations)
        everything.add(story, violations)
        progress.update(everything.runs, f"{everything.violated:,} violated")
    progress.done()
    verdicts = [_verdict_on(name, tally, 0.0) for name, tally in tallies.items()]
    total = _verdict_on("everything", everything, progress.took)
    total.problems.clear()
    return [*verdicts, total]


def run_story(text: str) -> list[Verdict]:
    """
    Run one story.

    Raises:
        ConfigError: the text tells no story.
    """
    try:
        story = read_story(text)
    except NoStory as error:
        raise ConfigError([f"--story {error}"]) from None
    began = time.monotonic()
    violations = PbxRun(story).play()
    status = Status.VIOLATED if violations else Status.OK
    problems = [_line(violation) for violation in violations]
    return [Verdict("pbx", str(story), status, time.monotonic() - began, problems)]


def _verdict_on(name: str, tally: PbxTally, took: float) -> Verdict:
    problems = [f"{_line(found)}; {_again(story)}" for story, found in tally.findings]
    status = Status.VIOLATED if tally.violated else Status.OK
    figures: dict[str, object] = {"interleavings": tally.runs, "violations": tally.violated}
    if took:
        figures["took_s"] = took
    return Verdict("pbx", name, status, took, problems, figures)


def _line(violation: Violation) -> str:
    return f"{violation.rule} at {violation.at:.4f} s: {violation.text}"


def _again(story: Story) -> str:
    return f"umd lab pbx --story '{story}'"
