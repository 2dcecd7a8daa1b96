"""Events as lines: what is written is what is read, and a call is as it was."""

from __future__ import annotations

import json
from base64 import b64encode
from types import GetSetDescriptorType, MemberDescriptorType

from twisted.trial.unittest import SynchronousTestCase

from umd.call.call import Call, CallState, HangUp
from umd.call.call_id import CallId
from umd.call.cause import Cause, EndedBy, rejection
from umd.call.events import LifecycleEvent
from umd.call.leg import Answered, Ended, LegId, Progressed
from umd.call.record import NewerRecord, UnknownRecord, decode, encode, replay

LEG = LegId("leg-1")


ATTRIBUTES = [
    name
    for name, kind in vars(Call).items()
    if isinstance(kind, (MemberDescriptorType, GetSetDescriptorType)) and name[0] != "_"
]
"""Of a call, compiled or not."""


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

    def same(self) -> None:
        read = self.read()
        for name in ATTRIBUTES:
            one, other = getattr(self.call, name), getattr(read, name)
            if isinstance(one, float):
                self.assertAlmostEqual(one, other, 2, msg=name)
            else:
                self.assertEqual(one, other, name)

    def test_a_call_after_each_event_is_as_it_was(self) -> None:
        self.same()
        self.keep(self.call.apply(Progressed(LEG), 1000.5))
        self.same()
        self.keep(self.call.apply(Answered(LEG), 1001.5))
        self.same()
        self.keep(self.call.resume_as(CallState.CONNECTED, 1002.5))
        self.same()
        asked = HangUp(Cause(by=EndedBy.CLIENT), "alice", "r-2")
        self.keep(self.call.apply(asked, 1003.0))
        self.same()
        self.keep(self.call.resume_as(CallState.CONNECTED, 1003.5))
        self.same()
        self.keep(self.call.apply(Ended(LEG, Cause(by=EndedBy.CLIENT, sip_status=200)), 1004.25))
        self.same()
        self.assertEqual(json.loads(self.kept[-1][0])["took_ms"], 1250.0)

    def test_the_last_record_alone_tells_of_an_ended_call(self) -> None:
        end = Ended(LEG, rejection(486), confirmed=True)
        self.keep(self.call.apply(end, 1004.25))
        self.kept = self.kept[-1:]
        self.same()

    def test_a_lost_call(self) -> None:
        self.keep(self.call.lose("nobody has it", 1004.0))
        self.same()
        self.assertEqual(json.loads(self.kept[-1][0])["reason"], "nobody has it")

    def test_a_far_end_that_says_what_is_no_unicode(self) -> None:
        cause = Cause(by=EndedBy.FAR_END, reasons=("\udcff",))
        self.keep(self.call.apply(Ended(LEG, cause), 1004.0))
        self.assertEqual(json.loads(self.kept[-1][0])["reasons"], ["\\udcff"])
        self.same()

    def test_octets_that_are_no_utf_8_are_as_they_were(self) -> None:
        """And every reader of JSON takes the record, for people an escape stands for them."""
        name = bytes(range(1, 256)).decode("utf-8", "surrogateescape")
        self.call = Call(
            id=CallId("id"), leg=LegId(name), backend="pbx", number=name, owner=name, at=1000.0
        )
        self.kept = []
        self.keep(self.call.place(name))
        reasons = ("Q.850;cause=16", 'SIP;text="\udce9"', "")
        cause = Cause(by=EndedBy.FAR_END, reasons=reasons)
        self.keep(self.call.apply(Ended(LegId(name), cause), 1004.0))
        self.same()
        self.kept = self.kept[-1:]
        self.same()
        told = json.loads(self.kept[0][0])["octets"]["reasons"]
        self.assertEqual(told, [None, b64encode(b'SIP;text="\xe9"').decode(), None])

    def test_what_json_cannot_hold_is_told_all_the_same(self) -> None:
        """A backend may give a cause that is none; its call ends, and is on record."""
        cause = Cause(by=EndedBy.FAR_END, q850=1 << 70, reasons=("\ud800",))
        self.keep(self.call.apply(Ended(LEG, cause), 1004.0))
        told = json.loads(self.kept[-1][0])
        self.assertEqual((told["cause"], told["reasons"]), (str(1 << 70), ["\\ud800"]))
        self.assertTrue(self.read().ended)

    def test_octets_that_are_damaged(self) -> None:
        for octets in ('{"leg": "A"}', '{"reasons": ["A", "B"]}', '"x"', "7"):
            damaged = f'{{"event":"call.placed","leg":"x","reasons":["a"],"octets":{octets}}}'
            with self.assertRaises(UnknownRecord, msg=octets):
                decode(damaged.encode())

    def test_what_a_newer_umd_wrote_is_told(self) -> None:
        with self.assertRaisesRegex(NewerRecord, "'call.transferred', which this umd does not"):
            decode(b'{"event":"call.transferred"}')
        for octets in (b"", b"[]", b"{}", b'"x"', b"\xff", b'{"event":[]}', b"7", b"[" * 5000):
            with self.assertRaisesRegex(UnknownRecord, "not a record"):
                decode(octets)
        with self.assertRaisesRegex(UnknownRecord, "does not fit"):
            replay(None, decode(b'{"event":"call.placed","call":"x"}'), 0.0)

    def test_a_clock_that_is_set_back_gives_no_negative_durations(self) -> None:
        self.keep(self.call.apply(Answered(LEG), 900.0))
        self.keep(self.call.apply(HangUp(Cause(by=EndedBy.CLIENT), "alice", "r-2"), 800.0))
        self.keep(self.call.apply(Ended(LEG, Cause(by=EndedBy.CLIENT, sip_status=200)), 700.0))
        connected, _, ended = [json.loads(octets) for octets, _ in self.kept[1:]]
        told = [ended[name] for name in ("lived_s", "talked_s", "took_ms")]
        self.assertEqual([connected["setup_s"], *told], [0.0, 0.0, 0.0, 0.0])
