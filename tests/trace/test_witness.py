"""What the messages on a wire prove about the end of a call, and what they do not."""

from __future__ import annotations

import random
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from tests.trace.wire_calls import (
    CALLEE,
    CALLER,
    LEG_ENDINGS,
    PBX,
    PROXY_ENDINGS,
    Side,
    WireCall,
    WirePacket,
    leg,
    proxied,
    request,
    response,
    via,
)
from umd.sip.framing import read_datagram
from umd.sip.transaction import Hop
from umd.trace.proof import ShownDown
from umd.trace.view import WireState
from umd.trace.witness import ENDED_KEPT, Witness, WitnessLimits

WALL = 1_795_000_000.0
PROVEN_LEGS = {
    *("pbx-bye", "far-bye", "bye-481", "cancelled", "refused", "inbound-rejected"),
}
ENDINGS = [
    *((leg, ending) for ending in LEG_ENDINGS),
    *((proxied, ending) for ending in PROXY_ENDINGS),
]
PROVEN_PROXIED = {"both-byes", "caller-bye", "callee-bye", "cancelled", "forked"}


def feed(witness: Witness, packets: Iterable[WirePacket], begin: float = 0.0) -> None:
    for at, source, target, octets in packets:
        message = read_datagram(octets)
        assert message is not None
        witness.take(source, target, message, WALL + begin + at, begin + at)


def proof(
    witness: Witness, call: WireCall, *, since: float | None = None, now: float | None = None
) -> ShownDown | None:
    """Return what proves the end of a call that the PBX reported at a time."""
    found: list[ShownDown] = []
    reported = call.reported_at if since is None else since
    watch = witness.watch(
        call.call_id,
        call.tags,
        since=WALL + reported,
        now=reported if now is None else now,
        then=found.append,
    )
    if watch is not None:
        witness.forget(watch)
    return found[0] if found else None


class ProofTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.witness = Witness()

    def test_legs_of_a_back_to_back_user_agent(self) -> None:
        """Only an ending that the far end has shown is proven; the PBX's own word never is."""
        for ending in LEG_ENDINGS:
            call = leg(f"leg-{ending}", ending)
            feed(self.witness, call.packets)
            found = proof(self.witness, call)
            self.assertEqual(found is not None, ending in PROVEN_LEGS, ending)
            self.assertTrue(found is None or call.is_down, ending)

    def test_calls_through_a_proxy(self) -> None:
        """Both far ends must be shown down; an answer of the proxy itself shows nothing."""
        for ending in PROXY_ENDINGS:
            call = proxied(f"call-{ending}", ending)
            feed(self.witness, call.packets)
            found = proof(self.witness, call)
            self.assertEqual(found is not None, ending in PROVEN_PROXIED, ending)
            self.assertTrue(found is None or call.is_down, ending)

    def test_a_call_through_a_proxy_without_tags(self) -> None:
        """If the backend names no far ends, those of the dialogs on the wire must be down."""
        for ending in PROXY_ENDINGS:
            call = proxied(f"call-{ending}", ending)
            feed(self.witness, call.packets)
            call.tags = ()
            found = proof(self.witness, call)
            self.assertTrue(found is None or call.is_down, ending)
            if ending in ("both-byes", "caller-bye", "callee-bye"):
                self.assertIsNotNone(found, ending)

    def test_the_proof_says_what_it_rests_on(self) -> None:
        call = leg("x", "bye-481")
        feed(self.witness, call.packets)
        found = proof(self.witness, call)
        assert found is not None
        self.assertEqual((found.tag, found.method, found.status), ("fx", "BYE", 481))
        self.assertAlmostEqual(found.captured_at, WALL + call.packets[-1].at, 5)

    def test_the_proof_comes_after_the_report(self) -> None:
        """A watch is told once, with the message that completes the proof."""
        call = leg("x", "pbx-bye")
        found: list[ShownDown] = []
        feed(self.witness, call.packets[:-1])
        watch = self.witness.watch("x", (), since=WALL, now=0.0, then=found.append)
        assert watch is not None
        self.assertEqual(found, [])
        feed(self.witness, call.packets[-1:] * 2)
        self.assertEqual([down.status for down in found], [200])
        self.witness.forget(watch)
        self.assertEqual(self.witness.counts.proofs, 1)

    def test_a_forgotten_watch_is_not_told(self) -> None:
        call = leg("x", "pbx-bye")
        found: list[ShownDown] = []
        watch = self.witness.watch("x", (), since=WALL, now=0.0, then=found.append)
        assert watch is not None
        self.witness.forget(watch)
        feed(self.witness, call.packets)
        self.assertEqual(found, [])

    def test_an_answer_of_another_request_proves_nothing(self) -> None:
        """The branch, CSeq, tags and the way back must all fit; a forged answer has one wrong."""
        call = leg("x", "bye-unanswered")
        feed(self.witness, call.packets)
        right = Side("x", "px", "fx", 2, "BYE", (via(PBX, "bx"),))
        wrong = [
            right._replace(cseq=3),
            right._replace(from_tag="py"),
            right._replace(to_tag="fy"),
            right._replace(vias=(via(PBX, "by"),)),
            right._replace(call_id="y"),
            right._replace(method="INVITE"),
        ]
        elsewhere = Hop("203.0.113.9", 5080)
        forged = [WirePacket(1.0, CALLEE, PBX, response(side, 200)) for side in wrong]
        forged += [
            WirePacket(1.0, elsewhere, PBX, response(right, 200)),
            WirePacket(1.0, PBX, CALLEE, response(right, 200)),
            WirePacket(1.0, CALLEE, PBX, response(right, 183)),
        ]
        for packet in forged:
            feed(self.witness, [packet])
            self.assertIsNone(proof(self.witness, call), packet.octets)
        feed(self.witness, [WirePacket(1.0, CALLEE, PBX, response(right, 200))])
        self.assertIsNotNone(proof(self.witness, call))

    def test_an_old_ending_proves_nothing(self) -> None:
        """What was captured or received long before the report belongs to an earlier call."""
        call = leg("x", "pbx-bye")
        feed(self.witness, call.packets)
        self.assertIsNone(proof(self.witness, call, since=40.0))
        self.assertIsNone(proof(self.witness, call, since=0.0, now=40.0))
        self.assertIsNone(proof(self.witness, call, since=40.0, now=0.0))
        self.assertIsNotNone(proof(self.witness, call, since=30.0))

    def test_an_earlier_dialog_with_the_same_call_id(self) -> None:
        """The BYE of an earlier dialog with other tags does not end the present one."""
        call = leg("x", "pbx-bye")
        feed(self.witness, call.packets)
        invite = Side("x", "p2", "", 5, "INVITE", (via(PBX, "i2"),))
        again = [
            WirePacket(1.0, PBX, CALLEE, request(invite, contact=PBX)),
            WirePacket(1.1, CALLEE, PBX, response(invite, 180, "f2", contact=CALLEE)),
            WirePacket(1.2, CALLEE, PBX, response(invite, 200, "f2", contact=CALLEE)),
        ]
        for count in (1, 2, 3):
            witness = Witness()
            feed(witness, [*call.packets, *again[:count]])
            self.assertIsNone(proof(witness, call, since=1.3), count)
        bye = Side("x", "p2", "f2", 6, "BYE", (via(PBX, "b2"),))
        feed(self.witness, again)
        feed(self.witness, [WirePacket(1.4, PBX, CALLEE, request(bye))])
        self.assertIsNone(proof(self.witness, call, since=1.4))
        feed(self.witness, [WirePacket(1.5, CALLEE, PBX, response(bye, 200))])
        self.assertIsNotNone(proof(self.witness, call, since=1.4))

    def test_a_challenged_bye_counts_once_it_is_repeated(self) -> None:
        call = leg("x", "bye-challenged")
        feed(self.witness, call.packets)
        bye = Side("x", "px", "fx", 3, "BYE", (via(PBX, "b2"),))
        feed(self.witness, [WirePacket(1.0, PBX, CALLEE, request(bye))])
        self.assertIsNone(proof(self.witness, call))
        feed(self.witness, [WirePacket(1.1, CALLEE, PBX, response(bye, 200))])
        self.assertIsNotNone(proof(self.witness, call))

    def test_two_phones_that_have_answered(self) -> None:
        """If two phones answer one INVITE, the BYE of one leaves the other one up."""
        call = leg("x", "pbx-bye")
        invite = Side("x", "px", "", 1, "INVITE", (via(PBX, "ix"),))
        other = [WirePacket(0.5, CALLEE, PBX, response(invite, 200, "other", contact=CALLEE))]
        feed(self.witness, [*call.packets[:4], *other, *call.packets[4:]])
        self.assertIsNone(proof(self.witness, call))
        bye = Side("x", "px", "other", 3, "BYE", (via(PBX, "b2"),))
        feed(self.witness, [WirePacket(1.0, PBX, CALLEE, request(bye))])
        feed(self.witness, [WirePacket(1.1, CALLEE, PBX, response(bye, 481))])
        self.assertIsNotNone(proof(self.witness, call))


class DisorderTests(SynchronousTestCase):
    def test_messages_in_any_near_order(self) -> None:
        """A response that overtakes its request counts all the same."""
        random_ = random.Random(5)
        for make, ending in ENDINGS:
            for index in range(20):
                call = make(f"{ending}-{index}", ending)
                packets = sorted(call.packets, key=lambda packet: packet.at + random_.random() / 99)
                witness = Witness()
                feed(witness, packets)
                found = proof(witness, call)
                proven = PROVEN_LEGS if make is leg else PROVEN_PROXIED
                self.assertEqual(found is not None, ending in proven, ending)

    def test_a_response_that_overtakes_by_long_is_dropped(self) -> None:
        call = leg("x", "pbx-bye")
        *before, bye, answer = call.packets
        witness = Witness()
        feed(witness, [*before, answer])
        late = WirePacket(bye.at + 3.0, *bye[1:])
        feed(witness, [late])
        self.assertIsNone(proof(witness, call))

    def test_lost_messages_never_make_a_proof(self) -> None:
        """Whatever is lost, no call is proven down that is up."""
        random_ = random.Random(6)
        proven = 0
        for make, ending in ENDINGS:
            for index in range(150):
                call = make(f"{ending}-{index}", ending)
                loss = random_.choice((0.1, 0.3, 0.6))
                packets = [packet for packet in call.packets if random_.random() > loss]
                random_.shuffle(packets)
                witness = Witness()
                feed(witness, packets)
                found = proof(witness, call)
                proven += found is not None
                self.assertTrue(found is None or call.is_down, f"{ending} {index} {packets}")
        self.assertGreater(proven, 200)

    def test_every_single_loss(self) -> None:
        """Each subset that lacks one or two messages proves only what is true."""
        for make, ending in ENDINGS:
            call = make("x", ending)
            if call.is_down:
                continue
            count = len(call.packets)
            for first in range(count):
                for second in range(first, count):
                    kept = [
                        packet
                        for index, packet in enumerate(call.packets)
                        if index not in (first, second)
                    ]
                    witness = Witness()
                    feed(witness, kept)
                    self.assertIsNone(proof(witness, call), (ending, first, second))

    def test_the_word_of_a_proxy_is_known_from_any_message(self) -> None:
        """A proxy that answers a BYE itself is known as one, though its INVITE was lost."""
        call = proxied("x", "no-bye")
        packets = [
            packet
            for packet in call.packets
            if not (packet.octets.startswith(b"INVITE") and packet.source == PBX)
        ]
        bye = Side("x", "ax", "bx", 2, "BYE", (via(CALLER, "without-route"),))
        packets += [
            WirePacket(1.0, CALLER, PBX, request(bye)),
            WirePacket(1.1, PBX, CALLER, response(bye, 481)),
        ]
        witness = Witness()
        feed(witness, packets)
        self.assertIsNone(proof(witness, call))
        view = witness.call("x")
        assert view is not None
        self.assertEqual([down.tag for down in view.down], ["ax"])

    def test_odd_messages_are_counted(self) -> None:
        """A message without readable ids, or with one that is too long, is not followed."""
        witness = Witness()
        good = Side("x", "px", "fx", 2, "BYE", (via(PBX, "b"),))
        for side in (
            good._replace(from_tag="p" * 300),
            good._replace(call_id="c" * 300),
            good._replace(vias=(via(PBX, "b" * 300),)),
            good._replace(vias=("SIP/2.0/UDP 192.0.2.1",)),
            good._replace(to_tag=""),
        ):
            feed(witness, [WirePacket(0.0, PBX, CALLEE, request(side))])
        octets = request(good).replace(b"Max-Forwards: 70", b"Call-ID: y")
        feed(witness, [WirePacket(0.0, PBX, CALLEE, octets)])
        self.assertEqual(witness.counts.malformed, 6)
        self.assertEqual(len(witness), 0)


class MemoryTests(SynchronousTestCase):
    def test_ended_calls_are_forgotten(self) -> None:
        witness = Witness()
        for index in range(100):
            feed(witness, leg(f"c{index}", "pbx-bye").packets)
        self.assertEqual((witness.live, len(witness)), (0, 100))
        for index in range(100):
            feed(witness, leg(f"d{index}", "no-bye").packets, ENDED_KEPT + 1)
        self.assertEqual((witness.live, len(witness)), (100, 100))
        self.assertEqual(witness.counts.forgotten, 0)

    def test_calls_octets_and_age_are_limited(self) -> None:
        """Ended calls go first, then those that were silent longest."""
        witness = Witness(WitnessLimits(calls=10, age=100.0))
        for index in range(30):
            feed(witness, leg(f"c{index}", "no-bye").packets, index)
        self.assertEqual(len(witness), 10)
        self.assertEqual(witness.counts.forgotten, 20)
        self.assertIsNone(witness.call("c19"))
        self.assertIsNotNone(witness.call("c20"))
        for index in range(5):
            feed(witness, leg(f"d{index}", "pbx-bye").packets, 1000.0)
        self.assertEqual(witness.live, 0)
        small = Witness(WitnessLimits(octets=50_000))
        for index in range(100):
            feed(small, leg(f"c{index}", "no-bye").packets, index)
        self.assertLess(small.octets, 50_000)
        self.assertGreater(len(small), 10)

    def test_what_is_counted_is_freed(self) -> None:
        witness = Witness(WitnessLimits(age=1.0))
        for index, ending in enumerate(LEG_ENDINGS * 5):
            feed(witness, leg(f"c{index}", ending).packets)
        feed(witness, leg("last", "no-bye").packets * 40, 1000.0)
        self.assertEqual(len(witness), 1)
        single = Witness()
        feed(single, leg("last", "no-bye").packets, 1000.0)
        self.assertEqual(witness.octets, single.octets)

    def test_a_call_with_too_many_exchanges_proves_nothing(self) -> None:
        witness = Witness()
        call = leg("x", "pbx-bye")
        feed(witness, call.packets)
        for index in range(40):
            bye = Side("x", "px", "fx", 10 + index, "BYE", (via(PBX, f"n{index}"),))
            feed(witness, [WirePacket(0.1, PBX, CALLEE, request(bye))])
            feed(witness, [WirePacket(0.1, CALLEE, PBX, response(bye, 200))])
        self.assertIsNone(proof(witness, call))
        self.assertLess(witness.octets, 100_000)


class ViewTests(SynchronousTestCase):
    def test_the_state_of_a_call(self) -> None:
        call = leg("x", "pbx-bye")
        witness = Witness()
        states = []
        for packet in call.packets:
            feed(witness, [packet])
            view = witness.call("x")
            assert view is not None
            states.append(view.state)
        S = WireState
        expected = [S.CALLING] * 2 + [S.RINGING] + [S.ANSWERED] * 2 + [S.ENDING, S.ENDED]
        self.assertEqual(states, expected)
        view = witness.call("x")
        assert view is not None
        self.assertEqual((view.tags, view.bye_from), (("px", "fx"), "px"))
        self.assertIn("fx", [down.tag for down in view.down])
        self.assertIsNone(witness.call("y"))

    def test_an_unanswered_bye_is_shown(self) -> None:
        call = leg("x", "bye-unanswered")
        witness = Witness()
        feed(witness, call.packets)
        view = witness.call("x")
        assert view is not None
        (bye,) = view.open_requests
        self.assertEqual((bye.method, bye.sent, bye.from_tag), ("BYE", 4, "px"))
        self.assertAlmostEqual(bye.since, WALL + call.packets[-4].at, 5)
        self.assertEqual(view.down, ())

    def test_who_rings(self) -> None:
        call = leg("x", "cancel-unanswered")
        witness = Witness()
        feed(witness, call.packets)
        view = witness.call("x")
        assert view is not None
        self.assertEqual((view.state, view.ringing), (WireState.ENDING, ("fx",)))
        self.assertEqual([(open_.method, open_.sent) for open_ in view.open_requests],
                         [("CANCEL", 4)])  # fmt: skip
