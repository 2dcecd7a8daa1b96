"""The calls that umd rebuilds from the journal when it starts."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from umd.call.call import Call, CallState
from umd.call.call_id import CallId
from umd.call.events import LifecycleEvent
from umd.call.leg import LegId, Progressed
from umd.call.record import UnknownRecord, encode
from umd.journal.replay import live_calls
from umd.journal.store import Stored

LEG = LegId("leg-1")


class LiveCallsTests(SynchronousTestCase):
    def unreadable(self, stored: Stored, reason: UnknownRecord) -> None:
        self.fail(str(reason))

    def test_when_a_backend_last_reported_something_of_a_call(self) -> None:
        """Ringing is reported by the backend; a resumption after a restart is umd's own event."""
        call = Call(id=CallId("id"), leg=LEG, backend="pbx", number="1", owner="a", at=1000.0)
        events: list[LifecycleEvent] = [call.place("r-1")]
        events.append(call.resume_as(CallState.CONNECTING, 1300.0))
        rings = call.apply(Progressed(LEG), 1301.0)
        assert rings is not None
        events.append(rings)
        events.append(call.resume_as(CallState.ALERTING, 2000.0))
        records = [
            Stored(position, call.id, event.at, encode(call, event), None)
            for position, event in enumerate(events, 1)
        ]
        for count, heard_at in ((1, 1000.0), (2, 1000.0), (3, 1301.0), (4, 1301.0)):
            found_by_store = [(7, records[:count])]
            store: Any = type("Store", (), {"live": lambda self, live=found_by_store: iter(live)})()
            ((found, leg_record, heard),) = live_calls(store, self.unreadable)
            self.assertEqual(found.begun, 7)
            self.assertEqual((found.id, leg_record, heard), (call.id, None, heard_at))
