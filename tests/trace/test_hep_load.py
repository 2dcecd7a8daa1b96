"""Many calls at once, and changed packets: no proof is wrong. The command has the long form."""

from __future__ import annotations

import random
from functools import partial

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.trace.hep_load import KINDS, PASSWORD, Load, Receiver, mutate, sendings
from umd.trace.hep import HepWriter
from umd.trace.hep_listener import HepUdp


class LoadTests(SynchronousTestCase):
    def judged(self, load: Load) -> tuple[int, int, int]:
        """Return how many calls are down, proven, and wrongly proven; all are watched first."""
        clock = Clock()
        receiver = Receiver(load, clock)
        udp = HepUdp(receiver.receiver)
        for number in range(load.calls):
            call = load.call(number)
            receiver.witness.watch(
                call.call_id,
                call.tags,
                since=0.0,
                now=0.0,
                then=partial(receiver.proofs.__setitem__, number),
            )
        write = HepWriter(7, PASSWORD).write
        for at, captured, source, target, octets in sendings(load):
            clock.advance(max(0.0, at - clock.seconds()))
            udp.datagramReceived(write(source, target, captured, octets), ("127.0.0.1", 9))
        result = receiver.judge()
        self.assertEqual((result.failures, result.refused), (0, 0))
        return result.down, result.proven, result.wrong

    def test_every_ending_at_once(self) -> None:
        """Without loss, nearly every call that is down is proven to be, in disorder too."""
        down, proven, wrong = self.judged(Load(rate=500.0, seconds=2.0))
        refused = round(1000 / len(KINDS))  # by the callee of a proxy, without a 180
        self.assertEqual((proven, wrong), (down - refused, 0))
        disorder = Load(rate=500.0, seconds=2.0, reorder=0.5)
        self.assertEqual(self.judged(disorder), (down, proven, 0))

    def test_loss_and_disorder(self) -> None:
        """With loss fewer calls are proven, and none wrongly."""
        for loss, reorder in ((0.1, 0.0), (0.1, 0.5), (0.4, 0.5)):
            load = Load(rate=500.0, seconds=2.0, loss=loss, reorder=reorder, seed=3)
            down, proven, wrong = self.judged(load)
            self.assertEqual(wrong, 0)
            self.assertLess(proven, down)
            self.assertGreater(proven, down * (0.9 - 2 * loss) * 0.8)

    def test_changed_packets(self) -> None:
        """No packet changed at random raises anything or proves anything."""
        result = mutate(5000, seed=random.Random(14).randrange(10))
        self.assertEqual((result.messages, result.failures, result.proven), (5000, 0, 0))
        self.assertGreater(result.refused, 1000)
        self.assertGreater(result.followed, 10)
