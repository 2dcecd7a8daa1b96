"""What the endpoint answers itself, what it drops, and that no input raises an exception."""

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
        """Send a request outside a dialog; return the statuses of the responses."""
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
        """OPTIONS gets a 200 with our methods and content types."""
        self.assertEqual(self.ask("OPTIONS"), [200])
        self.assertIn("INVITE", self.answer.get("Allow") or "")
        self.over()

    def test_what_we_do_not_do(self) -> None:
        """405 for a known method, 501 for an unknown one."""
        self.assertEqual(self.ask("REGISTER"), [405])
        self.assertEqual(self.ask("JUGGLE"), [501])
        self.over()

    def test_no_such_call(self) -> None:
        """BYE, CANCEL, UPDATE and re-INVITE without a dialog are answered 481."""
        for method in ("BYE", "CANCEL", "UPDATE"):
            self.assertEqual(self.ask(method), [481])
        for number, method in enumerate(("BYE", "INVITE", "OPTIONS", "UPDATE")):
            self.assertEqual(self.ask(method, tag=";tag=zz", branch=f"t{number}"), [481])
        self.assertEqual(self.bob.take_events(), [])
        self.over()

    def test_ack_is_never_answered(self) -> None:
        """An ACK gets no response, whatever its flaw."""
        self.assertEqual(self.ask("ACK"), [])
        self.assertEqual(self.ask("ACK", tag=";tag=zz"), [])
        self.assertEqual(self.ask("ACK", more="Content-Length: 12\r\n"), [])
        self.assertEqual(self.ask("ACK", more="Contact: <<<>\r\n"), [])
        self.over()

    def test_unknown_extension(self) -> None:
        """An INVITE that requires an unsupported extension is answered 420."""
        self.assertEqual(self.ask("INVITE", more="Require: 100rel\r\n"), [420])
        self.assertEqual(self.answer.get("Unsupported"), "100rel")
        self.assertEqual(self.bob.take_events(), [])
        self.over()

    def test_malformed(self) -> None:
        """A malformed request is answered 400, and no input raises an exception."""
        self.assertEqual(self.ask("INVITE", more="Record-Route: <nonsense\r\n"), [400])
        self.assertEqual(self.ask("INVITE", more="Contact: <<<>\r\n", branch="2"), [400])
        self.assertEqual(self.ask("INVITE", more="To: <sip:x>\r\n", branch="3"), [400])
        for data in (b"", b"\r\n\r\n", b"\x00" * 64, b"SIP/2.0 200 OK\r\n\r\n", b"INVITE\r\n\r\n"):
            self.bob.endpoint.receive_datagram(data, ALICE, 0.0)
        self.bob.out()
        self.assertEqual(self.bob.take_events(), [])
        self.over()

    def test_a_line_that_is_no_header_field(self) -> None:
        """A flaw in an unneeded field is ignored."""
        self.assertEqual(self.ask("INVITE", more="no header\r\n: x\r\na b: c\r\n"), [])
        self.bob.incoming().hang_up(0.1)
        self.over()

    def test_contact_that_is_no_address_of_ours(self) -> None:
        """If the Contact of an INVITE is unusable, our requests go to its source."""
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
        """A failed hop ends an unanswered call with 503, and an answered one if its BYE fails."""
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
        """sessions() yields each session that has not ended once."""
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
        """Importing the endpoint loads no Twisted, no random and no clock."""
        code = "import sys, umd.sip.endpoint; print([m for m in ('twisted', 'random', 'asyncio') "
        code += "if m in sys.modules])"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        self.assertEqual(done.stdout.strip(), "[]")


class SourceTests(CallCase):
    """The Via of a response names the source of the request (RFC 3261 §18.2.1, RFC 3581 §4)."""

    def via(self, via: str, source: Hop = ALICE) -> tuple[str, Hop]:
        """Send OPTIONS with this Via; return the Via of the response and its hop."""
        text = REQUEST.format(method="OPTIONS", branch="1", tag="", more="")
        head, _, rest = text.partition("Via: ")
        data = f"{head}Via: SIP/2.0/UDP {via};branch=z9hG4bKs\r\n{rest.partition(chr(10))[2]}"
        self.setUp()
        self.bob.endpoint.receive_datagram(data.encode(), source, 0.0)
        ((message, hop),) = self.bob.out()
        return message.get("Via") or "", hop

    def test_source(self) -> None:
        """received and rport are added if the Via asks for them or differs from the source."""
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
        """IPv6 addresses are compared by value, and `received` has no brackets."""
        source = Hop("2001:db8::1", 5060)
        for host in ("[2001:db8::1]", "[2001:DB8:0::1]"):
            self.assertNotIn("received", self.via(host, source)[0])
        self.assertIn(";received=2001:db8::1", self.via("[2001:db8::2]", source)[0])

    def test_refusals(self) -> None:
        """The response to a malformed request names the source too."""
        for old, new in (("CSeq: 5", "CSeq: x"), ("OPTIONS sip", "OPTIONS  sip")):
            text = REQUEST.format(method="OPTIONS", branch="1", tag="", more="")
            text = text.replace(ALICE.host, "phone.example.com").replace(old, new)
            self.bob.endpoint.receive_datagram(text.encode(), ALICE, 0.0)
            ((message, _),) = self.bob.out()
            assert isinstance(message, Response)
            self.assertEqual(message.status, 400)
            self.assertIn(f";received={ALICE.host}", message.get("Via") or "")


class UnsentAckTests(CallCase):
    """A 200 with a Contact that the ACK cannot be sent to."""

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
        """Return what Alice sends, and report as unsent what goes to these hops."""
        found = []
        while sends := self.alice.out():
            for message, hop in sends:
                found.append((label(message), hop))
                if hop in hops:
                    self.alice.endpoint.send_failed(message, now)
        return found

    def test_by_way_of_the_peer(self) -> None:
        """The ACK, its repetitions and the BYE go to the hop of the INVITE."""
        caller = self.answer("sip:bob@198.51.100.1")
        nowhere = Hop("198.51.100.1", 5060)
        self.assertEqual(self.unsendable((nowhere,), 0.0), [("ACK", nowhere), ("ACK", BOB)])
        self.assertIs(caller.state, State.CONFIRMED)
        caller.hang_up(1.0)
        self.assertEqual(self.unsendable((nowhere,), 1.0), [("BYE", BOB)])

    def test_not_at_all(self) -> None:
        """If the ACK cannot be sent anywhere, the call ends, unconfirmed."""
        caller = self.answer("sip:bob@198.51.100.1;transport=tcp")
        sent = self.unsendable((BOB,), 0.0)
        self.assertEqual(sent, [("ACK", BOB), ("BYE", BOB)])
        self.assertIs(caller.state, State.ENDED)
        self.alice.take()
        self.assertEqual(self.alice.events[-1][1], Ended(200, (), "local", confirmed=False))

    def test_flaws_are_told(self) -> None:
        """`flawed` gets each message with tolerated flaws, and its source."""
        told: list[tuple[str, Hop]] = []
        self.alice.endpoint.flawed = lambda message, source: told.append(
            (" ".join(message.flaws), source)
        )
        self.answer("sip:bob@192.0.2.2;transport=tcp")
        ((flaw, source),) = told
        self.assertIn("transport=tcp", flaw)
        self.assertEqual(source, BOB)
