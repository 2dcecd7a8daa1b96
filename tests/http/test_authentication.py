"""Who is asking: passwords, tokens, certificates, proxies; and what wrong ones cost."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import argon2
import bcrypt
import jwt
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import capturing_log, missing
from umd.call.principal import Principal, Scope
from umd.http import passwords
from umd.http.authentication import Authenticator
from umd.http.exchange import Reply
from umd.http.hashing_queue import MAX_WAITING
from umd.http.password_check import MAX_HASHING, NICENESS, _verify_nicely
from umd.http.passwords import InvalidPasswordFile, PasswordFile, _matches
from umd.http.response import retry_later
from umd.http.rules import Rules
from umd.http.tokens import InvalidKey, TokenVerifier
from umd.http.verdict import Authenticated, Denied, Verdict

SECRET = b"0123456789abcdef0123456789abcdef"
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
ALICE = CHEAP.hash("right").encode()


def basic(name: str, password: str) -> dict[str, str]:
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"authorization": f"Basic {credentials}"}


class InLine:
    """A thread pool that does its work when told to."""

    def __init__(self) -> None:
        self.work: list[Any] = []
        self.hashed = 0

    def callInThreadWithCallback(self, done: Any, function: Any, *arguments: Any) -> None:
        self.work.append((done, function, arguments))

    def run(self) -> None:
        work, self.work = self.work, []
        for done, function, arguments in work:
            done(True, function(*arguments))
            self.hashed += 1

    def stop(self) -> None:
        pass


class ThreadlessClock(Clock):
    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)


class IdentityCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = ThreadlessClock()
        self.log, self.lines = capturing_log()
        self.pool = InLine()
        self.make(Rules(passwords=PasswordFile({"alice": ALICE, "bob": ALICE})))

    def tearDown(self) -> None:
        """Whoever still waits gets an answer: what is left half done fails a later test."""
        while self.pool.work:
            self.pool.run()
            self.clock.advance(10.0)
        self.authenticator.stop()

    def make(self, rules: Rules) -> None:
        self.authenticator = Authenticator(
            rules, self.clock, self.log, lambda why: retry_later(why, 1), wall=lambda: 1000.0
        )
        self.authenticator._passwords._pool = self.pool  # type: ignore[assignment]

    def ask(
        self, headers: Mapping[str, str], address: str = "192.0.2.1", subject: str | None = None
    ) -> list[Authenticated | Reply]:
        """What is found, once it is found."""
        found = self.authenticator.authenticate(headers, address, subject)
        results: list[Authenticated | Reply] = []

        def told(verdict: Verdict) -> None:
            if isinstance(verdict, Denied):
                self.clock.callLater(verdict.delay, results.append, verdict.reply)
            else:
                results.append(verdict)

        if isinstance(found, Deferred):
            _ = found.addCallback(told)
        else:
            told(found)
        return results

    def challenged(self, results: list[Authenticated | Reply]) -> None:
        (reply,) = results
        assert isinstance(reply, Reply)
        self.assertEqual((reply.status, reply.body, reply.content_type), (401, b"", ""))

    def named(self, results: list[Authenticated | Reply]) -> Principal:
        (found,) = results
        assert not isinstance(found, Reply), found
        return found[0]


class PasswordTests(IdentityCase):
    def test_the_first_request_is_asked_who_it_is(self) -> None:
        (reply,) = self.ask({})
        assert isinstance(reply, Reply)
        self.assertEqual(
            reply.headers, {"WWW-Authenticate": 'Basic realm="umd", charset="UTF-8"'}
        )
        self.challenged([reply])

    def test_the_right_password_is_hashed_once(self) -> None:
        results = self.ask(basic("alice", "right"))
        self.assertEqual(results, [])
        self.pool.run()
        self.assertEqual(self.named(results).name, "alice")
        self.assertEqual(self.named(self.ask(basic("alice", "right"))).name, "alice")
        self.clock.advance(301)
        self.assertEqual(self.ask(basic("alice", "right")), [])
        self.assertEqual(len(self.pool.work), 1)

    def test_many_connections_with_one_password_are_checked_once(self) -> None:
        waiting = [self.ask(basic("alice", "right")) for _ in range(20)]
        self.assertEqual(len(self.pool.work), 1)
        self.pool.run()
        for results in waiting:
            self.assertEqual(self.named(results).name, "alice")

    def test_a_client_that_leaves_takes_nobody_along(self) -> None:
        first = self.authenticator.authenticate(basic("alice", "right"), "192.0.2.1", None)
        second = self.ask(basic("alice", "right"))
        assert isinstance(first, Deferred)
        first.cancel()
        self.failureResultOf(first)
        self.pool.run()
        self.assertEqual(self.named(second).name, "alice")

    def test_wrong_ones_are_answered_later_and_later_and_logged_once(self) -> None:
        for number, delay in enumerate((0.25, 0.5, 1.0, 2.0, 4.0, 4.0)):
            results = self.ask(basic("alice", f"wrong {number}"))
            self.pool.run()
            self.clock.advance(delay - 0.01)
            self.assertEqual(results, [])
            self.clock.advance(0.02)
            self.challenged(results)
        self.assertEqual([line["event"] for line in self.lines], ["auth.failed"])
        self.assertNotIn("wrong 0", str(self.lines))

    def test_nobody_else_behind_the_address_is_slowed(self) -> None:
        for number in range(6):
            _ = self.ask(basic("alice", f"wrong {number}"))
        results = self.ask(basic("bob", "right"))
        for _ in range(3):  # one is being hashed, one is before bob, and then it is his turn
            self.pool.run()
        self.assertEqual(self.named(results).name, "bob")

    def test_who_was_right_before_is_not_slowed(self) -> None:
        _ = self.ask(basic("alice", "right"))
        self.pool.run()
        for number in range(6):
            _ = self.ask(basic("alice", f"wrong {number}"))
        self.assertEqual(self.named(self.ask(basic("alice", "right"))).name, "alice")

    def test_wrong_ones_for_a_name_are_hashed_one_after_the_other(self) -> None:
        results = [self.ask(basic("alice", f"wrong {number}")) for number in range(50)]
        self.assertEqual(len(self.pool.work), 1)
        put_off_at_once = [one for one in results if one]
        self.assertEqual(len(put_off_at_once), 17)
        for _ in range(100):
            self.pool.run()
            self.clock.advance(0.25)
        self.assertEqual(len([one for one in results if one]), 50)

    def test_an_unknown_name_is_checked_like_others(self) -> None:
        """Who has no account was told at once, and so was who has one."""
        for name in ("mallory", "alice"):
            told = self.ask(basic(name, "x"))
            self.assertEqual(len(self.pool.work), 1, name)
            self.pool.run()
            self.assertEqual(told, [])
            self.clock.advance(0.25)
            self.challenged(told)
        why = [line["why"] for line in self.lines]
        self.assertEqual(why, ["no such name", "the password is wrong"])

    def test_unknown_names_wait_and_are_slowed_like_others(self) -> None:
        """Whatever the tries, the number of hashes and the time until the answer are the same."""
        told: dict[str, list[float]] = {"mallory": [], "alice": []}
        for name, times in told.items():
            address = f"192.0.2.{len(name)}"
            for number in range(8):
                began, hashed = self.clock.seconds(), self.pool.hashed
                results = self.ask(basic(name, f"wrong {number // 2}"), address)
                self.pool.run()
                while not results:
                    self.clock.advance(0.25)
                self.challenged(results)
                self.assertEqual(self.pool.hashed - hashed, 1 - number % 2)
                times.append(self.clock.seconds() - began)
        self.assertEqual(told["mallory"], told["alice"])
        self.assertEqual(told["alice"], [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0])

    def test_what_was_wrong_is_not_hashed_again(self) -> None:
        """A program that tries its old password again and again costs no more."""
        for _ in range(5):
            _ = self.ask(basic("alice", "old"))
            self.pool.run()
            self.clock.advance(4.0)
        self.assertEqual(self.pool.hashed, 1)
        self.clock.advance(301.0)
        _ = self.ask(basic("alice", "old"))
        self.assertEqual(len(self.pool.work), 1)
        self.pool.run()
        self.authenticator.rules = Rules(
            passwords=PasswordFile({"alice": CHEAP.hash("old").encode()})
        )
        results = self.ask(basic("alice", "old"))
        self.pool.run()
        self.assertEqual(self.named(results).name, "alice")

    def test_what_is_no_guess_is_asked_again_at_once(self) -> None:
        """Clients that try NTLM first were slowed more each time."""
        nothing = (
            "", " ", "Basic", "Basic ", "basic\t", "Basic !!", "Basic /w==", "Basic YQ==",
            "Basic YQ", "Basic OnJpZ2h0", "Basic \xe9\xe9", "Basic YWxpY2U6cmlnaHQ", "Basic =",
            "Basic a=b", "Basic YWxp Y2U6cmlnaHQ=", "Basic\tYWxpY2U6cmlnaHQ=",
            "BasicYWxpY2U6cmlnaHQ=",
            "Basic, YWxpY2U6cmlnaHQ=", "Basic YWxpY2U6cmlnaHQ=,", "Basic:YWxpY2U6cmlnaHQ=",
            "NTLM TlRMTVNTUAABAAAA", "Negotiate x", "Negotiate", "Bearer x",
            "Digest username=a", "AWS4-HMAC-SHA256 x", "YWxpY2U6cmlnaHQ=", ",", "\x00",
            "Basic\xa0YWxpY2U6cmlnaHQ=",
        )  # fmt: skip
        for given in nothing * 3:
            self.challenged(self.ask({"authorization": given}))
        self.assertEqual(self.pool.work, [])
        self.assertEqual([line["event"] for line in self.lines], ["auth.failed"])
        for secret in ("cmlnaHQ", "cmlnahq", "TlRM"):
            self.assertNotIn(secret, str(self.lines))
        results = self.ask(basic("alice", "right"))
        self.pool.run()
        self.assertEqual(self.named(results).name, "alice")

    def test_the_right_password_after_another_scheme_is_not_held_up(self) -> None:
        for _ in range(20):
            self.challenged(self.ask({"authorization": "NTLM TlRMTVNTUAABAAAA"}))
            results = self.ask(basic("alice", "right"))
            self.pool.run()
            self.assertEqual(self.named(results).name, "alice")

    def test_a_guess_in_disguise_is_slowed_with_the_others(self) -> None:
        """However it is spelled: what is tried is tried by turns, and a wrong one is told late."""
        guess = base64.b64encode(b"alice:wrong").decode()
        delays = []
        for spelled in ("BASIC {}", "Basic   {}", "bAsIc {} ", "Basic \t{}\t"):
            given = spelled.format(guess)
            self.challenged(self.ask({"authorization": "Negotiate"}))
            results = self.ask({"authorization": given})
            self.pool.run()
            self.assertEqual(results, [])
            began = self.clock.seconds()
            while not results:
                self.clock.advance(0.25)
            delays.append(self.clock.seconds() - began)
        self.assertEqual((delays, self.pool.hashed), ([0.25, 0.5, 1.0, 2.0], 1))

    def test_new_rules_forget_who_was_right(self) -> None:
        _ = self.ask(basic("alice", "right"))
        self.pool.run()
        self.authenticator.rules = Rules(passwords=PasswordFile({"bob": ALICE}))
        results = self.ask(basic("alice", "right"))
        self.pool.run()
        self.clock.advance(4.0)
        self.challenged(results)

    def test_who_was_being_checked_by_old_rules_is_not_let_in_by_them(self) -> None:
        """A user who was removed was remembered once more, and let in for minutes."""
        results = self.ask(basic("alice", "right"))
        self.authenticator.rules = Rules(passwords=PasswordFile({"bob": ALICE}))
        self.pool.run()
        (reply,) = results
        assert isinstance(reply, Reply)
        self.assertEqual(reply.status, 503)
        again = self.ask(basic("alice", "right"))
        self.pool.run()
        self.clock.advance(4.0)
        self.challenged(again)

    def test_the_right_password_does_not_wait_behind_wrong_ones(self) -> None:
        for number in range(8):
            _ = self.ask(basic("alice", f"wrong {number}"))
        results = self.ask(basic("alice", "right"))
        for _ in range(9):
            self.pool.run()
        self.assertEqual(self.named(results).name, "alice")


class TurnsTests(IdentityCase):
    """Who guesses waits for its own; see `test_hashing_queue` for the order."""

    def guess(self, number: int) -> None:
        for n in range(number):
            _ = self.ask(basic(f"name {n}", "guess"))

    def test_who_was_right_before_goes_past_those_who_guess(self) -> None:
        _ = self.ask(basic("alice", "right"))
        self.pool.run()
        self.clock.advance(301.0)
        self.guess(50)
        results = self.ask(basic("alice", "right"))
        self.assertEqual(len(self.pool.work), 2)
        self.pool.run()
        self.assertEqual(self.named(results).name, "alice")

    def test_after_a_reload_too_but_not_all_at_once(self) -> None:
        names = [f"user {number}" for number in range(MAX_HASHING + 1)]
        rules = Rules(passwords=PasswordFile(dict.fromkeys(names, ALICE)))
        self.make(rules)
        for name in names:
            _ = self.ask(basic(name, "right"))
            self.pool.run()
        self.authenticator.rules = rules
        results = [self.ask(basic(name, "right")) for name in names]
        self.assertEqual(len(self.pool.work), MAX_HASHING)
        (put_off,) = results.pop()
        assert isinstance(put_off, Reply)
        self.assertEqual(put_off.status, 503)
        self.pool.run()
        self.assertEqual([self.named(one).name for one in results], names[:-1])

    def test_who_only_comes_and_goes_costs_no_hash(self) -> None:
        self.guess(1)
        for number in range(2 * MAX_WAITING):
            given = basic("alice", str(number))
            waiting = self.authenticator.authenticate(given, f"10.0.0.{number % 99}", None)
            assert isinstance(waiting, Deferred)
            waiting.cancel()
            self.failureResultOf(waiting)
        self.assertEqual(len(self.authenticator._passwords._checks), 1)
        results = self.ask(basic("bob", "right"))
        self.pool.run()
        self.pool.run()
        self.assertEqual((self.named(results).name, self.pool.hashed), ("bob", 2))
        self.assertEqual(self.authenticator._passwords._checks, {})

    def test_a_wrong_one_is_followed_by_a_rest(self) -> None:
        """The time that it took is measured; here it is a tenth of a second."""
        self.guess(2)
        self.clock.advance(0.1)
        self.pool.run()
        self.assertEqual(self.pool.work, [])
        self.clock.advance(0.31)
        self.assertEqual(len(self.pool.work), 1)

    def test_hashing_gives_way(self) -> None:
        found: list[tuple[bool, int]] = []

        def verify(name: str, password: bytes) -> bool:
            found.append((True, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
            return True

        before = os.getpriority(os.PRIO_PROCESS, os.getpid())
        thread = threading.Thread(target=_verify_nicely, args=(verify, "alice", b"x"))
        thread.start()
        thread.join()
        self.assertEqual(found, [(True, min(19, before + NICENESS))])
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, os.getpid()), before)


class FileTests(SynchronousTestCase):
    def test_an_unknown_name_is_as_slow_as_a_known_one(self) -> None:
        """It is compared with a hash of the file, of each kind that is there; and never right."""
        hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4))
        file = PasswordFile({"alice": ALICE, "bob": hashed})
        compared: list[bytes] = []

        def fits(password: bytes, hashed: bytes) -> bool:
            compared.append(hashed)
            return _matches(password, hashed)

        self.patch(passwords, "_matches", fits)
        for number in range(100):
            self.assertFalse(file.verify(f"name {number}", b"right"))
        self.assertEqual((len(compared), set(compared)), (100, {ALICE, hashed}))
        again = compared[:]
        for number in range(100):
            file.verify(f"name {number}", b"wrong")
        self.assertEqual(compared[100:], again)
        self.assertFalse(PasswordFile({}).verify("alice", b"right"))

    def read(self, text: str) -> PasswordFile:
        path = Path(self.mktemp())
        path.write_text(text)
        return PasswordFile.read(str(path))

    def test_argon2_and_bcrypt(self) -> None:
        hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
        also = hashed.replace("$2b$", "$2y$")  # as htpasswd writes it
        file = self.read(f"# people\n\nalice:{ALICE.decode()}\nbob:{hashed}\ncarol:{also}\n")
        for name in ("alice", "bob", "carol"):
            self.assertTrue(file.verify(name, b"right"))
            self.assertFalse(file.verify(name, b"wrong"))
            self.assertFalse(file.verify(name, b""))
        self.assertFalse(file.verify("dave", b"right"))
        long = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
        self.assertTrue(self.read(f"a:{long}").verify("a", b"x" * 80))

    def test_mistakes_are_told_with_their_line(self) -> None:
        for text in ("alice", "alice:secret", ":$2b$x", "alice:$apr1$x$y", "alice:{SHA}x"):
            with self.assertRaises(InvalidPasswordFile) as caught:
                self.read("\n" + text)
            self.assertIn(":2: expected NAME:HASH", str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))
        with self.assertRaises(InvalidPasswordFile):
            PasswordFile.read("/nowhere")
        with self.assertRaisesRegex(InvalidPasswordFile, "twice"):
            self.read(f"a:{ALICE.decode()}\na:{ALICE.decode()}")

    def test_a_hash_that_is_not_whole_is_a_mistake(self) -> None:
        """The file may be half written when it is read: nobody's password is changed by that."""
        bcrypted = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
        argon2ed = ALICE.decode()
        cut = [bcrypted[:end] for end in range(len(bcrypted))]
        cut += [argon2ed[:end] for end in range(argon2ed.rindex("$") + 22)]
        for hashed in [*cut, bcrypted + "x", argon2ed + "$x", argon2ed + " x"]:
            with self.assertRaisesRegex(InvalidPasswordFile, ":2: expected NAME:HASH"):
                self.read(f"b:{bcrypted}\na:{hashed}\n")


class TokenTests(IdentityCase):
    def setUp(self) -> None:
        super().setUp()
        self.make(Rules(tokens=TokenVerifier(SECRET, ["HS256"], "umd", "https://issuer.example")))

    def bearer(self, algorithm: str | None = "HS256", key: Any = SECRET, **claims: Any) -> str:
        every = {"sub": "alice", "aud": "umd", "iss": "https://issuer.example", "exp": 1 << 40}
        every |= claims
        said = {name: value for name, value in every.items() if value is not None}
        return "Bearer " + jwt.encode(said, key, algorithm=algorithm)

    def test_a_good_token(self) -> None:
        principal = self.named(self.ask({"authorization": self.bearer()}))
        self.assertEqual((principal.name, principal.scopes), ("alice", Rules().default_scopes))
        with_scope = self.bearer(scope="openid calls:end:any")
        scopes = self.named(self.ask({"authorization": with_scope})).scopes
        self.assertEqual(scopes, {Scope.END_ANY})
        as_a_list = self.bearer(scope=["calls:read", "x"])
        scopes = self.named(self.ask({"authorization": as_a_list})).scopes
        self.assertEqual(scopes, {Scope.READ})

    def test_made_up_tokens_are_answered_late(self) -> None:
        for number, token in enumerate((
            self.bearer(key=b"another secret of thirty-two octets"),
            self.bearer("HS384", SECRET * 2),
            self.bearer("none", None),
            self.bearer(exp=1000, key=b"another secret of thirty-two octets"),
            self.bearer()[:-8] + "AAAAAAAA",
            self.bearer()[: self.bearer().rindex(".") + 1],
        )):  # fmt: skip
            results = self.ask({"authorization": token})
            self.assertEqual(results, [])
            self.clock.advance(min(4.0, 0.25 * 2**number))
            self.challenged(results)
        self.assertEqual([line["event"] for line in self.lines], ["auth.failed"])

    def test_other_tokens_that_are_not_good_are_answered_at_once(self) -> None:
        """They cannot be read, or their signature is right: nobody guesses."""
        for token in (
            self.bearer(exp=1000),
            self.bearer(exp=None),
            self.bearer(aud="other"),
            self.bearer(aud=None),
            self.bearer(iss="https://other.example"),
            self.bearer(iss=None),
            self.bearer(sub=None),
            self.bearer(sub=""),
            self.bearer(sub="a" * 257),
            self.bearer(scope=5),
            self.bearer(scope=["calls:read", 5]),
            "Bearer x.y.z",
            "Bearer x",
            "Bearer \xe9.\xe9.\xe9",
            "Bearer ..",
            "Bearer",
            "Bearer " + "x." * 5000,
        ):
            for _ in range(3):
                self.challenged(self.ask({"authorization": token}))
        self.assertEqual([line["why"] for line in self.lines], ["the token has expired"])
        self.assertIn("Bearer realm", str(self.ask({})))
        self.assertEqual(self.named(self.ask({"authorization": self.bearer()})).name, "alice")

    def test_keys_that_do_not_fit(self) -> None:
        public = b"-----BEGIN PUBLIC KEY-----\n" + b"x" * 100
        for key, algorithm in ((b"short", "HS256"), (public, "HS256"), (SECRET, "RS256")):
            with self.assertRaises(InvalidKey):
                TokenVerifier(key, [algorithm], "umd", "i")


class OtherTests(IdentityCase):
    def test_a_certificate(self) -> None:
        self.make(Rules(subjects={"CN=pbx-1": "pbx"}, scopes={"pbx": frozenset({Scope.END_ANY})}))
        principal = self.named(self.ask({}, subject="CN=pbx-1"))
        self.assertEqual((principal.name, principal.scopes), ("pbx", {Scope.END_ANY}))
        self.refused(self.ask({}, subject="CN=other"))

    def test_a_proxy_is_believed_where_it_is_trusted(self) -> None:
        self.make(Rules(proxies=(ip_network("192.0.2.0/28"),)))
        said = {"x-forwarded-user": "alice"}
        self.assertEqual(self.named(self.ask(said)).name, "alice")
        self.refused(self.ask(said, "192.0.2.16"))
        self.refused(self.ask(said, ""))
        self.refused(self.ask({}))
        self.refused(self.ask({"x-forwarded-user": "a\x85b"}))

    def test_a_name_from_a_proxy_is_read_as_utf_8(self) -> None:
        """The same user by a password was another one; some names were none at all."""
        self.make(Rules(proxies=(ip_network("192.0.2.0/28"),)))
        for name, octets in (
            ("j\xf6rg", "j\xf6rg".encode()), ("j\xf6rg", b"j\xf6rg"), ("\u0105", "\u0105".encode())
        ):  # fmt: skip
            said = {"x-forwarded-user": octets.decode("latin-1")}
            self.assertEqual(self.named(self.ask(said)).name, name)
        for wrong in ("a\u2028b", "a\u202eb", "x" * 257):
            said = {"x-forwarded-user": wrong.encode().decode("latin-1")}
            self.refused(self.ask(said))

    def refused(self, results: list[Authenticated | Reply]) -> None:
        """Nothing is offered that would not be taken; it was a Bearer."""
        (reply,) = results
        assert isinstance(reply, Reply)
        self.assertEqual((reply.status, "WWW-Authenticate" in reply.headers), (403, False))

    def test_a_wrong_password_where_none_is_taken(self) -> None:
        self.make(Rules(subjects={"CN=pbx-1": "pbx"}))
        self.refused(self.ask(basic("alice", "right")))


class HtpasswdTests(SynchronousTestCase):
    def test_a_file_of_htpasswd(self) -> None:
        if shutil.which("htpasswd") is None:
            missing("htpasswd: apt-get install apache2-utils")
        path = self.mktemp()
        subprocess.run(["htpasswd", "-cbB", "-C", "4", path, "alice", "right"], check=True,
                       capture_output=True)  # fmt: skip
        file = PasswordFile.read(path)
        self.assertTrue(file.verify("alice", b"right"))
        self.assertFalse(file.verify("alice", b"wrong"))
