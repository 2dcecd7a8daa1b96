"""Ends many calls for a client of the control socket: the replies, and the counts for the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, MutableMapping
from contextlib import aclosing
from typing import Any, Final

from umd.call.call import Call
from umd.call.cause import EndedBy
from umd.call.principal import Principal
from umd.control.bulk_end import PROTECTED, BulkEnd, Choice, EndResult
from umd.control.outcome import Outcome
from umd.management.call_fields import call_summary
from umd.management.refusals import Refused, Reply
from umd.management.requests import EndManyRequest
from umd.runtime.turns import Pause, in_turns

_COUNTED: Final = {
    Outcome.ENDED.value: "ended",
    Outcome.ENDED_UNCONFIRMED.value: "ended_unconfirmed",
    Outcome.ALREADY_ENDED.value: "already_ended",
    PROTECTED: "protected",
}
"""The key of a summary for each outcome; all others are counted as `failed`."""


async def list_choice(
    choice: Choice, describe: Callable[[Call], dict[str, Any]], pause: Pause
) -> AsyncGenerator[Reply, None]:
    """Yield how many calls are selected, then each of them: the reply to a dry run."""
    yield _selected(choice)
    partners = {
        call.id: target.calls[0].id for target in choice.targets for call in target.calls[1:]
    }
    async for calls in in_turns(list(choice.calls()), pause):
        for call in calls:
            yield {
                "call": {
                    **describe(call),
                    "protected": False,
                    "ends_with": partners.get(call.id),
                }
            }
    async for calls in in_turns(choice.protected, pause):
        for call in calls:
            yield {"call": {**describe(call), "protected": True, "ends_with": None}}


async def end_choice(
    bulk_end: BulkEnd,
    choice: Choice,
    request: EndManyRequest,
    principal: Principal,
    log_fields: MutableMapping[str, Any],
) -> AsyncGenerator[Reply, None]:
    """
    End the calls of a choice; yield what became of each, then a summary.

    Args:
        log_fields: gets the counts, also if the client leaves before the end.

    Raises:
        Refused: `max` or `expect` is missing.
        TooMany, CountChanged: none was ended.
        Stopping: umd stops; calls are left.
    """
    if request.max is None or request.expect is None:
        raise Refused(
            "end-many needs `max` and `expect`, the count of a dry run; "
            '"dry_run": true counts the calls and ends none'
        )
    choice.require(request.max, request.expect)
    yield _selected(choice)
    counts = Counter({name: 0 for name in (*_COUNTED.values(), "failed")})
    log_fields.update(selectors=choice.selection.describe(), selected=choice.count)
    ends = bulk_end.end(
        principal,
        choice,
        rate=request.rate,
        request_id=log_fields["request_id"],
        by=EndedBy.OPERATOR,
    )
    try:
        async with aclosing(ends):
            async for end in ends:
                counts[_COUNTED.get(end.outcome, "failed")] += 1
                yield {"result": _result(end)}
    finally:
        log_fields.update(counts, begun=choice.begun)
    yield {"summary": {"selected": choice.count, **counts}}


def _selected(choice: Choice) -> Reply:
    partners = sum(len(target.calls) - 1 for target in choice.targets)
    return {
        "selected": {
            "count": choice.count,
            "partners": partners,
            "protected": len(choice.protected),
        }
    }


def _result(end: EndResult) -> dict[str, Any]:
    call = end.call
    return {
        **call_summary(call),
        "outcome": end.outcome,
        "confirmed": call.ended and call.confirmed,
        "shown_by": None if call.shown_by is None else call.shown_by.value,
        "why": end.why,
    }
