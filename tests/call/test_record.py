"""Events as JSON: decoding restores them, and replaying them restores the call."""

from __future__ import annotations

import json
from base64 import b64encode
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from umd.call.call import Call, CallState, HangUp
from umd.call.call_id import CallId
from umd.call.cause import Cause, EndedBy, rejection
from umd.call.events import LifecycleEvent
from umd.call.leg import Answered, Direction, Ended, LegId, Progressed, Proof
from umd.call.record import NewerRecord, UnknownRecord, decode, encode, replay

LEG = LegId("leg-1")


ATTRIBUTES = [
    name
    for name, kind in vars(Call).items()
    if isinstance(kind, (MemberDescriptorType, GetSetDescriptorType)) and name[0] != "_"
]
"""The attributes of a call, whether `Call` is compiled or not."""


class RecordTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.call = Call(
            id=CallId("id"), leg=LEG, backend="sim", number="1", owner="alice", at=1000.125
        )
        self.kept: list[tuple[bytes, float]] = []
        self.keep(self.call.place("r-1"))

    def keep(self, event: LifecycleEvent | None) -> None:
        assert event is not None
        self.kept.append((encode(self.call, event), event.at))

    def read(self) -> Call:
        call = None
        for octets, at in self.kept:
            call = replay(call, decode(octets), at)
        assert call is not None
        return call

    def assert_replayed(self) -> None:
        read = self.read()
        for name in ATTRIBUTES:
            expected, replayed = getattr(self.call, name), getattr(read, name)
            if isinstance(expected, float):
                self.assertAlmostEqual(expected, replayed, 2, msg=name)
            else:
                self.assertEqual(expected, replayed, name)

    def test_replaying_restores_the_call_after_each_event(self) -> None:
        self.assert_replayed()
        self.keep(self.call.apply(Progressed(LEG), 1000.5))
        self.assert_replayed()
        self.keep(self.call.apply(Answered(LEG), 1001.5))
        self.assert_replayed()
        self.keep(self.call.resume_as(CallState.CONNECTED, 1002.5))
        self.assert_replayed()
        request = HangUp(Cause(by=EndedBy.CLIENT), "alice", "r-2")
        self.keep(self.call.apply(request, 1003.0))
        self.assert_replayed()
        self.keep(self.call.resume_as(CallState.CONNECTED, 1003.5))
        self.assert_replayed()
        self.keep(self.call.apply(Ended(LEG, Cause(by=EndedBy.CLIENT, sip_status=200)), 1004.25))
        self.assert_replayed()
        self.assertEqual(json.loads(self.kept[-1][0])["took_ms"], 1250.0)

    def test_the_last_record_alone_restores_an_ended_call(self) -> None:
        end = Ended(LEG, rejection(486), confirmed=True)
        self.keep(self.call.apply(end, 1004.25))
        self.kept = self.kept[-1:]
        self.assert_replayed()

    def found(self) -> Call:
        """Begin the story of a call that umd did not place."""
        self.call = Call(
            id=CallId("id"), leg=LEG, backend="pbx", number="1", owner="alice", at=1000.125,
            state=CallState.ALERTING, aliases={"channel": "c-1", "sip-call-id": "a@b"},
            labels=("ci", "ci-7"), direction=Direction.INBOUND,
        )  # fmt: skip
        self.kept = []
        self.keep(self.call.find())
        return self.call

    def test_the_story_of_a_found_call(self) -> None:
        """It changes its ids, is bridged, leased, and ends with its partner."""
        call = self.found()
        self.assert_replayed()
        every_change: tuple[dict[str, Any], ...] = (
            {"aliases": {"channel": "c-2"}, "number": "2"},
            {"partners": (CallId("x"), CallId("y")), "labels": ()},
            {"aliases": {}, "partners": ()},
            {"partners": (CallId("x"),), "labels": ("late",)},
        )
        for changes in every_change:
            self.keep(call.change(1001.0, **changes))
            self.assert_replayed()
        self.keep(call.renew(30.0, "alice", "r-1", 1001.5))
        self.assert_replayed()
        cause = Cause(by=EndedBy.CLIENT)
        self.keep(call.apply(HangUp(cause, "alice", "r-2", caused_by=CallId("x")), 1002.0))
        self.assert_replayed()
        self.keep(call.apply(Ended(LEG, cause, shown_by=Proof.SECOND_LOOK), 1003.0))
        self.assert_replayed()

    def test_the_end_of_a_found_call_restores_it(self) -> None:
        """The record of the end alone has its ids, so that they still lead to the ended call."""
        for proof in Proof:
            call = self.found()
            self.keep(call.change(1001.0, partners=(CallId("x"),)))
            call.caused_by = CallId("x")
            cause = Cause(by=EndedBy.PARTNER)
            self.keep(call.apply(Ended(LEG, cause, shown_by=proof), 1003.0))
            self.kept = self.kept[-1:]
            read = self.read()
            for name in ("aliases", "labels", "partners", "caused_by", "shown_by", "confirmed"):
                self.assertEqual(getattr(read, name), getattr(call, name), name)

    def test_a_forgotten_call(self) -> None:
        call = self.found()
        self.keep(call.forget("olga", "r-3", "its PBX was replaced", 1004.0))
        self.assert_replayed()
        self.kept = self.kept[-1:]
        self.assertTrue(self.read().forgotten)

    def test_a_call_that_was_placed_with_labels_and_a_lease(self) -> None:
        self.call = Call(
            id=CallId("id"), leg=LEG, backend="sim", number="1", owner="alice", at=1000.125,
            labels=("ci",), lease=60.0,
        )  # fmt: skip
        self.kept = []
        self.keep(self.call.place("r-1"))
        self.assert_replayed()

    def test_a_lost_call(self) -> None:
        self.keep(self.call.lose("not found", 1004.0))
        self.assert_replayed()
        self.assertEqual(json.loads(self.kept[-1][0])["reason"], "not found")

    def test_a_reason_that_is_not_unicode(self) -> None:
        cause = Cause(by=EndedBy.FAR_END, reasons=("\udcff",))
        self.keep(self.call.apply(Ended(LEG, cause), 1004.0))
        self.assertEqual(json.loads(self.kept[-1][0])["reasons"], ["\\udcff"])
        self.assert_replayed()

    def test_octets_that_are_not_utf_8_are_restored(self) -> None:
        """Every JSON reader accepts the record, which shows them as escapes."""
        name = bytes(range(1, 256)).decode("utf-8", "surrogateescape")
        self.call = Call(
            id=CallId("id"), leg=LegId(name), backend="pbx", number=name, owner=name, at=1000.0
        )
        self.kept = []
        self.keep(self.call.place(name))
        reasons = ("Q.850;cause=16", 'SIP;text="\udce9"', "")
        cause = Cause(by=EndedBy.FAR_END, reasons=reasons)
        self.keep(self.call.apply(Ended(LegId(name), cause), 1004.0))
        self.assert_replayed()
        self.kept = self.kept[-1:]
        self.assert_replayed()
        octets = json.loads(self.kept[0][0])["octets"]["reasons"]
        self.assertEqual(octets, [None, b64encode(b'SIP;text="\xe9"').decode(), None])

    def test_a_value_that_json_does_not_have_is_recorded_as_text(self) -> None:
        """A faulty backend may report a cause that is not valid; its call still ends."""
        cause = Cause(by=EndedBy.FAR_END, q850=1 << 70, reasons=("\ud800",))
        self.keep(self.call.apply(Ended(LEG, cause), 1004.0))
        line = json.loads(self.kept[-1][0])
        self.assertEqual((line["cause"], line["reasons"]), (str(1 << 70), ["\\ud800"]))
        self.assertTrue(self.read().ended)

    def test_a_damaged_key_octets(self) -> None:
        for octets in ('{"leg": "A"}', '{"reasons": ["A", "B"]}', '"x"', "7"):
            damaged = f'{{"event":"call.placed","leg":"x","reasons":["a"],"octets":{octets}}}'
            with self.assertRaises(UnknownRecord, msg=octets):
                decode(damaged.encode())

    def test_a_record_of_a_newer_umd_is_recognised(self) -> None:
        with self.assertRaisesRegex(NewerRecord, "'call.transferred', which this umd does not"):
            decode(b'{"event":"call.transferred"}')
        for octets in (b"", b"[]", b"{}", b'"x"', b"\xff", b'{"event":[]}', b"7", b"[" * 5000):
            with self.assertRaisesRegex(UnknownRecord, "not a record"):
                decode(octets)
        with self.assertRaisesRegex(UnknownRecord, "does not fit"):
            replay(None, decode(b'{"event":"call.placed","call":"x"}'), 0.0)

    def test_durations_are_not_negative_if_the_clock_is_set_back(self) -> None:
        self.keep(self.call.apply(Answered(LEG), 900.0))
        self.keep(self.call.apply(HangUp(Cause(by=EndedBy.CLIENT), "alice", "r-2"), 800.0))
        self.keep(self.call.apply(Ended(LEG, Cause(by=EndedBy.CLIENT, sip_status=200)), 700.0))
        connected, _, ended = [json.loads(octets) for octets, _ in self.kept[1:]]
        durations = [ended[name] for name in ("lived_s", "talked_s", "took_ms")]
        self.assertEqual([connected["setup_s"], *durations], [0.0, 0.0, 0.0, 0.0])
