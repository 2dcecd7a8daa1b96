"""What the endpoint answers by itself, what it drops, and that nothing from outside hurts it."""

from __future__ import annotations

import subprocess
import sys

from tests.sip.helpers import ALICE, ANSWER, BOB, NOTHING, CallCase, label, leftovers, run
from umd.sip.message import Response
from umd.sip.session import Ended, Session, State
from umd.sip.transaction import Hop

REQUEST = """{method} sip:bob@192.0.2.2 SIP/2.0\r
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch}\r
From: <sip:alice@192.0.2.1>;tag=1\r
To: <sip:bob@192.0.2.2>{tag}\r
Call-ID: out-of-the-blue\r
CSeq: 5 {method}\r
{more}Content-Length: 0\r
\r
"""


class OutsideDialogTests(CallCase):
    def ask(self, method: str, *, tag: str = "", more: str = "", branch: str = "") -> list[int]:
        """A request from nowhere; the statuses of the answers."""
        text = REQUEST.format(method=method, branch=branch or method, tag=tag, more=more)
        self.bob.endpoint.receive_datagram(text.encode(), ALICE, 0.0)
        found = []
        for send in self.bob.out():
            assert isinstance(send.message, Response)
            self.answer = send.message
            found.append(send.message.status)
        return found

    def over(self) -> None:
        run((self.bob,), 0.0, 100.0)
        self.assertEqual(leftovers(self.bob), NOTHING)

    def test_options(self) -> None:
        """200 with what we can do."""
        self.assertEqual(self.ask("OPTIONS"), [200])
        self.assertIn("INVITE", self.answer.get("Allow") or "")
        self.over()

    def test_what_we_do_not_do(self) -> None:
        """405 for a known method, 501 for an unknown one."""
        self.assertEqual(self.ask("REGISTER"), [405])
        self.assertEqual(self.ask("JUGGLE"), [501])
        self.over()

    def test_no_such_call(self) -> None:
        """481 for BYE, CANCEL, UPDATE and a re-INVITE of nothing."""
        for method in ("BYE", "CANCEL", "UPDATE"):
            self.assertEqual(self.ask(method), [481])
        for number, method in enumerate(("BYE", "INVITE", "OPTIONS", "UPDATE")):
            self.assertEqual(self.ask(method, tag=";tag=zz", branch=f"t{number}"), [481])
        self.assertEqual(self.bob.take_events(), [])
        self.over()

    def test_ack_is_never_answered(self) -> None:
        """Whatever is wrong with it."""
        self.assertEqual(self.ask("ACK"), [])
        self.assertEqual(self.ask("ACK", tag=";tag=zz"), [])
        self.assertEqual(self.ask("ACK", more="Content-Length: 12\r\n"), [])
        self.assertEqual(self.ask("ACK", more="Contact: <<<>\r\n"), [])
        self.over()

    def test_unknown_extension(self) -> None:
        """420 for an INVITE that requires what we do not have."""
        self.assertEqual(self.ask("INVITE", more="Require: 100rel\r\n"), [420])
        self.assertEqual(self.answer.get("Unsupported"), "100rel")
        self.assertEqual(self.bob.take_events(), [])
        self.over()

    def test_malformed(self) -> None:
        """400 for what can be answered; nothing for what cannot; no exception ever."""
        self.assertEqual(self.ask("INVITE", more="Record-Route: <nonsense\r\n"), [400])
        self.assertEqual(self.ask("INVITE", more="Contact: <<<>\r\n", branch="2"), [400])
        self.assertEqual(self.ask("INVITE", more="To: <sip:x>\r\n", branch="3"), [400])
        for data in (b"", b"\r\n\r\n", b"\x00" * 64, b"SIP/2.0 200 OK\r\n\r\n", b"INVITE\r\n\r\n"):
            self.bob.endpoint.receive_datagram(data, ALICE, 0.0)
        self.bob.out()
        self.assertEqual(self.bob.take_events(), [])
        self.over()

    def test_a_line_that_is_no_header_field(self) -> None:
        """It is passed over: nothing depends on it."""
        self.assertEqual(self.ask("INVITE", more="no header\r\n: x\r\na b: c\r\n"), [])
        self.bob.incoming().hang_up(0.1)
        self.over()

    def test_contact_that_is_no_address_of_ours(self) -> None:
        """A call from a Contact that cannot be reached is taken; requests go to the source."""
        self.assertEqual(self.ask("INVITE", more="Contact: <tel:+123>\r\n"), [])
        self.bob.incoming().hang_up(0.1)
        self.over()

    def test_stray_responses(self) -> None:
        """A response without a transaction is dropped."""
        text = "SIP/2.0 200 OK" + REQUEST[REQUEST.index("\r\n") :]
        data = text.format(method="BYE", branch="7", tag=";tag=b", more="").encode()
        self.bob.endpoint.receive_datagram(data, ALICE, 0.0)
        self.assertEqual(self.bob.out(), [])


class FailingHopTests(CallCase):
    def test_connection_lost_while_calling(self) -> None:
        """503 for a call that has heard nothing; an answered one stays until its BYE fails."""
        flow = Hop("192.0.2.2", 5060, "TCP", 9)
        self.bob.hop = flow
        self.alice.call(self.bob)
        self.alice.out()
        self.alice.endpoint.hop_failed(flow, 1.0)
        self.assertEqual(self.alice.take_events(), [Ended(503, (), "local", False)])
        self.bob.hop = BOB
        caller, callee = self.answered()
        self.alice.endpoint.hop_failed(BOB, 1.0)
        self.assertEqual(self.alice.take_events(), [])
        caller.hang_up(2.0)
        self.alice.out()
        self.alice.endpoint.hop_failed(BOB, 2.1)
        self.assertEqual(self.alice.take_events(), [Ended(200, (), "local", False)])
        callee.hang_up(3.0)
        self.settle(3.0)
        run(self.parties, 3.0, 100.0)
        self.assertEqual(leftovers(self.alice), NOTHING)

    def test_sessions_can_be_listed(self) -> None:
        """Every session that has not ended, once."""
        caller, callee = self.offered()
        self.assertEqual(list(self.alice.endpoint.sessions()), [caller])
        callee.answer(0.0, body=ANSWER)
        self.settle()
        self.assertEqual(list(self.alice.endpoint.sessions()), [caller])
        self.assertEqual(list(self.bob.endpoint.sessions()), [callee])
        caller.hang_up(1.0)
        self.settle(1.0)
        self.assertEqual(list(self.alice.endpoint.sessions()), [])
        self.finish(1.0)


class RingTests(CallCase):
    def test_the_core_knows_no_twisted(self) -> None:
        """Imports point inward: the endpoint loads no Twisted, no random, no clock of its own."""
        code = "import sys, umd.sip.endpoint; print([m for m in ('twisted', 'random', 'asyncio') "
        code += "if m in sys.modules])"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        self.assertEqual(done.stdout.strip(), "[]")


class SourceTests(CallCase):
    """A response tells where its request came from (RFC 3261 §18.2.1, RFC 3581 §4)."""

    def via(self, via: str, source: Hop = ALICE) -> tuple[str, Hop]:
        """The Via of the answer to OPTIONS with this one, and where the answer goes."""
        text = REQUEST.format(method="OPTIONS", branch="1", tag="", more="")
        head, _, rest = text.partition("Via: ")
        data = f"{head}Via: SIP/2.0/UDP {via};branch=z9hG4bKs\r\n{rest.partition(chr(10))[2]}"
        self.setUp()
        self.bob.endpoint.receive_datagram(data.encode(), source, 0.0)
        ((message, hop),) = self.bob.out()
        return message.get("Via") or "", hop

    def test_source(self) -> None:
        """What is asked for or not as it says is written in; what is as it says is left alone."""
        here = ALICE.host
        for sent, added in (
            (f"{here}:5060", ""),
            (f"{here}", ""),
            (f"{here}:5060;rport", f";received={here};rport=5060"),
            (f"{here}:5060;rport=1;received=192.0.2.99", f";received={here};rport=5060"),
            ("192.0.2.50:5060", f";received={here}"),
            ("PHONE.example.com", f";received={here}"),
            (f"{here}:5060;received=192.0.2.99", f";received={here}"),
        ):
            via, hop = self.via(sent)
            params = sorted(part for part in via.split(";")[1:] if not part.startswith("branch"))
            self.assertEqual(params, sorted(added.split(";")[1:]), sent)
            self.assertEqual(hop, ALICE)

    def test_ipv6(self) -> None:
        """An address is the same however it is written; without brackets in received."""
        source = Hop("2001:db8::1", 5060)
        for host in ("[2001:db8::1]", "[2001:DB8:0::1]"):
            self.assertNotIn("received", self.via(host, source)[0])
        self.assertIn(";received=2001:db8::1", self.via("[2001:db8::2]", source)[0])

    def test_refusals(self) -> None:
        """A request that is refused has it as well, also one that is hardly SIP."""
        for old, new in (("CSeq: 5", "CSeq: x"), ("OPTIONS sip", "OPTIONS  sip")):
            text = REQUEST.format(method="OPTIONS", branch="1", tag="", more="")
            text = text.replace(ALICE.host, "phone.example.com").replace(old, new)
            self.bob.endpoint.receive_datagram(text.encode(), ALICE, 0.0)
            ((message, _),) = self.bob.out()
            assert isinstance(message, Response)
            self.assertEqual(message.status, 400)
            self.assertIn(f";received={ALICE.host}", message.get("Via") or "")


class UnsentAckTests(CallCase):
    """A 200 whose ACK cannot be sent to where its Contact says."""

    def answer(self, contact: str) -> Session:
        caller, callee = self.offered()
        callee.answer(0.0, body=ANSWER)
        (send,) = self.bob.out()
        text = send.message.octets().decode()
        data = text.replace(f"Contact: <sip:{BOB.host}:5060>", f"Contact: <{contact}>")
        self.assertNotEqual(data, text)
        self.alice.endpoint.receive_datagram(data.encode(), BOB, 0.0)
        return caller

    def unsendable(self, hops: tuple[Hop, ...], now: float) -> list[tuple[str, Hop]]:
        """What Alice sends; what is for these hops she is told could not be sent."""
        found = []
        while sends := self.alice.out():
            for message, hop in sends:
                found.append((label(message), hop))
                if hop in hops:
                    self.alice.endpoint.send_failed(message, now)
        return found

    def test_by_way_of_the_peer(self) -> None:
        """It goes the way of the INVITE, each time, and so does the BYE."""
        caller = self.answer("sip:bob@198.51.100.1")
        nowhere = Hop("198.51.100.1", 5060)
        self.assertEqual(self.unsendable((nowhere,), 0.0), [("ACK", nowhere), ("ACK", BOB)])
        self.assertIs(caller.state, State.CONFIRMED)
        caller.hang_up(1.0)
        self.assertEqual(self.unsendable((nowhere,), 1.0), [("BYE", BOB)])

    def test_not_at_all(self) -> None:
        """Then the call does not look as if it were up: it has ended, unconfirmed."""
        caller = self.answer("sip:bob@198.51.100.1;transport=tcp")
        sent = self.unsendable((BOB,), 0.0)
        self.assertEqual(sent, [("ACK", BOB), ("BYE", BOB)])
        self.assertIs(caller.state, State.ENDED)
        self.alice.take()
        self.assertEqual(self.alice.events[-1][1], Ended(200, (), "local", confirmed=False))

    def test_flaws_are_told(self) -> None:
        """Of a message that was taken all the same, with where it came from."""
        told: list[tuple[str, Hop]] = []
        self.alice.endpoint.flawed = lambda message, source: told.append(
            (" ".join(message.flaws), source)
        )
        self.answer("sip:bob@192.0.2.2;transport=tcp")
        ((flaw, source),) = told
        self.assertIn("transport=tcp", flaw)
        self.assertEqual(source, BOB)
