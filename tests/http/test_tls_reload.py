"""A reload replaces the certificate under load without one failed request."""

from __future__ import annotations

import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from tests.http.helpers import Authority
from tests.soap.test_contract import disconnect
from umd.call.call_id import make_call_id
from umd.testing import UmdProcess

PATH = "/EWS/UM2007Legacy.asmx"
CALL = make_call_id("seed-0", "lab")
CLIENTS_OF_EACH_KIND = 4
"""Clients that keep their connection, and as many that connect again for each request."""
RELOADS = 6
REQUESTS_BETWEEN_RELOADS = 25
"""Requests that each client sends at least between two reloads."""


class Load:
    """
    Clients that send requests in a loop, each in its own thread.

    Args:
        connect: returns a connection that is not open yet.
    """

    def __init__(self, connect: Callable[[], HTTPSConnection]) -> None:
        self.failures: list[str] = []
        self.serials: Counter[int] = Counter()
        """How often each certificate was shown."""
        self._connect = connect
        self._made = [0] * (2 * CLIENTS_OF_EACH_KIND)
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, number < CLIENTS_OF_EACH_KIND))
            for number in range(2 * CLIENTS_OF_EACH_KIND)
        ]

    @property
    def requests(self) -> int:
        return sum(self._made)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_requests(self) -> None:
        """Return when each client has sent that many more requests, or one has failed."""
        with self._changed:
            until = [made + REQUESTS_BETWEEN_RELOADS for made in self._made]
            while not self.failures and any(map(int.__lt__, self._made, until)):
                if not self._changed.wait(60):
                    raise TimeoutError(f"made {self._made} of {until}")

    def _run(self, number: int, stays: bool) -> None:
        connection = self._connect()
        while not self._over.is_set():
            try:
                self._send_request(connection)
            except (OSError, HTTPException, AssertionError) as error:
                with self._changed:
                    self.failures.append(f"{'kept' if stays else 'new'}: {error!r}")
                    self._changed.notify_all()
                return
            if not stays:
                connection.close()
            with self._changed:
                self._made[number] += 1
                self._changed.notify_all()
        connection.close()

    def _send_request(self, connection: HTTPSConnection) -> None:
        if connection.sock is None:
            connection.connect()
            with self._changed:
                self.serials[serial(connection)] += 1
        connection.request("POST", PATH, disconnect(CALL), {"Content-Type": "text/xml"})
        with connection.getresponse() as answer:
            answer.read()
            assert answer.status == 200, answer.status


def serial(connection: HTTPSConnection) -> int:
    der = connection.sock.getpeercert(True)
    assert isinstance(der, bytes)
    return x509.load_der_x509_certificate(der).serial_number


class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.ours = Authority("ours")
        certificate, key = self.ours.write("localhost", self.folder)
        file = self.folder / "umd.toml"
        file.write_text(
            f'[http]\nlisten_tls = "tcp:0:interface=127.0.0.1"\n'
            f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
            f'[[backend.sim.seed]]\nnumber = "5550100"\ncall_id = "{CALL}"\n'
        )
        self.umd = UmdProcess("serve", "-c", str(file), "-o", "http.listen=[]")
        self.umd.__enter__()
        self.addCleanup(self.umd.stop)
        self.port = int(self.umd.url.split("/")[2].rpartition(":")[2])

    def connect(self) -> HTTPSConnection:
        context = ssl.create_default_context(cadata=self.ours.pem())
        return HTTPSConnection("localhost", self.port, context=context, timeout=60)

    def shown(self) -> int:
        """Return the serial number of the certificate that a new connection gets."""
        connection = self.connect()
        self.addCleanup(connection.close)
        connection.connect()
        return serial(connection)

    def written(self) -> int:
        pem = (self.folder / "certificate.pem").read_bytes()
        return x509.load_pem_x509_certificate(pem).serial_number

    def reload(self, event: str) -> None:
        """Send SIGHUP and wait for this event."""
        before = len(self.umd.events(event))
        self.umd.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 60
        while len(self.umd.events(event)) == before:
            self.assertLess(time.monotonic(), until, f"no {event}: {self.umd.log[-5:]}")
            time.sleep(0.01)

    def test_new_certificates_fail_no_request(self) -> None:
        written = [self.written()]
        with Load(self.connect) as load:
            for _ in range(RELOADS):
                load.wait_for_requests()
                self.ours.write("localhost", self.folder)
                written.append(self.written())
                self.reload("config.reloaded")
                self.assertEqual(self.shown(), written[-1])
            load.wait_for_requests()
        handshakes = sum(load.serials.values())
        print(f"{RELOADS} reloads, {load.requests} requests, {handshakes} handshakes, "
              f"{len(load.failures)} failed")  # fmt: skip
        self.assertEqual(load.failures, [])
        # New connections got each certificate in turn, and no other.
        self.assertEqual(set(load.serials), set(written))
        self.assertEqual(self.umd.events("tls.handshake-failed"), [])

    def test_a_key_of_another_certificate_changes_nothing(self) -> None:
        before = self.written()
        with Load(self.connect) as load:
            for _ in range(RELOADS):
                load.wait_for_requests()
                key = (self.folder / "key.pem").read_bytes()
                self.ours.write("localhost", self.folder)
                (self.folder / "key.pem").write_bytes(key)
                self.reload("config.refused")
            load.wait_for_requests()
        print(f"{RELOADS} refused reloads, {load.requests} requests, {len(load.failures)} failed")
        self.assertEqual(load.failures, [])
        self.assertEqual(set(load.serials), {before})
        for line in self.umd.events("config.refused"):
            (mistake,) = line["mistakes"]
            self.assertIn('key.pem": not the key of the certificate in ', mistake)
        self.assertEqual(self.umd.events("config.reloaded"), [])
