"""Authentication by password, token, certificate and proxy, and the cost of failed attempts."""

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


class ManualPool:
    """A thread pool that runs its work when the test calls `run`."""

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


class AuthenticationCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = ThreadlessClock()
        self.log, self.lines = capturing_log()
        self.pool = ManualPool()
        self.make(Rules(passwords=PasswordFile({"alice": ALICE, "bob": ALICE})))

    def tearDown(self) -> None:
        """Finish the running checks: an unfinished Deferred would fail a later test."""
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
        """Authenticate a request; the list receives the verdict when it is ready."""
        found = self.authenticator.authenticate(headers, address, subject)
        results: list[Authenticated | Reply] = []

        def receive(verdict: Verdict) -> None:
            if isinstance(verdict, Denied):
                self.clock.callLater(verdict.delay, results.append, verdict.reply)
            else:
                results.append(verdict)

        if isinstance(found, Deferred):
            _ = found.addCallback(receive)
        else:
            receive(found)
        return results

    def challenged(self, results: list[Authenticated | Reply]) -> None:
        (reply,) = results
        assert isinstance(reply, Reply)
        self.assertEqual((reply.status, reply.body, reply.content_type), (401, b"", ""))

    def named(self, results: list[Authenticated | Reply]) -> Principal:
        (found,) = results
        assert not isinstance(found, Reply), found
        return found[0]


class PasswordTests(AuthenticationCase):
    def test_a_request_without_credentials_gets_a_challenge(self) -> None:
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

    def test_the_same_password_on_many_connections_is_hashed_once(self) -> None:
        waiting = [self.ask(basic("alice", "right")) for _ in range(20)]
        self.assertEqual(len(self.pool.work), 1)
        self.pool.run()
        for results in waiting:
            self.assertEqual(self.named(results).name, "alice")

    def test_a_client_that_leaves_does_not_cancel_the_check_of_others(self) -> None:
        first = self.authenticator.authenticate(basic("alice", "right"), "192.0.2.1", None)
        second = self.ask(basic("alice", "right"))
        assert isinstance(first, Deferred)
        first.cancel()
        self.failureResultOf(first)
        self.pool.run()
        self.assertEqual(self.named(second).name, "alice")

    def test_each_wrong_password_doubles_the_delay_and_one_is_logged(self) -> None:
        for number, delay in enumerate((0.25, 0.5, 1.0, 2.0, 4.0, 4.0)):
            results = self.ask(basic("alice", f"wrong {number}"))
            self.pool.run()
            self.clock.advance(delay - 0.01)
            self.assertEqual(results, [])
            self.clock.advance(0.02)
            self.challenged(results)
        self.assertEqual([line["event"] for line in self.lines], ["auth.failed"])
        self.assertNotIn("wrong 0", str(self.lines))

    def test_another_user_behind_the_same_address_is_not_delayed(self) -> None:
        for number in range(6):
            _ = self.ask(basic("alice", f"wrong {number}"))
        results = self.ask(basic("bob", "right"))
        for _ in range(3):  # one is being hashed, one is before bob, and then it is his turn
            self.pool.run()
        self.assertEqual(self.named(results).name, "bob")

    def test_a_remembered_password_is_not_delayed(self) -> None:
        _ = self.ask(basic("alice", "right"))
        self.pool.run()
        for number in range(6):
            _ = self.ask(basic("alice", f"wrong {number}"))
        self.assertEqual(self.named(self.ask(basic("alice", "right"))).name, "alice")

    def test_guesses_for_one_name_are_hashed_one_after_the_other(self) -> None:
        results = [self.ask(basic("alice", f"wrong {number}")) for number in range(50)]
        self.assertEqual(len(self.pool.work), 1)
        rejected = [replies for replies in results if replies]
        self.assertEqual(len(rejected), 17)
        for _ in range(100):
            self.pool.run()
            self.clock.advance(0.25)
        self.assertEqual(len([replies for replies in results if replies]), 50)

    def test_an_unknown_name_is_hashed_like_a_known_one(self) -> None:
        """An immediate response for unknown names had revealed which names exist."""
        for name in ("mallory", "alice"):
            results = self.ask(basic(name, "x"))
            self.assertEqual(len(self.pool.work), 1, name)
            self.pool.run()
            self.assertEqual(results, [])
            self.clock.advance(0.25)
            self.challenged(results)
        why = [line["why"] for line in self.lines]
        self.assertEqual(why, ["no such name", "the password is wrong"])

    def test_unknown_names_are_delayed_like_known_ones(self) -> None:
        """The number of hashes and the delays are the same for both."""
        delays: dict[str, list[float]] = {"mallory": [], "alice": []}
        for name, times in delays.items():
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
        self.assertEqual(delays["mallory"], delays["alice"])
        self.assertEqual(delays["alice"], [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0])

    def test_a_wrong_password_is_not_hashed_again(self) -> None:
        """A program that repeats an old password costs one hash."""
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

    def test_unreadable_credentials_are_not_delayed(self) -> None:
        """Clients that try NTLM first had been delayed more each time."""
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

    def test_a_right_password_after_another_scheme_is_not_delayed(self) -> None:
        for _ in range(20):
            self.challenged(self.ask({"authorization": "NTLM TlRMTVNTUAABAAAA"}))
            results = self.ask(basic("alice", "right"))
            self.pool.run()
            self.assertEqual(self.named(results).name, "alice")

    def test_a_guess_in_odd_spelling_is_delayed_too(self) -> None:
        """The spelling of the scheme and blanks do not avoid the queue and the delay."""
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

    def test_new_rules_invalidate_remembered_passwords(self) -> None:
        _ = self.ask(basic("alice", "right"))
        self.pool.run()
        self.authenticator.rules = Rules(passwords=PasswordFile({"bob": ALICE}))
        results = self.ask(basic("alice", "right"))
        self.pool.run()
        self.clock.advance(4.0)
        self.challenged(results)

    def test_a_check_by_old_rules_does_not_authenticate(self) -> None:
        """A removed user stayed authenticated if the check began before the reload."""
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

    def test_a_right_password_does_not_wait_for_delayed_responses(self) -> None:
        for number in range(8):
            _ = self.ask(basic("alice", f"wrong {number}"))
        results = self.ask(basic("alice", "right"))
        for _ in range(9):
            self.pool.run()
        self.assertEqual(self.named(results).name, "alice")


class QueueTests(AuthenticationCase):
    """Guesses wait in the hashing queue; see `test_hashing_queue` for the order."""

    def guess(self, number: int) -> None:
        for n in range(number):
            _ = self.ask(basic(f"name {n}", "guess"))

    def test_a_password_that_was_right_before_skips_the_queue(self) -> None:
        _ = self.ask(basic("alice", "right"))
        self.pool.run()
        self.clock.advance(301.0)
        self.guess(50)
        results = self.ask(basic("alice", "right"))
        self.assertEqual(len(self.pool.work), 2)
        self.pool.run()
        self.assertEqual(self.named(results).name, "alice")

    def test_passwords_that_were_right_before_a_reload_are_limited(self) -> None:
        names = [f"user {number}" for number in range(MAX_HASHING + 1)]
        rules = Rules(passwords=PasswordFile(dict.fromkeys(names, ALICE)))
        self.make(rules)
        for name in names:
            _ = self.ask(basic(name, "right"))
            self.pool.run()
        self.authenticator.rules = rules
        results = [self.ask(basic(name, "right")) for name in names]
        self.assertEqual(len(self.pool.work), MAX_HASHING)
        (rejected,) = results.pop()
        assert isinstance(rejected, Reply)
        self.assertEqual(rejected.status, 503)
        self.pool.run()
        self.assertEqual([self.named(found).name for found in results], names[:-1])

    def test_a_client_that_leaves_costs_no_hash(self) -> None:
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

    def test_a_wrong_password_is_followed_by_a_rest(self) -> None:
        """The rest depends on the time of the hash, here 0.1 s."""
        self.guess(2)
        self.clock.advance(0.1)
        self.pool.run()
        self.assertEqual(self.pool.work, [])
        self.clock.advance(0.31)
        self.assertEqual(len(self.pool.work), 1)

    def test_hashing_has_a_lower_priority(self) -> None:
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
    def test_an_unknown_name_takes_as_long_as_a_known_one(self) -> None:
        """It is compared with a hash of the file, always the same one, and never matches."""
        hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4))
        file = PasswordFile({"alice": ALICE, "bob": hashed})
        compared: list[bytes] = []

        def matches(password: bytes, hashed: bytes) -> bool:
            compared.append(hashed)
            return _matches(password, hashed)

        self.patch(passwords, "_matches", matches)
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

    def test_an_error_names_the_line(self) -> None:
        for text in ("alice", "alice:secret", ":$2b$x", "alice:$apr1$x$y", "alice:{SHA}x"):
            with self.assertRaises(InvalidPasswordFile) as caught:
                self.read("\n" + text)
            self.assertIn(":2: expected NAME:HASH", str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))
        with self.assertRaises(InvalidPasswordFile):
            PasswordFile.read("/nowhere")
        with self.assertRaisesRegex(InvalidPasswordFile, "twice"):
            self.read(f"a:{ALICE.decode()}\na:{ALICE.decode()}")

    def test_an_incomplete_hash_is_an_error(self) -> None:
        """A half-written file is refused, as its last user could not log in."""
        bcrypted = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
        argon2ed = ALICE.decode()
        cut = [bcrypted[:end] for end in range(len(bcrypted))]
        cut += [argon2ed[:end] for end in range(argon2ed.rindex("$") + 22)]
        for hashed in [*cut, bcrypted + "x", argon2ed + "$x", argon2ed + " x"]:
            with self.assertRaisesRegex(InvalidPasswordFile, ":2: expected NAME:HASH"):
                self.read(f"b:{bcrypted}\na:{hashed}\n")


class TokenTests(AuthenticationCase):
    def setUp(self) -> None:
        super().setUp()
        self.make(Rules(tokens=TokenVerifier(SECRET, ["HS256"], "umd", "https://issuer.example")))

    def bearer(self, algorithm: str | None = "HS256", key: Any = SECRET, **claims: Any) -> str:
        every = {"sub": "alice", "aud": "umd", "iss": "https://issuer.example", "exp": 1 << 40}
        every |= claims
        payload = {name: value for name, value in every.items() if value is not None}
        return "Bearer " + jwt.encode(payload, key, algorithm=algorithm)

    def test_a_good_token(self) -> None:
        principal = self.named(self.ask({"authorization": self.bearer()}))
        self.assertEqual((principal.name, principal.scopes), ("alice", Rules().default_scopes))
        with_scope = self.bearer(scope="openid calls:end:any")
        scopes = self.named(self.ask({"authorization": with_scope})).scopes
        self.assertEqual(scopes, {Scope.END_ANY})
        as_a_list = self.bearer(scope=["calls:read", "x"])
        scopes = self.named(self.ask({"authorization": as_a_list})).scopes
        self.assertEqual(scopes, {Scope.READ})

    def test_forged_tokens_are_delayed(self) -> None:
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

    def test_other_invalid_tokens_are_not_delayed(self) -> None:
        """They are unreadable or have a good signature, so they are no guesses."""
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

    def test_keys_that_do_not_go_with_the_algorithm(self) -> None:
        public = b"-----BEGIN PUBLIC KEY-----\n" + b"x" * 100
        for key, algorithm in ((b"short", "HS256"), (public, "HS256"), (SECRET, "RS256")):
            with self.assertRaises(InvalidKey):
                TokenVerifier(key, [algorithm], "umd", "i")


class OtherTests(AuthenticationCase):
    def test_a_certificate(self) -> None:
        self.make(Rules(subjects={"CN=pbx-1": "pbx"}, scopes={"pbx": frozenset({Scope.END_ANY})}))
        principal = self.named(self.ask({}, subject="CN=pbx-1"))
        self.assertEqual((principal.name, principal.scopes), ("pbx", {Scope.END_ANY}))
        self.refused(self.ask({}, subject="CN=other"))

    def test_only_a_trusted_proxy_may_name_the_user(self) -> None:
        self.make(Rules(proxies=(ip_network("192.0.2.0/28"),)))
        headers = {"x-forwarded-user": "alice"}
        self.assertEqual(self.named(self.ask(headers)).name, "alice")
        self.refused(self.ask(headers, "192.0.2.16"))
        self.refused(self.ask(headers, ""))
        self.refused(self.ask({}))
        self.refused(self.ask({"x-forwarded-user": "a\x85b"}))

    def test_a_name_from_a_proxy_is_decoded_as_utf_8(self) -> None:
        """Without decoding, a user had two names, one by password and one by proxy."""
        self.make(Rules(proxies=(ip_network("192.0.2.0/28"),)))
        for name, octets in (
            ("j\xf6rg", "j\xf6rg".encode()), ("j\xf6rg", b"j\xf6rg"), ("\u0105", "\u0105".encode())
        ):  # fmt: skip
            headers = {"x-forwarded-user": octets.decode("latin-1")}
            self.assertEqual(self.named(self.ask(headers)).name, name)
        for wrong in ("a\u2028b", "a\u202eb", "x" * 257):
            headers = {"x-forwarded-user": wrong.encode().decode("latin-1")}
            self.refused(self.ask(headers))

    def refused(self, results: list[Authenticated | Reply]) -> None:
        """Assert a 403 without a challenge: no scheme that umd could offer would help."""
        (reply,) = results
        assert isinstance(reply, Reply)
        self.assertEqual((reply.status, "WWW-Authenticate" in reply.headers), (403, False))

    def test_a_password_where_umd_accepts_none(self) -> None:
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
