"""The virtual network: its conditions, and messages as objects and as octets."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.backends.sim.test_far_ends import World
from umd.backend import LegId
from umd.backends.sim.directory import built_in_far_ends
from umd.backends.sim.network import Conditions, MessageAltered, Network, round_trip
from umd.sip import build
from umd.sip.message import Message
from umd.sip.transaction import Hop, Send

A, B, NOWHERE, REFUSING = (Hop(host, 5060) for host in ("a", "b", "nowhere", "refusing"))


class Talker:
    """An end that sends what the test gives it, and keeps what arrives."""

    def __init__(self) -> None:
        self.to_send: list[Send] = []
        self.heard: list[tuple[float, str]] = []
        self.failed: list[str] = []

    def say(self, number: int, target: Hop = B) -> None:
        self.to_send.append(Send(message(number), target))

    def receive_message(self, message: Message, source: Hop, now: float) -> None:
        self.heard.append((round(now, 6), message.call_id))

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        self.heard.append((round(now, 6), "octets"))

    def messages_to_send(self) -> list[Send]:
        sending, self.to_send = self.to_send, []
        return sending

    def send_failed(self, message: Message, now: float) -> None:
        self.failed.append(message.call_id)

    def next_due(self) -> float | None:
        return None

    def handle_timer(self, now: float) -> None:
        pass


def message(number: int) -> Message:
    return build.request(
        "OPTIONS", "sip:b", sent_by="a", branch=f"z9hG4bK{number}", from_="<sip:a>;tag=1",
        to="<sip:b>", call_id=str(number), cseq=1,
    )  # fmt: skip


class NetworkTests(SynchronousTestCase):
    def build(self, *, octets: bool = False, check_every: int = 0, **conditions: float) -> None:
        self.network = Network(
            Random(1),
            conditions=Conditions(**conditions),
            octets=octets,
            check_every=check_every,
        )
        self.a, self.b = Talker(), Talker()
        self.network.attach(A, self.a)
        self.network.attach(B, self.b)
        self.network.refuse("refusing")

    def send(self, count: int) -> list[str]:
        for number in range(count):
            self.a.say(number)
        now = 0.0
        self.network.run(now)
        while (due := self.network.next_due()) is not None:
            self.network.run(due)
        return [heard[1] for heard in self.b.heard]

    def test_perfect_network(self) -> None:
        self.build()
        self.assertEqual(self.send(3), ["0", "1", "2"])
        self.assertEqual(self.network.carried, 3)

    def test_delay(self) -> None:
        self.build(delay=0.25)
        self.send(1)
        self.assertEqual(self.b.heard, [(0.25, "0")])

    def test_loss(self) -> None:
        self.build(loss=0.3)
        arrived = len(self.send(1000))
        self.assertEqual(arrived + self.network.lost, 1000)
        self.assertTrue(250 < self.network.lost < 350, self.network.lost)

    def test_duplicates(self) -> None:
        self.build(duplicate=0.1)
        self.assertTrue(1050 < len(self.send(1000)) < 1150)

    def test_jitter_reorders_and_loses_nothing(self) -> None:
        self.build(delay=0.01, jitter=0.05)
        arrived = self.send(100)
        self.assertEqual(sorted(arrived), sorted(map(str, range(100))))
        self.assertNotEqual(arrived, sorted(arrived, key=int))

    def test_unknown_address(self) -> None:
        self.build()
        self.a.say(1, NOWHERE)
        self.a.say(2, REFUSING)
        self.network.run(0.0)
        self.assertEqual((self.network.lost, self.a.failed), (1, ["2"]))

    def test_every_nth_message_is_checked(self) -> None:
        self.build(check_every=10)
        self.send(100)
        self.assertEqual(self.network.checked, 10)

    def test_octets(self) -> None:
        self.build(octets=True)
        self.assertEqual(self.send(2), ["octets", "octets"])

    def test_altered_message_is_an_error(self) -> None:
        bad = message(1)
        bad.headers.append(("Subject", " blanks around "))
        with self.assertRaises(MessageAltered):
            round_trip(bad)


class BothWaysTests(SynchronousTestCase):
    def events(self, octets: bool, **section: object) -> list[tuple[float, str]]:
        """Return the events, with times, of a call to each far end, hung up after three seconds."""
        world = World(octets=octets, check_every=0, **section)
        for number in built_in_far_ends():
            world.place(number, LegId(number))
        world.run(3.0)
        for number in built_in_far_ends():
            if LegId(number) in {leg for leg, *_ in world.simulation.legs.states()}:
                world.hang_up(LegId(number))
        world.run(200.0)
        self.assertEqual(world.left, (0, 0, 0, 0, 0))
        return [(time, str(event)) for time, event in zip(world.times, world.events, strict=True)]

    def test_objects_and_octets_give_the_same_events(self) -> None:
        self.assertEqual(self.events(False), self.events(True))
        self.assertGreater(len(self.events(False)), 40)

    def test_on_a_bad_network_too(self) -> None:
        bad = {"loss": 0.2, "duplicate": 0.1, "jitter": "30ms", "delay": "20ms"}
        for seed in range(5):
            self.assertEqual(
                self.events(False, random_seed=seed, **bad),
                self.events(True, random_seed=seed, **bad),
            )
