"""What a SIP far end, or an attacker, can do during a teardown."""

from __future__ import annotations

import signal
import socket
import time
from typing import Any

from tests.faults.stories import FaultCase
from umd.management.client import ask


class FarEndTests(FaultCase):
    def heard_of(self, method: str) -> list[dict[str, Any]]:
        return [one for one in self.heard() if one["method"] == method]

    def test_killed_in_the_middle_of_a_teardown(self) -> None:
        """The BYE was sent but not answered; the next umd sends one BYE per call."""
        far_end = self.far_end()
        with self.umd(far_end=far_end) as umd:
            calls = [self.place(umd, "5550199", "pbx") for _ in range(10)]
            with self.ending(umd, *calls) as outcomes:
                self.until(lambda: len({bye["call"] for bye in self.heard_of("BYE")}) == 10)
                umd.process.send_signal(signal.SIGKILL)
                self.assertRaises(OSError, outcomes)
            umd.process.wait()
            self.crashes.append(time.monotonic())
        with self.umd(far_end=far_end) as umd:
            for call in calls:
                umd.wait_for("call.disconnected", call=call, confirmed=True)
            answers = [self.end(umd, call) for call in calls for _ in range(10)]
            self.assertEqual(set(answers) - {"ended", "already-ended"}, set())
            self.assertEqual(umd.stop(), 0)
        self.check(far_end)
        self.assertEqual(len({bye["branch"] for bye in self.heard_of("BYE")}), 20)

    def test_killed_while_it_rings(self) -> None:
        """The next umd sends the same INVITE again, and cancels it."""
        far_end = self.far_end()
        with self.umd(far_end=far_end) as umd:
            call = self.place(umd, "5550180", "pbx")
            umd.stop(signal.SIGKILL)
        with self.umd(far_end=far_end) as umd:
            self.assertEqual(self.end(umd, call), "ended")
            self.assertEqual(umd.stop(), 0)
        self.check(far_end)
        said = [one["said"] for one in self.heard_of("INVITE")]
        self.assertEqual((said[0], set(said[1:])), ("180", {"again"}))
        self.assertEqual(len(self.heard_of("CANCEL")), 1)

    def test_fifty_clients_and_one_bye(self) -> None:
        far_end = self.far_end()
        with self.umd(far_end=far_end) as umd:
            call = self.place(umd, "5550199", "pbx")
            with self.ending(umd, *[call] * 50) as outcomes:
                self.assertEqual(outcomes(), ["ended"] * 50)
            self.assertEqual(umd.stop(), 0)
        journal = self.check(far_end)
        self.assertEqual(len({bye["branch"] for bye in self.heard_of("BYE")}), 1)
        self.assertEqual(journal.events[call].count("call.disconnected"), 1)

    def test_messages_that_are_forged(self) -> None:
        """A BYE with a wrong tag, unexpected responses and garbage do not end the call."""
        far_end = self.far_end()
        with self.umd(far_end=far_end) as umd:
            call = self.place(umd, "5550101", "pbx")
            sip_call_id = self.heard_of("INVITE")[0]["call"]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
                forger.bind(("127.0.0.1", 0))
                forger.settimeout(30)
                here, there = forger.getsockname()[1], ("127.0.0.1", self.sip_port)

                def say(method: str, call_id: str, tags: tuple[str, str]) -> bytes:
                    forger.sendto(_forged(method, call_id, tags, here), there)
                    return forger.recv(65535)

                for method, answer in (("BYE", b"481"), ("CANCEL", b"481"), ("UPDATE", b"481")):
                    for name in (sip_call_id, "no-such-call"):
                        for tags in (("far-0", "guess"), ("guess", "guess")):
                            said = say(method, name, tags)
                            self.assertTrue(said.startswith(b"SIP/2.0 " + answer), said)
                stray = _stray(sip_call_id, here)
                for noise in (b"", b"\0" * 500, b"SIP/2.0 200 OK\r\n\r\n", stray):
                    forger.sendto(noise, there)
                # The response to this one shows that all before it was read.
                self.assertTrue(say("OPTIONS", "x", ("a", "")).startswith(b"SIP/2.0 200"))
            (reply,) = ask("calls", umd.control_socket)
            self.assertEqual((reply["call"]["id"], reply["call"]["state"]), (call, "connected"))
            self.assertEqual(self.end(umd, call), "ended")
            self.assertEqual(umd.stop(), 0)
        self.check(far_end)


def _forged(method: str, call_id: str, tags: tuple[str, str], port: int) -> bytes:
    theirs, ours = tags
    return (
        f"{method} sip:umd@127.0.0.1 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{method}{call_id}{theirs}{ours}\r\n"
        f"From: <sip:far@127.0.0.1>;tag={theirs}\r\n"
        f"To: <sip:umd@127.0.0.1>{';tag=' + ours if ours else ''}\r\n"
        f"Call-ID: {call_id}\r\nCSeq: 7 {method}\r\nMax-Forwards: 70\r\n"
        f"Contact: <sip:far@127.0.0.1:{port}>\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def _stray(call_id: str, port: int) -> bytes:
    """Return a 200 to a BYE that umd has not sent."""
    return (
        "SIP/2.0 200 OK\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKstray\r\n"
        "From: <sip:umd@127.0.0.1>;tag=guess\r\nTo: <sip:far@127.0.0.1>;tag=far-0\r\n"
        f"Call-ID: {call_id}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    ).encode()
