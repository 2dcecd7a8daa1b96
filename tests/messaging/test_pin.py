"""PINs are hard to guess, stored as a hash, and sent to their owner only."""

from __future__ import annotations

import os
import secrets
import stat
from email import message_from_bytes
from pathlib import Path
from typing import Any

from twisted.internet import defer, protocol
from twisted.internet import reactor as the_reactor
from twisted.internet import tcp
from twisted.internet.task import deferLater
from twisted.mail import smtp
from twisted.trial.unittest import SynchronousTestCase, TestCase

from umd.messaging import pin as module
from umd.messaging.pin import (
    NoDelivery,
    PinNotSent,
    SmtpDelivery,
    SpoolDelivery,
)
from umd.messaging.pin import _is_weak as is_weak
from umd.messaging.pin import hash_pin, make_pin, verify_pin


class MakeTests(SynchronousTestCase):
    def test_weak_pins_are_not_made(self) -> None:
        for pin in ("1111", "1212", "1234", "98765", "567890", "121212", "7777777", "123123"):
            self.assertTrue(is_weak(pin), pin)
        for pin in ("1357", "1928", "482915", "100234"):
            self.assertFalse(is_weak(pin), pin)
        made = {make_pin(4) for _ in range(200)}
        self.assertGreater(len(made), 150)
        self.assertFalse(any(map(is_weak, made)))

    def test_the_old_pin_is_not_made_again(self) -> None:
        digits = iter("4829" + "1357")
        self.patch(secrets, "choice", lambda _: next(digits))
        self.assertEqual(make_pin(4, hash_pin("4829")), "1357")

    def test_a_hash(self) -> None:
        hashed = hash_pin("482915")
        self.assertTrue(verify_pin("482915", hashed))
        self.assertFalse(verify_pin("482916", hashed))
        self.assertNotEqual(hashed, hash_pin("482915"))
        self.assertNotIn("482915", hashed)


class SpoolTests(TestCase):
    async def test_a_message_in_the_folder(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        await SpoolDelivery(str(folder), "umd@example.com").deliver("alice@example.com", "482915")
        (path,) = folder.iterdir()
        self.assertEqual((path.suffix, stat.S_IMODE(path.stat().st_mode)), (".eml", 0o600))
        message = message_from_bytes(path.read_bytes())
        self.assertEqual((message["To"], message["From"]), ("alice@example.com", "umd@example.com"))
        self.assertIn("482915", message.get_payload())

    async def test_a_folder_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(PinNotSent, "/nowhere"):
            await SpoolDelivery("/nowhere", "umd@example.com").deliver("a@example.com", "482915")

    async def test_a_user_name_cannot_inject_a_header(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        with self.assertRaises(PinNotSent):
            await SpoolDelivery(str(folder), "umd@example.com").deliver(
                "a@example.com\r\nBcc: evil@example.com", "482915"
            )
        self.assertEqual(os.listdir(folder), [])

    async def test_no_delivery(self) -> None:
        with self.assertRaisesRegex(PinNotSent, "pin.delivery"):
            await NoDelivery().deliver("a@example.com", "482915")


reactor: Any = the_reactor


class Inbox(smtp.SMTPFactory):
    """A mail server that keeps the messages it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[list[bytes]] = []
        self.noisy = False

    def buildProtocol(self, addr: Any) -> protocol.Protocol:
        server = smtp.ESMTP()
        server.factory = self
        server.delivery = self
        return server

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: here"

    def validateTo(self, user: Any) -> Any:
        return lambda: Letter(self)


class Letter:
    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> defer.Deferred[None]:
        self.inbox.messages.append(self.lines)
        return defer.succeed(None)

    def connectionLost(self) -> None:
        pass


class SmtpTests(TestCase):
    async def tearDown(self) -> None:  # type: ignore[override]  # trial awaits it
        """The server accepts the message before the connection closes."""
        while any(isinstance(one, (tcp.Client, tcp.Server)) for one in reactor.getReaders()):
            await deferLater(reactor, 0)

    async def test_a_message_to_a_mail_server(self) -> None:
        inbox = Inbox()
        port = reactor.listenTCP(0, inbox, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        delivery = SmtpDelivery(
            "127.0.0.1", port.getHost().port, "umd@example.com", reactor, tls=False
        )
        await delivery.deliver("alice@example.com", "482915")
        (lines,) = inbox.messages
        self.assertIn(b"To: alice@example.com", lines)
        self.assertIn(b"482915", lines)

    async def test_a_server_without_tls_where_it_is_required(self) -> None:
        """A PIN crosses the network unencrypted only if pin.smtp_tls is false."""
        inbox = Inbox()
        port = reactor.listenTCP(0, inbox, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        delivery = SmtpDelivery("127.0.0.1", port.getHost().port, "umd@example.com", reactor)
        with self.assertRaisesRegex(PinNotSent, "pin.smtp"):
            await delivery.deliver("alice@example.com", "482915")
        self.assertEqual(inbox.messages, [])

    async def test_no_server(self) -> None:
        port = reactor.listenTCP(0, Inbox(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        with self.assertRaisesRegex(PinNotSent, "pin.smtp"):
            await SmtpDelivery("127.0.0.1", number, "umd@example.com", reactor).deliver(
                "alice@example.com", "482915"
            )

    async def test_a_silent_server(self) -> None:
        self.patch(module, "SMTP_TIMEOUT", 0.05)
        silent = protocol.Factory.forProtocol(protocol.Protocol)
        port = reactor.listenTCP(0, silent, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        delivery = SmtpDelivery("127.0.0.1", port.getHost().port, "umd@example.com", reactor)
        with self.assertRaisesRegex(PinNotSent, "pin.smtp"):
            await delivery.deliver("alice@example.com", "482915")
