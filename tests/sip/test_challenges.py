"""
Calls through servers that challenge requests: which challenges umd answers, and how calls end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.challenger import TAG, Guard, Phone, Received, digest, params
from tests.sip.helpers import ALICE, BOB, NOTHING, OFFER, Party, flow, label, leftovers
from umd.sip.credentials import MAX_REALMS, MAX_RETRIES, Login
from umd.sip.dialog import Dialog
from umd.sip.session import Answered, Ended, Event, Probed, Session

LOGIN = Login("alice", "open sesame")


class CallerCase(SynchronousTestCase):
    def begin(self, phone: Phone) -> Session:
        """Place the call without sending anything."""
        self.alice = Party("a", ALICE)
        self.phone = phone
        uri, from_ = f"sip:bob@{BOB.host}", f"sip:alice@{ALICE.host}"
        return self.alice.endpoint.place(uri, BOB, 0.0, from_=from_, body=OFFER, login=LOGIN)

    def settle(self, now: float = 0.0) -> None:
        """Exchange messages between Alice and the far end until none is left."""
        while sends := self.alice.out():
            for message, _ in sends:
                for answer in self.phone.receive(message.octets()):
                    self.alice.endpoint.receive_datagram(answer, BOB, now)

    def call(self, *guards: Guard, tags: tuple[str, ...] = (TAG,)) -> Session:
        """Run a call until it is answered or ends."""
        session = self.begin(Phone(*guards, tags=tags))
        self.settle()
        return session

    def last_event(self) -> Event:
        """Return the last event of Alice."""
        self.alice.take()
        return self.alice.events[-1][1]

    def finish(self, now: float) -> None:
        """Check that the call has ended once and that nothing of it is left."""
        endpoint = self.alice.endpoint
        while (due := endpoint.next_due()) is not None and due < now + 200.0:
            endpoint.handle_timer(due)
            self.settle(due)
        self.assertEqual(leftovers(self.alice), NOTHING)
        self.alice.take()
        self.assertEqual(sum(isinstance(event, Ended) for _, event in self.alice.events), 1)

    def sent(self, method: str, tag: str | None = None) -> list[Received]:
        """Return the requests of a method that the far end received."""
        found = [each for each in self.phone.requests if each.method == method]
        return [each for each in found if tag is None or each.tag == tag]

    def credentials(self, *lines: str, status: int = 401) -> dict[str, str]:
        """Return the credentials for an INVITE challenged like this; None if the call ends."""
        self.begin(Phone())
        (send,) = self.alice.out()
        refusal = self.phone.answer(Received(send.message.octets()), status, *lines, tag="asks")
        self.alice.endpoint.receive_datagram(refusal, BOB, 0.1)
        invites = [Received(each.message.octets()) for each in self.alice.out()][1:]
        self.alice.take()
        if not invites:
            self.assertEqual(self.last_event(), Ended(status, (), "remote", True))
            return {}
        (value,) = invites[0].all("Authorization") + invites[0].all("Proxy-Authorization")
        given = params(value)
        self.assertEqual(given["response"], digest(given, invites[0], "open sesame"), lines)
        self.assertEqual(given["uri"], invites[0].uri)
        return given


@dataclass(frozen=True)
class Way:
    """A way to challenge, with the number of tries and the outcome."""

    guards: tuple[dict[str, Any], ...]
    tries: int
    """How often the request leaves, the first time included."""
    through: bool


PROXY = {"status": 407, "realm": "proxy"}
BESIDE = (
    "Negotiate",
    'Digest realm="pbx", nonce="a", algorithm=AKAv1-MD5, qop="auth" ik="1"',
    'Digest realm="pbx", nonce="never closed, algorithm=MD5',
    "Digest",
)
WAYS = {
    "asked once": Way(({},), 2, True),
    "stale once": Way(({"stale": 1},), 3, True),
    "stale twice": Way(({"stale": 2},), 4, True),
    "stale with the nonce unchanged": Way(({"stale": 1, "one_nonce": True},), 3, True),
    "proxy then server": Way((PROXY, {}), 3, True),
    "two proxies of one realm and a server": Way((PROXY, PROXY | {"realm": "far"}, {}), 4, True),
    "proxy and server, both stale twice": Way((PROXY | {"stale": 2}, {"stale": 2}), 7, True),
    "unreadable beside": Way(({"beside": BESIDE},), 2, True),
    "wrong password": Way(({"password": "x"},), 3, False),
    "wrong password, one nonce": Way(({"password": "x", "one_nonce": True},), 2, False),
    "wrong password, and said so": Way(({"password": "x", "wrong": ", stale=FALSE"},), 2, False),
    "wrong at the server only": Way((PROXY, {"password": "x", "one_nonce": True}), 3, False),
    "endless stale": Way(({"stale": 99},), 1 + MAX_RETRIES, False),
    "only what umd cannot answer": Way(({"challenge": "Basic realm={realm},n={nonce}"},), 1, False),
}


class MatrixTests(CallerCase):
    """Each kind of request, with each way to challenge it."""

    def guards(self, way: Way, method: str, tag: str) -> list[Guard]:
        """Return guards that challenge only this request."""

        def guarded(request: Received) -> bool:
            return (request.method, request.tag) == (method, tag)

        return [Guard(guarded=guarded, **settings) for settings in way.guards]

    def each(self, method: str, tag: str) -> Any:
        """Run every way for one request."""
        for name, way in WAYS.items():
            yield name, way, self.guards(way, method, tag)

    def check_tries(self, name: str, way: Way, tries: list[Received]) -> None:
        """Check CSeq, branch and nonce count of the tries (RFC 3261 section 22.2)."""
        self.assertEqual(len(tries), way.tries, name)
        first = tries[0].cseq
        self.assertEqual([each.cseq for each in tries], list(range(first, first + way.tries)))
        self.assertEqual(len({each.branch for each in tries}), way.tries)
        self.assertEqual(len({each["From"] + each["Call-ID"] + each.uri for each in tries}), 1)

    def test_invite(self) -> None:
        for name, way, guards in self.each("INVITE", ""):
            session = self.call(*guards)
            self.check_tries(name, way, self.sent("INVITE"))
            if not way.through:
                status = guards[-1].status
                self.assertEqual(self.last_event(), Ended(status, (), "remote", True), name)
                self.assertEqual(len(self.sent("ACK")), way.tries)
                self.finish(0.0)
                continue
            self.assertEqual(self.last_event(), Answered(), name)
            (ack,) = self.sent("ACK", TAG)
            invite = self.sent("INVITE")[-1]
            self.assertEqual(ack.cseq, invite.cseq)
            for field in ("Authorization", "Proxy-Authorization"):  # §22.1: the same in the ACK
                self.assertEqual(ack.all(field), invite.all(field))
            session.hang_up(1.0)
            self.settle(1.0)
            self.assertEqual(self.last_event(), Ended(200, (), "local", True), name)
            self.assertEqual(self.phone.up, [])
            self.finish(1.0)

    def test_options(self) -> None:
        for name, way, guards in self.each("OPTIONS", TAG):
            session = self.call(*guards)
            session.probe(1.0)
            self.settle(1.0)
            self.check_tries(name, way, self.sent("OPTIONS", TAG))
            self.assertEqual(self.last_event(), Probed(True), name)
            session.hang_up(2.0)
            self.settle(2.0)
            self.assertEqual(self.last_event(), Ended(200, (), "local", True), name)
            self.finish(2.0)

    def test_bye(self) -> None:
        for name, way, guards in self.each("BYE", TAG):
            session = self.call(*guards)
            session.hang_up(1.0, reasons=("Q.850;cause=16",))
            self.settle(1.0)
            self.check_tries(name, way, self.sent("BYE"))
            self.assertEqual({each["Reason"] for each in self.sent("BYE")}, {"Q.850;cause=16"})
            status = 200 if way.through else 401
            self.assertEqual(self.last_event(), Ended(status, (), "local", way.through), name)
            self.assertEqual(self.phone.up, [] if way.through else [TAG])
            self.finish(1.0)

    def test_bye_of_the_second_fork(self) -> None:
        for name, way, guards in self.each("BYE", "f2"):
            session = self.call(*guards, tags=(TAG, "f2"))
            self.check_tries(name, way, self.sent("BYE", "f2"))
            self.assertEqual(self.phone.up, [TAG] if way.through else [TAG, "f2"], name)
            session.hang_up(1.0)
            self.settle(1.0)
            self.assertEqual(self.last_event(), Ended(200, (), "local", True))
            self.finish(1.0)

    def test_bye_of_a_late_2xx(self) -> None:
        """A BYE to a phone that answers after the INVITE got its 487."""
        for name, way, guards in self.each("BYE", TAG):
            session = self.begin(Phone(*guards))
            self.phone.answers = False
            self.settle()
            session.hang_up(1.0)
            self.settle(1.0)
            self.assertEqual(self.last_event(), Ended(487, (), "local", True))
            for answer in self.phone.lift(self.sent("INVITE")[-1]):
                self.alice.endpoint.receive_datagram(answer, BOB, 2.0)
            self.settle(2.0)
            self.check_tries(name, way, self.sent("BYE"))
            self.assertEqual(self.phone.up, [] if way.through else [TAG], name)
            self.finish(2.0)

    def test_bye_of_a_2xx_that_crosses_the_cancel(self) -> None:
        for name, way, guards in self.each("BYE", TAG):
            session = self.begin(Phone(*guards))
            self.phone.answers = False
            self.settle()
            session.hang_up(1.0)
            self.alice.out()  # the CANCEL is late
            for answer in self.phone.lift(self.sent("INVITE")[-1]):
                self.alice.endpoint.receive_datagram(answer, BOB, 1.0)
            self.settle(1.0)
            self.check_tries(name, way, self.sent("BYE"))
            status = 200 if way.through else 401
            self.assertEqual(self.last_event(), Ended(status, (), "local", way.through), name)
            self.finish(1.0)

    def test_bye_after_a_restart(self) -> None:
        """After a restart the servers challenge the BYE again."""
        for name, way, guards in self.each("BYE", TAG):
            session = self.restarted(self.call(*guards))
            session.hang_up(1.0)
            self.settle(1.0)
            self.check_tries(name, way, self.sent("BYE"))
            status = 200 if way.through else 401
            self.assertEqual(self.last_event(), Ended(status, (), "local", way.through), name)
            self.finish(1.0)

    def restarted(self, session: Session) -> Session:
        """Return the same call at an endpoint that knows only its dialog."""
        dialog = session.dialog
        assert dialog is not None
        self.alice = Party("b", ALICE)
        restored = Dialog.restored(
            dialog.id,
            dialog.local,
            dialog.remote,
            dialog.invite_hop,
            target=dialog.target,
            local_cseq=dialog.local_cseq,
            remote_cseq=dialog.remote_cseq,
        )
        return self.alice.endpoint.restore(restored, login=LOGIN)


class ReuseTests(CallerCase):
    """After a challenge, later requests carry credentials at once."""

    def test_one_challenge_for_a_whole_call(self) -> None:
        proxy, server = Guard(407, "proxy"), Guard()
        session = self.call(proxy, server)
        session.probe(1.0)
        self.settle(1.0)
        session.hang_up(2.0)
        self.settle(2.0)
        invites, bye = ["INVITE", "ACK"], ["BYE"]
        self.assertEqual(self.phone.methods(), 3 * invites + ["OPTIONS"] + bye)
        self.assertEqual((len(proxy.nonces), len(server.nonces)), (1, 1))
        self.assertEqual(proxy.counts, ["00000001", "00000002", "00000003", "00000004"])
        self.assertEqual(server.counts, ["00000001", "00000002", "00000003"])
        self.assertEqual(self.last_event(), Ended(200, (), "local", True))
        self.finish(2.0)

    def test_every_nonce_is_stale_at_the_next_request(self) -> None:
        """The call works even if the server does not say that a nonce was stale."""

        class Forgetful(Guard):
            def check(self, request: Received) -> list[str] | None:
                lines = super().check(request)
                if lines is None:
                    self.nonces.append("the next")  # so that no shown nonce is right any more
                    return None
                return [line.replace(", stale=true", "") for line in lines]

        session = self.call(Forgetful())
        session.probe(1.0)
        self.settle(1.0)
        self.assertEqual(self.last_event(), Probed(True))
        session.hang_up(2.0)
        self.settle(2.0)
        in_dialog = ["OPTIONS", "OPTIONS", "BYE", "BYE"]
        self.assertEqual(self.phone.methods(), 2 * ["INVITE", "ACK"] + in_dialog)
        self.assertEqual(self.last_event(), Ended(200, (), "local", True))
        self.finish(2.0)

    def test_a_server_that_asks_always_with_one_nonce(self) -> None:
        """A server may challenge every request with the same nonce."""

        class Asker(Guard):
            asked: tuple[str, ...] = ()

            def check(self, request: Received) -> list[str] | None:
                if request.method not in self.asked:
                    self.asked += (request.method,)
                    return self._ask("")
                return super().check(request)

        session = self.call(Asker(one_nonce=True))
        session.hang_up(1.0)
        self.settle(1.0)
        self.assertEqual(self.phone.methods(), 2 * ["INVITE", "ACK"] + 2 * ["BYE"])
        self.assertEqual(self.last_event(), Ended(200, (), "local", True))

    def test_second_fork_gets_them_at_once(self) -> None:
        self.call(Guard(), tags=(TAG, "f2"))
        self.assertEqual(len(self.sent("BYE", "f2")), 1)
        self.assertEqual(self.phone.up, [TAG])

    def test_next_nonce(self) -> None:
        """Authentication-Info replaces the nonce and restarts the count (RFC 7616 section 3.5)."""
        for algorithm in ("MD5", "SHA-256-sess"):
            text = 'Digest realm="{realm}", nonce="{nonce}", qop="auth", algorithm=' + algorithm
            guard = Guard(challenge=text, guarded=lambda request: request.method == "INVITE")
            session = self.begin(Phone(guard))
            self.phone.two_hundred = ['Authentication-Info: qop=auth, nextnonce="fresh"']
            self.settle()
            session.hang_up(1.0)
            self.settle(1.0)
            first = params(self.sent("INVITE")[-1]["Authorization"])
            (bye,) = self.sent("BYE")
            given = params(bye["Authorization"])
            self.assertEqual((given["nonce"], given["nc"]), ("fresh", "00000001"))
            right = digest(given, bye, "open sesame", session=(first["nonce"], first["cnonce"]))
            self.assertEqual(given["response"], right, algorithm)

    def test_calls_share_nothing(self) -> None:
        """Credentials of one call are not sent in another (section 22.3)."""
        self.call(Guard())
        place = self.alice.endpoint.place
        session = place("sip:x@192.0.2.9", BOB, 5.0, from_="sip:a@b", login=LOGIN)
        (send,) = self.alice.out()
        self.assertIsNone(send.message.get("Authorization"))
        session.abandon()


class HungUpTests(CallerCase):
    """A challenge after a hang-up does not continue the call."""

    def test_while_the_challenge_is_on_its_way(self) -> None:
        for provisional in (False, True):
            session = self.begin(Phone(Guard()))
            (send,) = self.alice.out()
            invite = Received(send.message.octets())
            if provisional:
                self.answer(invite, 100)
            session.hang_up(0.1)
            self.alice.out()
            self.answer(invite, 401, 'WWW-Authenticate: Digest realm="r", nonce="n"')
            self.assertEqual(flow(self.alice)[-1], "CANCEL" if provisional else "INVITE")
            self.assertEqual([label(each.message) for each in self.alice.out()], ["ACK"])
            self.assertEqual(self.last_event(), Ended(401, (), "local", True))

    def answer(self, request: Received, status: int, *lines: str) -> None:
        answer = self.phone.answer(request, status, *lines, tag="asks" if status > 100 else "")
        self.alice.endpoint.receive_datagram(answer, BOB, 0.1)

    def test_options_are_not_sent_again(self) -> None:
        session = self.call()
        session.probe(1.0)
        (send,) = self.alice.out()
        session.hang_up(1.1)
        line = 'WWW-Authenticate: Digest realm="r", nonce="n"'
        self.answer(Received(send.message.octets()), 401, line)
        self.settle(1.2)
        self.assertEqual(self.phone.methods()[2:], ["BYE"])
        self.assertEqual(self.last_event(), Ended(200, (), "local", True))

    def test_bye_that_crosses_theirs_is_not_sent_again(self) -> None:
        session = self.call()
        session.hang_up(1.0)
        (send,) = self.alice.out()
        bye = Received(send.message.octets())
        theirs = (
            f"BYE sip:alice@{ALICE.host} SIP/2.0\r\nVia: SIP/2.0/UDP {BOB.host};branch=z9hG4bKx\r\n"
            f"From: {bye['To']}\r\nTo: {bye['From']}\r\nCall-ID: {bye['Call-ID']}\r\n"
            "CSeq: 9 BYE\r\nContent-Length: 0\r\n\r\n"
        )
        self.alice.endpoint.receive_datagram(theirs.encode(), BOB, 1.1)
        self.answer(bye, 401, 'WWW-Authenticate: Digest realm="r", nonce="n"')
        self.assertEqual(len(self.alice.out()), 1)  # the 200
        self.assertEqual(self.last_event(), Ended(200, (), "local", True))

    def test_no_answer_to_the_second_bye(self) -> None:
        """The second BYE has the full time of a transaction; then the end is unconfirmed."""
        session = self.call(Guard(guarded=lambda request: request.method == "BYE"))
        session.hang_up(1.0)
        (send,) = self.alice.out()
        for answer in self.phone.receive(send.message.octets()):
            self.alice.endpoint.receive_datagram(answer, BOB, 5.0)
        endpoint = self.alice.endpoint
        while self.last_event() == Answered() and (due := endpoint.next_due()) is not None:
            endpoint.handle_timer(due)
            self.alice.out()
        self.assertEqual(due, 5.0 + endpoint.timing.timeout)
        self.assertEqual(self.last_event(), Ended(200, (), "local", False))


class RestartTests(CallerCase):
    """
    umd stops while it places a call, and the next umd restores that call.

    The next umd does not know how often the INVITE was challenged. It must end the try that rings.
    """

    ASKED: tuple[tuple[dict[str, Any], ...], ...] = (
        (),
        ({},),
        ({"stale": 1},),
        (PROXY, {}),
        (PROXY | {"stale": 1}, {"stale": 2}),
    )

    def ring(self, *guards: Guard, forgets: bool) -> None:
        """Let a telephone ring while umd is stopped."""
        self.alice = Party("a", ALICE)
        self.phone = Phone(*guards)
        self.phone.answers = False
        self.place()
        self.settle()
        self.assertEqual(len(self.phone.ringing), 1)
        self.phone.forgets = forgets
        self.phone.requests = self.phone.ringing[:] if forgets else self.phone.requests
        self.alice = Party("b", ALICE)

    def place(self, **how: Any) -> Session:
        """Place the call, with names that are the same after a restart."""
        return self.alice.endpoint.place(
            f"sip:bob@{BOB.host}",
            BOB,
            0.0,
            from_=f"sip:alice@{ALICE.host}",
            body=OFFER,
            login=LOGIN,
            call_id="leg-1",
            tag="leg-1-tag",
            branch="z9hG4bKleg-1",
            **how,
        )

    def let_time_pass(self, now: float, until: float) -> None:
        endpoint = self.alice.endpoint
        while (due := endpoint.next_due()) is not None and due <= until:
            endpoint.handle_timer(due)
            self.settle(due)

    def each(self) -> Any:
        """Yield how often the call was challenged, and whether the far end has forgotten that."""
        for guards in self.ASKED:
            for forgets in (False, True):
                yield [Guard(**settings) for settings in guards], forgets

    def test_the_try_that_rings_is_cancelled(self) -> None:
        """Any try can ring, even if the far end accepts the CANCEL of a refused one."""
        for guards, forgets in self.each():
            self.ring(*guards, forgets=forgets)
            live = self.phone.ringing[0].branch
            self.place(sent_before=True).hang_up(1.0)
            self.settle(1.0)
            self.let_time_pass(1.0, 6.0)
            self.assertEqual(self.phone.ringing, [])
            self.assertEqual(self.last_event(), Ended(487, (), "local", True))
            cancels = self.sent("CANCEL")
            self.assertEqual(cancels[-1].branch, live)
            self.assertEqual(len(cancels), 1 + live.count("a"))
            self.finish(6.0)

    def test_what_rings_says_so_before_it_is_cancelled(self) -> None:
        """A try that sends 180 is the only one to cancel."""
        self.ring(Guard(stale=1), forgets=True)
        session = self.place(sent_before=True)
        ringing = self.phone.answer(self.phone.ringing[0], 180, tag=TAG)
        self.alice.endpoint.receive_datagram(ringing, BOB, 0.5)
        session.hang_up(1.0)
        self.settle(1.0)
        self.assertEqual(len(self.sent("CANCEL")), 1)
        self.assertEqual(self.last_event(), Ended(487, (), "local", True))
        self.finish(1.0)

    def test_the_telephone_is_answered_meanwhile(self) -> None:
        """A phone that was answered gets ACK and BYE, and the BYE is challenged too."""
        first = Guard(stale=1, guarded=lambda request: request.method == "INVITE")
        self.ring(first, Guard(guarded=lambda request: request.method == "BYE"), forgets=True)
        self.place(sent_before=True).hang_up(1.0)
        self.alice.out()
        for answer in self.phone.lift(self.phone.ringing[0]):
            self.alice.endpoint.receive_datagram(answer, BOB, 1.1)
        self.settle(1.1)
        self.assertEqual(self.sent("ACK")[0].cseq, 3)
        self.assertEqual([bye.cseq for bye in self.sent("BYE")], [4, 5])
        self.assertEqual(self.last_event(), Ended(200, (), "local", True))
        self.finish(1.1)

    def test_nothing_is_there(self) -> None:
        """If the far end knows none of the tries, the call has ended."""
        self.alice, self.phone = Party("b", ALICE), Phone()
        self.place(sent_before=True).hang_up(0.0)
        self.settle()
        numbers = [request.cseq for request in self.sent("CANCEL")]
        self.assertEqual(numbers, list(range(1, 2 + MAX_RETRIES)))
        self.assertEqual(self.alice.take_events(), [])
        self.let_time_pass(0.0, 4.6)
        self.assertEqual(self.last_event(), Ended(481, (), "local", True))
        self.finish(4.6)

    def test_a_challenge_comes_once_more(self) -> None:
        """A repeated 401 ends its own try, but the next try may ring."""
        self.ring(Guard(), forgets=True)
        self.place(sent_before=True).hang_up(1.0)
        (send,) = self.alice.out()
        cancel = Received(send.message.octets())
        refusal = self.phone.answer(cancel, 401, tag="asks").replace(b" CANCEL", b" INVITE")
        self.alice.endpoint.receive_datagram(refusal, BOB, 1.1)
        self.assertEqual(self.alice.take_events(), [])
        self.settle(1.1)
        self.assertEqual(self.phone.ringing, [])
        self.assertEqual(self.last_event(), Ended(487, (), "local", True))
        self.finish(1.1)

    def test_the_call_goes_on(self) -> None:
        """The same INVITE is challenged again, and its next try is the one that rings."""
        self.ring(Guard(), forgets=True)
        session = self.place(again=True)
        self.settle()
        self.assertEqual(len(self.phone.ringing), 1)
        session.hang_up(1.0)
        self.settle(1.0)
        self.assertEqual((self.phone.ringing, len(self.sent("CANCEL"))), ([], 1))
        self.assertEqual(self.last_event(), Ended(487, (), "local", True))
        self.finish(1.0)

    def test_hung_up_before_the_challenge_has_come_again(self) -> None:
        """A 401 to the first try does not end the call while another try rings."""
        for guards, forgets in self.each():
            if not guards:
                continue
            self.ring(*guards, forgets=forgets)
            for guard in guards:
                guard.stale = 0
            session = self.place(again=True)
            session.hang_up(0.1)
            self.settle(0.1)
            self.phone.forgets = True  # after five seconds every far end has
            self.let_time_pass(0.1, 40.0)
            self.assertEqual(self.phone.ringing, [])
            self.assertEqual(self.last_event(), Ended(487, (), "local", True))
            self.finish(40.0)


class AnsweredChallengeTests(CallerCase):
    """Which challenges of a 401 umd answers, and how."""

    def test_which_is_answered(self) -> None:
        """The credentials show by their nonce which challenge was answered."""
        for value, nonce in (
            ('Digest realm="r", nonce="1"', "1"),
            ('digest REALM="r",NONCE="1",Algorithm=md5,QOP="AUTH"', "1"),
            ('Digest  realm = "r" ,nonce= "1" , qop = "auth"', "1"),
            ("Digest realm=r, nonce=1, qop=auth, opaque=o", "1"),
            ("Digest realm=r, nonce=MTc=x==, qop=auth,auth-int, algorithm=MD5", "MTc=x=="),
            ('Digest realm="r", nonce="1", qop="auth-conf,auth-int"', "1"),
            ('Digest realm="r", nonce="1", qop="auth-conf"', None),
            ('Digest realm="r", nonce="1", qop=""', "1"),
            ('Digest realm="", nonce="1"', "1"),
            ('Digest nonce="1"', None),
            ('Digest realm="r", nonce=""', None),
            ('Digest realm="r", nonce="1", algorithm=SHA-512', None),
            ('Digest realm="r", nonce="1", algorithm="SHA-256"', "1"),
            ('Digest realm="r", nonce="1", algorithm=SHA-512-256-sess, qop="auth"', "1"),
            ('Digest realm="r", nonce="1", algorithm=MD5-sess, qop="auth"', "1"),
            ('Digest realm="r", nonce="1", algorithm=sha-256-SESS', "1"),
            ('Digest realm="r", nonce="1", nonce="2"', None),
            ('Digest realm="r", nonce="1", domain="a", domain="b", x="1", x="2"', "1"),
            ('Digest realm="r" nonce="1" qop="auth"', "1"),
            ('Digest realm="r", nonce="1", stale, algorithm=SHA-256', "1"),
            ('Digest realm="r", nonce="1", /, =, "x", qop="auth",', "1"),
            ('Digest realm="r", nonce="1", opaque="x', None),
            ('Basic realm="r"', None),
            ("Digest", None),
            ("", None),
            # several in one line
            ('Basic realm="r", Digest realm="r", nonce="1"', "1"),
            ('Negotiate, NTLM, Digest realm="r", nonce="1", Bearer', "1"),
            ('Negotiate YII/x+y==, Digest realm="r", nonce="1"', "1"),
            ('Digest realm="r", nonce="1", algorithm=X, Digest realm="r", nonce="2"', "2"),
            ('Digest realm="r", nonce="1", Digest realm="r", nonce="never closed', "1"),
            ('Digest realm="a, Digest nonce=\\"1\\"", nonce="2"', "2"),
        ):
            found = self.credentials(f"WWW-Authenticate: {value}").get("nonce")
            self.assertEqual(found, nonce, value)

    def test_topmost(self) -> None:
        """Of several lines the first that umd can answer counts (RFC 8760 section 2.4)."""
        lines = [
            'Digest realm="r", nonce="1", algorithm=SHA-1024',
            "Negotiate",
            'Digest realm="r", nonce="2", algorithm=SHA-256, qop="auth"',
            'Digest realm="r", nonce="3", algorithm=MD5, qop="auth"',
        ]
        for order, nonce in ((lines, "2"), (lines[::-1], "3"), (lines[:2], None)):
            given = self.credentials(*(f"WWW-Authenticate: {line}" for line in order))
            self.assertEqual(given.get("nonce"), nonce)

    def test_quality_of_protection(self) -> None:
        """qop=auth is used if offered, else auth-int."""
        for qop, chosen in (
            ("", None),
            (', qop="auth"', "auth"),
            (', qop="auth-int,auth"', "auth"),
            (', qop="x, auth-int"', "auth-int"),
        ):
            for algorithm in ("MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256"):
                given = self.credentials(
                    f'WWW-Authenticate: Digest realm="r", nonce="n", algorithm={algorithm}{qop}'
                )
                self.assertEqual(given.get("qop"), chosen)
                self.assertEqual(given.get("nc"), None if chosen is None else "00000001")
                self.assertEqual(given["algorithm"], algorithm)

    def test_body_of_each_request(self) -> None:
        """With auth-int each request has the hash of its own body."""
        text = 'Digest realm="{realm}", nonce="{nonce}", algorithm=SHA-256, qop="auth-int"'
        guard = Guard(challenge=text)
        session = self.call(guard)
        session.probe(1.0)
        self.settle(1.0)
        session.hang_up(2.0)
        self.settle(2.0)
        self.assertEqual((guard.right, guard.counts[-1]), (3, "00000003"))
        self.assertEqual(self.last_event(), Ended(200, (), "local", True))

    def test_several_realms_in_one_response(self) -> None:
        """A forking proxy collects the challenges of its branches (section 16.7)."""
        self.begin(Phone())
        (send,) = self.alice.out()
        lines = (
            'Proxy-Authenticate: Digest realm="a", nonce="1"',
            'Proxy-Authenticate: Digest realm="b", nonce="2", algorithm=SHA-256',
            'Proxy-Authenticate: Digest realm="b", nonce="3"',
            'WWW-Authenticate: Digest realm="a", nonce="4"',
        )
        refusal = self.phone.answer(Received(send.message.octets()), 407, *lines, tag="asks")
        self.alice.endpoint.receive_datagram(refusal, BOB, 0.1)
        again = Received(self.alice.out()[-1].message.octets())
        for field, nonces in (("Proxy-Authorization", ["1", "2"]), ("Authorization", ["4"])):
            given = [params(value) for value in again.all(field)]
            self.assertEqual([each["nonce"] for each in given], nonces)
            for each in given:
                self.assertEqual(each["response"], digest(each, again, "open sesame"))


class HostileTests(CallerCase):
    """For any challenge, the answer is a well-formed message."""

    def test_values_are_sent_back_as_they_came(self) -> None:
        for value in (
            'a \\"quoted\\" word',
            "back\\\\slash",
            "comma, equals=, semicolon; <angle>",
            "K\xf6ln",  # one octet, Latin-1
            "\xc3\xa9 in UTF-8",
            "x" * 2000,
            "\\a\\b",
        ):
            text = f'WWW-Authenticate: Digest realm="{value}", nonce="{value}", opaque="{value}"'
            given = self.credentials(text)
            plain = params(f'Digest x="{value}"')["x"]
            self.assertEqual((given["realm"], given["opaque"]), (plain, plain))

    def test_control_characters_are_not_sent_back(self) -> None:
        """A challenge with control characters is not answered."""
        for value in ("a\x00b", "a\x1bb", "a\\\tb", "a\x7fb", "\\\x01"):
            for place in ("realm", "nonce", "opaque"):
                values = {"realm": "r", "nonce": "n", "opaque": "o"} | {place: value}
                text = ", ".join(f'{name}="{value}"' for name, value in values.items())
                self.assertEqual(self.credentials(f"WWW-Authenticate: Digest {text}"), {})
        text = 'WWW-Authenticate: Digest realm="r", nonce="a\r\n Route: <sip:evil>"'
        self.assertEqual(self.credentials(text)["nonce"], "a Route: <sip:evil>")

    def test_line_ends_inside_a_value(self) -> None:
        """A line end in a value ends it or becomes a blank, and adds no header field."""
        for ending in ("\n", "\r", "\\\n", "\r\r\n "):
            session = self.begin(Phone())
            (send,) = self.alice.out()
            text = f'WWW-Authenticate: Digest realm="r", nonce="a{ending}Route: <sip:evil>"'
            refusal = self.phone.answer(Received(send.message.octets()), 401, text, tag="asks")
            self.alice.endpoint.receive_datagram(refusal, BOB, 0.1)
            sent = [send.message for send in self.alice.out()]
            self.assertEqual([message.all("Route") for message in sent], [[]] * len(sent))
            self.assertEqual(label(sent[0]), "ACK")
            session.abandon()

    def test_a_realm_for_each_request(self) -> None:
        """A far end that invents realms does not make umd keep more than a fixed number."""

        class Inventive(Guard):
            asking = False

            def check(self, request: Received) -> list[str] | None:
                self.asking = not self.asking
                self.realm = f"realm-{len(self.nonces)}"
                return self._ask("") if self.asking else None

        session = self.call(Inventive())
        for number in range(20):
            session.probe(1.0 + number)
            self.settle(1.0 + number)
        session.hang_up(50.0)
        self.settle(50.0)
        shown = [len(request.all("Authorization")) for request in self.sent("OPTIONS", TAG)]
        self.assertEqual(shown[:4], [1, 2, 2, 3])
        self.assertEqual(max(shown), MAX_REALMS)
        self.assertEqual(self.last_event(), Ended(200, (), "local", True))

    def test_a_hundred_challenges_in_one_response(self) -> None:
        self.begin(Phone())
        (send,) = self.alice.out()
        lines = [f'WWW-Authenticate: Digest realm="{n}", nonce="{n}"' for n in range(100)]
        refusal = self.phone.answer(Received(send.message.octets()), 401, *lines, tag="asks")
        self.alice.endpoint.receive_datagram(refusal, BOB, 0.1)
        again = Received(self.alice.out()[-1].message.octets())
        self.assertEqual(len(again.all("Authorization")), MAX_REALMS)
