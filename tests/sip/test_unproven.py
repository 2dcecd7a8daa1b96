"""A cancelled INVITE with a final response that may not come from the phone: is the call down?"""

from __future__ import annotations

from tests.sip.helpers import BOB, NOTHING, CallCase, drop, flow, label, leftovers, run
from umd.sip import build
from umd.sip.message import Request, Response
from umd.sip.session import MAX_FORKS, Answered, Ended, Session, State
from umd.sip.transaction import Hop

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n"
NOT_CONFIRMED = {status: Ended(status, (), "local", False) for status in (408, 481, 487, 503)}


class ProxyCase(CallCase):
    """Alice calls through a proxy at Bob's address; the tests write each of its messages."""

    def setUp(self) -> None:
        super().setUp()

    def ringing(self, *tags: str | None) -> Session:
        """Place a call that rings with these To tags, and cancel it at 1 s."""
        caller = self.alice.call(self.bob)
        self.invite = self.sent("INVITE")
        for tag in tags:
            self.says(180 if tag else 100, tag, 0.1)
        caller.hang_up(1.0)
        self.cancel = self.sent("CANCEL")
        self.alice.take()
        return caller

    def sent(self, method: str) -> Request:
        (send,) = self.alice.out()
        assert isinstance(send.message, Request) and send.message.method == method
        return send.message

    def says(self, status: int, tag: str | None, now: float, *, body: bytes = b"") -> None:
        """Answer the INVITE."""
        contact = f"<sip:bob@{BOB.host}>" if 100 < status < 300 else None
        response = build.response(self.invite, status, to_tag=tag, contact=contact, body=body)
        self.answer(response, now)

    def obeys(self, tag: str | None, now: float) -> None:
        """Answer the CANCEL with 200."""
        self.answer(build.response(self.cancel, 200, to_tag=tag), now)

    def ends(self, tag: str, now: float) -> None:
        """Send the BYE of the phone with this tag, in its early dialog."""
        bye = (
            f"BYE sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {BOB.host};branch=z9hG4bKbye\r\n"
            f"From: {self.invite.get('To')};tag={tag}\r\nTo: {self.invite.get('From')}\r\n"
            f"Call-ID: {self.invite.call_id}\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\n\r\n"
        )
        self.alice.endpoint.receive_datagram(bye.encode(), BOB, now)

    def answer(self, response: Response, now: float) -> None:
        self.alice.endpoint.receive_datagram(response.octets(), BOB, now)

    def expect(self, *events: object) -> None:
        self.assertEqual(self.alice.take_events(), list(events))


class UnprovenTests(ProxyCase):
    """One phone rings."""

    def test_the_phones_own_final(self) -> None:
        """A 487 with the To tag of the 180 confirms the end, however late."""
        for tag, when in (("phone", 1.1), ("proxy", 1.1), ("proxy", 20.0), (None, 1.1)):
            caller = self.ringing("phone")
            self.obeys(tag, 1.1)
            self.says(487, "phone", when)
            self.expect(Ended(487, (), "local", True))
            self.assertIs(caller.state, State.ENDED)
            drop(self.alice)

    def test_a_busy_phone_whose_final_crosses(self) -> None:
        """Any 300-699 of the phone itself confirms the end, with its status."""
        for status in (486, 480, 603, 500, 404):
            self.ringing("phone")
            self.says(status, "phone", 1.1)
            self.expect(Ended(status, (), "local", True))
            drop(self.alice)

    def test_a_final_of_the_proxys_own(self) -> None:
        """A 487 with another To tag, or without one, does not confirm the end."""
        for tag in ("proxy", None):
            caller = self.ringing("phone")
            self.obeys("proxy", 1.1)
            self.says(487, tag, 6.0)
            self.assertEqual(label(self.alice.out()[-1].message), "ACK")
            self.assertIs(caller.state, State.UNPROVEN)
            self.expect()
            run((self.alice,), 6.0, 32.9)
            self.expect()
            run((self.alice,), 32.9, 33.1)
            self.expect(NOT_CONFIRMED[487])

    def test_finals_that_tell_of_no_phone(self) -> None:
        """408, 481 and 503 do not confirm the end, whatever their To tag."""
        for status in (408, 481, 503):
            for tags in (("phone",), (None,)):
                self.ringing(*tags)
                self.says(status, "phone", 1.1)
                self.expect()
                run((self.alice,), 1.1, 33.1)
                self.expect(NOT_CONFIRMED[status])

    def test_nothing_but_100_was_heard(self) -> None:
        """If only 100 came, the final response is taken for the phone's."""
        self.ringing(None)
        self.says(487, "proxy", 1.1)
        self.expect(Ended(487, (), "local", True))

    def test_408_before_anything_was_heard(self) -> None:
        """A proxy's 408 as the first response does not confirm the end."""
        caller = self.alice.call(self.bob)
        self.invite = self.sent("INVITE")
        caller.hang_up(0.05)
        self.says(408, "proxy", 2.0)
        drop(self.alice)
        run((self.alice,), 2.0, 33.9)
        self.expect()
        run((self.alice,), 33.9, 34.1)
        self.expect(NOT_CONFIRMED[408])
        self.assertNotIn("CANCEL", flow(self.alice))

    def test_the_phone_is_answered_after_the_proxys_final(self) -> None:
        """A 200 after the proxy's 487 gets ACK and BYE, which confirms the end."""
        self.ringing("phone")
        self.says(487, "proxy", 6.0)
        drop(self.alice)
        self.says(200, "phone", 9.0, body=SDP)
        ack, bye = self.alice.out()
        self.assertEqual([label(ack.message), label(bye.message)], ["ACK", "BYE"])
        assert isinstance(bye.message, Request)
        self.answer(build.response(bye.message, 200), 9.1)
        self.expect(Answered(), Ended(200, (), "local", True))

    def test_the_phone_is_answered_after_the_end(self) -> None:
        """A 200 after the end gets ACK and BYE until timer C, and no second end is reported."""
        for final in ("proxy's 487", "none"):
            self.ringing("phone")
            if final != "none":
                self.says(487, "proxy", 6.0)
            run((self.alice,), 6.0, 40.0, lost=True)
            self.assertFalse(self.alice.take_events()[-1].confirmed)  # type: ignore[union-attr]
            for moment in (150.0, 150.5):
                self.says(200, "phone", moment, body=SDP)
                labels = [label(each.message) for each in self.alice.out()]
                self.assertEqual(labels, ["ACK", "BYE"] if moment == 150.0 else ["ACK"], final)
            self.expect()
            run((self.alice,), 150.5, 300.0, lost=True)
            self.says(200, "phone", 300.0, body=SDP)
            self.assertEqual(self.alice.out(), [])

    def test_a_stranger_who_answers_late(self) -> None:
        """A 2xx with another From tag is ignored."""
        self.ringing("phone")
        run((self.alice,), 1.0, 40.0, lost=True)
        response = build.response(self.invite, 200, to_tag="x", contact="<sip:x@203.0.113.9>")
        forged = response.octets().replace(b";tag=a", b";tag=b", 1)
        self.alice.endpoint.receive_datagram(forged, Hop("203.0.113.9", 5060), 50.0)
        self.assertEqual(self.alice.out(), [])

    def test_bye_after_the_proxys_final(self) -> None:
        """The phone's BYE in its early dialog confirms the end."""
        self.ringing("phone")
        self.says(487, "proxy", 6.0)
        drop(self.alice)
        self.ends("phone", 7.0)
        self.assertEqual(label(self.alice.out()[0].message), "200 BYE")
        (end,) = self.alice.take_events()
        assert isinstance(end, Ended)
        self.assertTrue(end.confirmed)


class ForksTests(ProxyCase):
    """Several phones ring."""

    def test_each_phone_says_it(self) -> None:
        """Without a proxy that chooses, each phone's 487 arrives and gets its ACK."""
        self.ringing("one", "two", "three")
        self.obeys("one", 1.1)
        for tag in ("two", "one", "two"):
            self.says(487, tag, 1.2)
            ack = self.sent("ACK")
            self.assertEqual(ack.to_tag, tag)
            self.expect()
        self.says(487, "three", 1.3)
        self.expect(Ended(487, (), "local", True))

    def test_one_sends_bye_and_the_other_rings_on(self) -> None:
        """The BYE of one phone does not confirm the other's end; its late 200 gets ACK and BYE."""
        for status, before in ((408, "the proxy's final"), (200, "any final")):
            caller = self.ringing("one", "two")
            if status == 408:
                self.says(status, "proxy", 1.2)
            self.ends("one", 2.0)
            (end,) = self.alice.take_events()
            assert isinstance(end, Ended)
            self.assertEqual((end.by, end.confirmed), ("local", False), before)
            run((self.alice,), 2.0, 50.0, lost=True)
            self.says(200, "two", 50.0)
            self.assertEqual([label(each.message) for each in self.alice.out()], ["ACK", "BYE"])
            self.assertIs(caller.state, State.ENDED)
            run((self.alice,), 50.0, 300.0, lost=True)
            self.expect()

    def test_one_rings_on(self) -> None:
        """One phone's final response does not confirm the other's end."""
        self.ringing("one", "two")
        self.obeys("one", 1.1)
        self.says(487, "one", 1.2)
        run((self.alice,), 1.2, 32.9)
        self.expect()
        run((self.alice,), 32.9, 33.1)
        self.expect(NOT_CONFIRMED[487])

    def test_one_rings_only_after_the_cancel(self) -> None:
        """A phone that rings first after the CANCEL counts too."""
        self.ringing("one")
        self.says(180, "two", 1.05)
        self.says(487, "one", 1.2)
        self.expect()

    def test_a_proxy_speaks_for_all(self) -> None:
        """A prompt final response through a proxy confirms the end of all phones (§16.7)."""
        for order in ("200 first", "487 first"):
            self.ringing("one", "two")
            if order == "200 first":
                self.obeys("proxy", 1.1)
                self.says(487, "two", 1.2)
            else:
                self.says(487, "two", 1.1)
                self.obeys("proxy", 1.2)
            self.expect(Ended(487, (), "local", True))
            drop(self.alice)

    def test_a_proxy_that_gave_a_phone_up(self) -> None:
        """A late final response through a proxy does not confirm the end."""
        for tag, when in (("two", 5.0), ("proxy", 1.2)):
            self.ringing("one", "two")
            self.obeys("proxy", 1.1)
            self.says(487, tag, when)
            self.expect()
            run((self.alice,), when, 33.1)
            self.expect(NOT_CONFIRMED[487])

    def test_ever_new_phones(self) -> None:
        """At most MAX_FORKS phones of one call are kept and get ACK and BYE."""
        self.ringing(*(f"phone-{number}" for number in range(500)))
        self.assertEqual(self.alice.endpoint.dialogs, MAX_FORKS)
        self.says(487, "phone-499", 1.1)
        self.expect()
        drop(self.alice)
        for number in range(500):
            self.says(200, f"late-{number}", 2.0, body=SDP)
        labels = [label(each.message) for each in self.alice.out()]
        self.assertEqual((labels.count("ACK"), labels.count("BYE")), (MAX_FORKS, MAX_FORKS))
        run((self.alice,), 2.0, 300.0, lost=True)
        self.assertEqual(leftovers(self.alice), NOTHING)
