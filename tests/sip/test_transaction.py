"""The four transaction tables, in every state and with every event, and all timers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.schedules import invite_schedule, request_schedule, response_schedule
from umd.sip import build
from umd.sip.message import Request, Response
from umd.sip.timing import Timing
from umd.sip.transaction import (
    CLIENT_INVITE,
    CLIENT_NON_INVITE,
    SERVER_INVITE,
    SERVER_NON_INVITE,
    ClientInvite,
    ClientNonInvite,
    Event,
    Hop,
    IllegalEvent,
    Send,
    ServerInvite,
    ServerNonInvite,
    State,
    Table,
    Transaction,
    TransactionLayer,
    response_hop,
    server_key,
)

UDP = Hop("192.0.2.9", 5060)
TCP = Hop("192.0.2.9", 5060, "TCP", 7)

# Written from the figures, by hand and in another form than the tables: "event>state" per state.
FIGURES: dict[str, dict[str, str]] = {
    "client invite": {
        "calling": "1xx>proceeding 2xx>accepted 300-699>completed A>calling B>terminated "
        "error>terminated",
        "proceeding": "1xx>proceeding 2xx>accepted 300-699>completed",
        "completed": "1xx>completed 2xx>completed 300-699>completed D>terminated error>terminated",
        "accepted": "1xx>accepted 2xx>accepted 300-699>accepted M>terminated",
    },
    "client non-invite": {
        "trying": "1xx>proceeding 2xx>completed 300-699>completed E>trying F>terminated "
        "error>terminated",
        "proceeding": "1xx>proceeding 2xx>completed 300-699>completed E>proceeding F>terminated "
        "error>terminated",
        "completed": "1xx>completed 2xx>completed 300-699>completed K>terminated",
    },
    "server invite": {
        "proceeding": "again>proceeding 100>proceeding 1xx>proceeding 2xx>accepted "
        "300-699>completed error>proceeding",
        "completed": "again>completed ACK>confirmed G>completed H>terminated error>completed",
        "confirmed": "again>confirmed ACK>confirmed I>terminated",
        "accepted": "again>accepted ACK>accepted 2xx>accepted L>terminated error>accepted",
    },
    "server non-invite": {
        "trying": "again>trying 1xx>proceeding 2xx>completed 300-699>completed",
        "proceeding": "again>proceeding 1xx>proceeding 2xx>completed 300-699>completed "
        "error>terminated",
        "completed": "again>completed 2xx>completed 300-699>completed J>terminated "
        "error>terminated",
    },
}
WORDS = {
    "again": Event.REQUEST,
    "100": Event.TRYING,
    "error": Event.TRANSPORT_ERROR,
}


class TableTests(SynchronousTestCase):
    def check(self, name: str, table: Table, kind: type[Transaction]) -> None:
        expected = {
            (State(state), WORDS.get(word) or Event(word)): State(after)
            for state, row in FIGURES[name].items()
            for word, after in (cell.split(">") for cell in row.split())
        }
        for state in State:
            for event in Event:
                transaction = kind(("key",), state, None, UDP)
                after = expected.get((state, event))
                if after is None:
                    self.assertRaises(IllegalEvent, transaction.advance, event)
                    self.assertEqual(transaction.state, state)
                else:
                    transaction.advance(event)
                    self.assertEqual(transaction.state, after, f"{name}: {state} {event}")
        self.assertEqual(sum(len(row) for row in table.values()), len(expected))

    def test_client_invite(self) -> None:
        """The INVITE client is figure 5 of RFC 3261 with the changes of RFC 6026 section 7.2."""
        self.check("client invite", CLIENT_INVITE, ClientInvite)

    def test_client_non_invite(self) -> None:
        """The non-INVITE client is figure 6 of RFC 3261."""
        self.check("client non-invite", CLIENT_NON_INVITE, ClientNonInvite)

    def test_server_invite(self) -> None:
        """The INVITE server is figure 7 of RFC 3261 with the changes of RFC 6026 section 7.1."""
        self.check("server invite", SERVER_INVITE, ServerInvite)

    def test_server_non_invite(self) -> None:
        """The non-INVITE server is figure 8 of RFC 3261."""
        self.check("server non-invite", SERVER_NON_INVITE, ServerNonInvite)

    def test_every_timer_of_a_state_is_a_row(self) -> None:
        """Each timer has a row in the states in which it runs."""
        for kind in (ClientInvite, ClientNonInvite, ServerInvite, ServerNonInvite):
            for state, events in kind.TIMERS.items():
                for event in events:
                    self.assertIn(event, kind.TRANSITIONS[state])


def request(method: str = "INVITE", branch: str = "z9hG4bK1", to: str = "<sip:b@x>") -> Request:
    return build.request(
        method,
        "sip:b@192.0.2.9",
        sent_by="192.0.2.1:5060",
        branch=branch,
        from_="<sip:a@x>;tag=a",
        to=to,
        call_id="c@x",
        cseq=1,
    )


def answer(to: Request, status: int, tag: str = "b") -> Response:
    return build.response(to, status, to_tag=tag)


class Recorder:
    """User and core of a layer; records all reports and all sent messages."""

    def __init__(self) -> None:
        self.layer = TransactionLayer(self)
        self.sent: list[Send] = []
        self._told: list[str] = []
        self.opened: Transaction | None = None
        """Return the server transaction that was opened last."""

    def told(self, what: str = "") -> list[str]:
        """Return all records since the last call, in order."""
        for message, hop in self.layer.outgoing:
            name = message.method if isinstance(message, Request) else getattr(message, "status")
            self._told.append(f"Send {name}")
            self.sent.append(Send(message, hop))
        self.layer.outgoing.clear()
        if what:
            self._told.append(what)
            return []
        told, self._told = self._told, []
        return told

    def on_request(self, transaction: Transaction, request: Request, now: float) -> None:
        transaction.user = self
        self.opened = transaction
        self.told(f"Created {request.method}")

    def on_ack(self, ack: Request, now: float) -> None:
        self.told("Unmatched ACK")

    def on_stray(self, response: Response, now: float) -> None:
        self.told(f"Unmatched {response.status}")

    def on_response(self, transaction: Transaction, response: Response, now: float) -> None:
        self.told(f"Deliver {response.status}")

    def on_no_response(self, transaction: Transaction, status: int, now: float) -> None:
        self.told(f"No response {status}")

    def on_failure_acknowledged(self, transaction: Transaction) -> None:
        self.told("Acknowledged")

    def on_no_ack(self, transaction: Transaction) -> None:
        self.told("No ACK")

    def on_terminated(self, transaction: Transaction) -> None:
        self.told("Terminated")


class LayerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.user = Recorder()
        self.layer = self.user.layer

    def timeline(self, until: float) -> list[tuple[int, str]]:
        """Return `(milliseconds, record)` for everything that timers cause."""
        found = []
        while (due := self.layer.next_due()) is not None and due <= until:
            self.assertEqual(self.wait(due - 0.0009), [])  # not a millisecond early
            for name in self.wait(due):
                found.append((round(due * 1000), name))
        return found

    def wait(self, now: float) -> list[str]:
        self.layer.handle_timer(now)
        return self.user.told()

    def send(self, message: Request, hop: Hop = UDP, now: float = 0.0) -> Transaction:
        transaction = self.layer.send_request(message, hop, now, self.user)
        self.assertEqual(self.user.told(), [f"Send {message.method}"])
        self.assertEqual(self.user.sent[-1], (message, hop))
        return transaction

    def receive(self, message: Request | Response, hop: Hop = UDP, now: float = 0.0) -> list[str]:
        self.layer.receive(message, hop, now)
        return self.user.told()

    def accept(self, message: Request, hop: Hop = UDP, now: float = 0.0) -> Transaction:
        self.assertEqual(self.receive(message, hop, now), [f"Created {message.method}"])
        assert self.user.opened is not None
        return self.user.opened

    def respond(self, transaction: Transaction, response: Response, now: float) -> list[str]:
        self.layer.send_response(transaction, response, now)
        return self.user.told()

    def break_off(self, message: Request | Response) -> list[str]:
        self.layer.transport_error(message, 0.1)
        return self.user.told()

    def again(self, seconds: tuple[float, ...], what: str) -> list[tuple[int, str]]:
        return [(round(each * 1000), f"Send {what}") for each in seconds]


class ClientInviteTests(LayerCase):
    def test_silence(self) -> None:
        """Timer A repeats the INVITE six times, and timer B ends it at 32 s."""
        self.send(request())
        self.assertEqual(
            self.timeline(100),
            [
                *self.again(invite_schedule(Timing()), "INVITE"),
                (32000, "No response 408"),
                (32000, "Terminated"),
            ],
        )
        self.assertEqual(len(self.layer), 0)

    def test_silence_over_tcp(self) -> None:
        """Over a reliable transport no INVITE is repeated."""
        self.send(request(), TCP)
        self.assertEqual(self.timeline(100), [(32000, "No response 408"), (32000, "Terminated")])

    def test_provisional_stops_both(self) -> None:
        """After a 1xx an INVITE may ring without limit."""
        invite = request()
        self.send(invite)
        self.assertEqual(self.receive(answer(invite, 180), now=0.7), ["Deliver 180"])
        self.assertEqual(self.layer.next_due(), None)
        self.assertEqual(self.receive(answer(invite, 183), now=9.0), ["Deliver 183"])

    def test_failure(self) -> None:
        """A 300-699 gets an ACK each time and is reported once; timer D ends it after 32 s."""
        invite = request()
        self.send(invite)
        self.assertEqual(self.receive(answer(invite, 486), now=1.0), ["Send ACK", "Deliver 486"])
        self.assertEqual(self.receive(answer(invite, 486), now=2.0), ["Send ACK"])
        self.assertEqual(self.receive(answer(invite, 180), now=3.0), [])
        self.assertEqual(self.timeline(100), [(33000, "Terminated")])
        self.assertEqual(self.receive(answer(invite, 486), now=40.0), ["Unmatched 486"])

    def test_ack_of_a_failure(self) -> None:
        """The ACK has the INVITE's branch and CSeq number, and the response's To, §17.1.1.3."""
        invite = request()
        self.send(invite)
        self.receive(answer(invite, 486, "xyz"), UDP, 1.0)
        ack = self.user.sent[-1].message
        assert isinstance(ack, Request)
        self.assertEqual(
            (ack.method, ack.uri, ack.via, ack.cseq.number, ack.cseq.method, ack.to_tag),
            ("ACK", invite.uri, invite.via, 1, "ACK", "xyz"),
        )

    def test_failure_over_tcp(self) -> None:
        """Timer D is zero over a reliable transport."""
        invite = request()
        self.send(invite, TCP)
        self.assertEqual(
            self.receive(answer(invite, 486), TCP), ["Send ACK", "Deliver 486", "Terminated"]
        )

    def test_success(self) -> None:
        """Every 2xx is reported, from any fork, for 32 s (timer M), on any transport."""
        for hop in (UDP, TCP):
            invite = request()
            self.send(invite, hop)
            for tag in ("b", "b", "c"):
                self.assertEqual(self.receive(answer(invite, 200, tag), hop, 0.0), ["Deliver 200"])
            self.assertEqual(self.receive(answer(invite, 180), hop, 0.0), [])
            self.assertEqual(self.receive(answer(invite, 486), hop, 0.0), [])
            self.assertEqual(self.layer.next_due(), 32.0)
            self.assertEqual(self.wait(32.0), ["Terminated"])
            self.setUp()

    def test_transport_error(self) -> None:
        """A transport error ends an INVITE without a response, and no other."""
        invite = request()
        self.send(invite)
        self.assertEqual(
            self.break_off(invite), ["No response 503", "Terminated"]
        )
        self.send(invite)
        self.receive(answer(invite, 180))
        self.assertEqual(self.break_off(invite), [])

    def test_late_timers(self) -> None:
        """If the driver is a minute late, the INVITE times out without a burst of repetitions."""
        self.send(request())
        self.assertEqual(self.wait(60.0), ["No response 408", "Terminated"])

    def test_same_branch_twice(self) -> None:
        """A second INVITE with the same branch is an error."""
        self.send(request())
        self.assertRaises(IllegalEvent, self.layer.send_request, request(), UDP, 0.0)


class ClientNonInviteTests(LayerCase):
    def test_silence(self) -> None:
        """Timer E repeats the request ten times, and timer F ends it at 32 s."""
        self.send(request("BYE"))
        self.assertEqual(
            self.timeline(100),
            [
                *self.again(request_schedule(Timing()), "BYE"),
                (32000, "No response 408"),
                (32000, "Terminated"),
            ],
        )

    def test_provisional_slows_down(self) -> None:
        """After a 1xx, timer E repeats the request every T2."""
        bye = request("BYE")
        self.send(bye)
        self.assertEqual(self.receive(answer(bye, 100), now=0.1), ["Deliver 100"])
        self.assertEqual(
            self.timeline(100),
            [
                *self.again((0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5), "BYE"),
                (32000, "No response 408"),
                (32000, "Terminated"),
            ],
        )

    def test_final(self) -> None:
        """A final response is reported once; timer K absorbs its repetitions for T4."""
        bye = request("BYE")
        self.send(bye)
        self.assertEqual(self.receive(answer(bye, 200), now=1.0), ["Deliver 200"])
        self.assertEqual(self.receive(answer(bye, 200), now=2.0), [])
        self.assertEqual(self.layer.next_due(), 6.0)
        self.assertEqual(self.timeline(100), [])  # its user has been told all there was to tell
        self.assertEqual(len(self.layer), 0)

    def test_final_over_tcp(self) -> None:
        """Timer K is zero over a reliable transport."""
        bye = request("BYE")
        self.send(bye, TCP)
        self.assertEqual(self.receive(answer(bye, 200), TCP), ["Deliver 200"])
        self.assertEqual(len(self.layer), 0)

    def test_method_is_part_of_the_key(self) -> None:
        """CANCEL has the branch of its INVITE and is a transaction of its own, §17.1.3."""
        invite = request()
        cancel = build.cancel_for(invite)
        first, second = self.send(invite), self.send(cancel)
        self.receive(answer(cancel, 200))
        self.assertEqual((first.state, second.state), (State.CALLING, State.COMPLETED))

    def test_transport_error(self) -> None:
        """A transport error ends the transaction and is reported."""
        self.send(request("BYE"))
        self.layer.hop_failed(UDP, 0.2)
        self.assertEqual(self.user.told(), ["No response 503", "Terminated"])
        self.assertEqual(self.layer.next_due(), None)


class ServerInviteTests(LayerCase):
    def test_trying_after_200_ms(self) -> None:
        """Without a response for 200 ms, a 100 is sent, and each repetition gets it again."""
        invite = request()
        self.accept(invite)
        self.assertEqual(self.receive(invite, now=0.1), [])
        self.assertEqual(self.timeline(100), [(200, "Send 100")])
        self.assertEqual(self.receive(invite, now=0.5), ["Send 100"])

    def test_no_trying_after_ringing(self) -> None:
        """No 100 is sent after another response."""
        invite = request()
        transaction = self.accept(invite)
        ringing = answer(invite, 180)
        self.assertEqual(self.respond(transaction, ringing, 0.1), ["Send 180"])
        self.assertEqual(self.layer.next_due(), None)
        self.assertEqual(self.receive(invite, now=0.5), ["Send 180"])

    def test_failure_without_ack(self) -> None:
        """Timer G repeats a 300-699 ten times, and timer H ends it at 32 s."""
        invite = request()
        transaction = self.accept(invite)
        self.respond(transaction, answer(invite, 486), 0.0)
        self.assertEqual(
            self.timeline(100),
            [
                *self.again(response_schedule(Timing()), "486"),
                (32000, "No ACK"),
                (32000, "Terminated"),
            ],
        )

    def test_failure_with_ack(self) -> None:
        """The ACK stops timer G; timer I absorbs further ACKs for T4."""
        invite = request()
        transaction = self.accept(invite)
        refusal = answer(invite, 486)
        self.respond(transaction, refusal, 0.0)
        self.assertEqual(self.receive(invite, now=0.1), ["Send 486"])
        ack = build.ack_for(invite, refusal)
        self.assertEqual(self.receive(ack, UDP, 1.0), ["Acknowledged"])
        self.assertEqual(self.receive(ack, now=1.1), [])
        self.assertEqual(self.receive(invite, now=1.2), [])
        self.assertEqual(self.timeline(100), [(6000, "Terminated")])

    def test_failure_over_tcp(self) -> None:
        """Over a reliable transport no 300-699 is repeated, timer H runs, and timer I is zero."""
        invite = request()
        transaction = self.accept(invite, TCP)
        refusal = answer(invite, 486)
        self.respond(transaction, refusal, 0.0)
        self.assertEqual(self.layer.next_due(), 32.0)
        self.assertEqual(
            self.receive(build.ack_for(invite, refusal), TCP, 1.0), ["Acknowledged", "Terminated"]
        )

    def test_success(self) -> None:
        """After a 2xx, timer L absorbs repeated INVITEs for 32 s, on any transport."""
        for hop in (UDP, TCP):
            invite = request()
            transaction = self.accept(invite, hop)
            ok = answer(invite, 200)
            self.assertEqual(self.respond(transaction, ok, 0.0), ["Send 200"])
            self.assertEqual(self.receive(invite, hop, 0.1), [])
            self.assertEqual(self.respond(transaction, ok, 0.5), ["Send 200"])
            self.assertEqual(transaction.last, None)
            self.assertEqual(self.timeline(100), [(32000, "Terminated")])

    def test_two_finals(self) -> None:
        """A 300-699 after a 2xx, or any response after the end, is an error."""
        invite = request()
        transaction = self.accept(invite)
        self.respond(transaction, answer(invite, 200), 0.0)
        self.assertRaises(
            IllegalEvent, self.layer.send_response, transaction, answer(invite, 486), 0.1
        )
        self.layer.handle_timer(32.0)
        self.assertRaises(
            IllegalEvent, self.layer.send_response, transaction, answer(invite, 200), 32.1
        )

    def test_transport_error_ends_nothing(self) -> None:
        """A transport error does not end an INVITE server transaction, RFC 6026 section 7.1."""
        invite = request()
        transaction = self.accept(invite)
        ringing = answer(invite, 180)
        self.respond(transaction, ringing, 0.0)
        self.assertEqual(self.break_off(ringing), [])
        self.assertEqual(transaction.state, State.PROCEEDING)

    def test_ack_of_a_2xx_is_nobodys(self) -> None:
        """The ACK of a 2xx has its own branch and belongs to no transaction."""
        self.assertEqual(self.receive(request("ACK", "z9hG4bK77")), ["Unmatched ACK"])

    def test_ack_too_early(self) -> None:
        """An ACK of an unanswered INVITE is harmless."""
        invite = request()
        transaction = self.accept(invite)
        self.assertEqual(self.receive(request("ACK")), ["Unmatched ACK"])
        self.assertEqual(transaction.state, State.PROCEEDING)


class ServerNonInviteTests(LayerCase):
    def test_final(self) -> None:
        """Until timer J, a repeated request gets its final response again."""
        bye = request("BYE")
        transaction = self.accept(bye)
        self.assertEqual(self.receive(bye, now=0.1), [])
        ok = answer(bye, 200)
        self.assertEqual(self.respond(transaction, ok, 1.0), ["Send 200"])
        self.assertEqual(self.receive(bye, now=1.5), ["Send 200"])
        self.assertEqual(self.respond(transaction, answer(bye, 500), 1.6), [])
        self.assertEqual(self.timeline(100), [(33000, "Terminated")])

    def test_provisional(self) -> None:
        """A repeated request gets the 1xx again."""
        bye = request("BYE")
        transaction = self.accept(bye)
        self.respond(transaction, answer(bye, 100), 1.0)
        self.assertEqual(self.receive(bye, now=1.5), ["Send 100"])

    def test_final_over_tcp(self) -> None:
        """Timer J is zero over a reliable transport."""
        bye = request("BYE")
        transaction = self.accept(bye, TCP)
        self.assertEqual(
            self.respond(transaction, answer(bye, 200), 0.0),
            ["Send 200", "Terminated"],
        )

    def test_transport_error(self) -> None:
        """A transport error ends a non-INVITE server transaction."""
        bye = request("BYE")
        transaction = self.accept(bye)
        ok = answer(bye, 200)
        self.respond(transaction, ok, 0.0)
        self.assertEqual(
            self.break_off(ok), ["No ACK", "Terminated"]
        )


class KeyTests(LayerCase):
    def test_sent_by_is_part_of_it(self) -> None:
        """Two clients may choose the same branch, §17.2.3."""
        one = request()
        other = build.request(
            "INVITE",
            one.uri,
            sent_by="192.0.2.77",
            branch="z9hG4bK1",
            from_="<sip:a@x>;tag=a",
            to="<sip:b@x>",
            call_id="c@x",
            cseq=1,
        )
        self.assertNotEqual(server_key(one, "INVITE"), server_key(other, "INVITE"))

    def test_old_peer(self) -> None:
        """Without the magic cookie, From tag, Call-ID, CSeq and Via tell requests apart."""
        invite = request(branch="1")
        transaction = self.accept(invite)
        self.assertEqual(self.receive(request(branch="1"), UDP, 0.1), [])
        refusal = answer(invite, 486)
        self.respond(transaction, refusal, 0.2)
        ack = build.ack_for(invite, refusal)
        self.assertEqual(self.receive(ack, UDP, 0.3), ["Acknowledged"])
        self.accept(request("BYE", branch="1"), UDP, 0.4)
        self.assertEqual(len(self.layer), 2)

    def test_responses_go_where_the_via_says(self) -> None:
        """Responses go to the source address, at its port with rport, else at that of the Via."""
        asked = request()
        self.assertEqual(response_hop(asked, Hop("192.0.2.1", 40000)), Hop("192.0.2.1", 40000))
        plain = Request("OPTIONS", "sip:x", [("Via", "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1")])
        self.assertEqual(response_hop(plain, Hop("192.0.2.1", 40000)), Hop("192.0.2.1", 5070))
        bare = Request("OPTIONS", "sip:x", [("Via", "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1")])
        self.assertEqual(response_hop(bare, Hop("192.0.2.1", 40000)), Hop("192.0.2.1", 5060))
        self.assertEqual(response_hop(plain, TCP), TCP)


class ForgettingTests(LayerCase):
    def test_abandon(self) -> None:
        """An abandoned transaction is dropped without a report."""
        invite = request()
        transaction = self.send(invite)
        self.receive(answer(invite, 180))
        self.layer.abandon(transaction)
        self.layer.abandon(transaction)
        self.assertEqual((len(self.layer), self.layer.next_due()), (0, None))

    def test_lingering_ones_keep_no_message(self) -> None:
        """A finished transaction keeps only a message that it may have to repeat."""
        invite, bye = request(), request("BYE", "z9hG4bK2")
        one, two = self.send(invite), self.send(bye)
        self.receive(answer(invite, 200))
        self.receive(answer(bye, 200))
        self.assertEqual((one.last, two.last), (None, None))

    def test_responses_go_to_maddr(self) -> None:
        """A maddr that is an IP address has precedence over the source; a host name has not."""
        source = Hop("192.0.2.1", 40000)
        for params, hop in (
            ("maddr=192.0.2.77", Hop("192.0.2.77", 5070)),
            ("maddr=[2001:db8::7];rport", Hop("2001:db8::7", 5070)),
            ("maddr=2001:db8::7", Hop("2001:db8::7", 5070)),
            ("maddr=far.example.com", Hop("192.0.2.1", 5070)),
            ("maddr;rport", source),
        ):
            via = f"SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1;{params}"
            asked = Request("OPTIONS", "sip:x", [("Via", via)])
            self.assertEqual(response_hop(asked, source), hop, params)
        self.assertEqual(response_hop(asked, TCP), TCP)
