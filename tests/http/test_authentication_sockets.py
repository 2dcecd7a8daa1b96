"""Authentication in a running daemon: Basic, client certificates, and reloads."""

from __future__ import annotations

import base64
import signal
import socket
import ssl
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import argon2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from tests.daemon.processes import as_systemd
from tests.http.helpers import Authority
from tests.soap.test_contract import disconnect
from umd.call.call_id import make_call_id
from umd.testing import UmdProcess

PATH = "/EWS/UM2007Legacy.asmx"
XML = {"Content-Type": "text/xml"}
SEED = f'[[backend.sim.seed]]\nnumber = "5550100"\ncall_id = "{make_call_id("seed-0", "lab")}"\n'


class DaemonCase(SynchronousTestCase):
    def serve(self, text: str, *options: str) -> UmdProcess:
        self.file = Path(self.mktemp()).absolute()
        self.file.write_text(text)
        process = UmdProcess("serve", "-c", str(self.file), *options)
        process.__enter__()
        self.addCleanup(process.stop)
        return process


class BasicTests(DaemonCase):
    def setUp(self) -> None:
        passwords = self.passwords = Path(self.mktemp()).absolute()
        hashed = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("right")
        passwords.write_text(f"alice:{hashed}\nroot:{hashed}\n")
        self.umd = self.serve(
            f'[auth]\npassword_file = "{passwords}"\n'
            '[auth.scopes]\nroot = ["calls:end:any"]\n' + SEED
        )

    def test_challenge_and_response_on_one_connection(self) -> None:
        """The 401 has an empty body and keeps the connection, as some clients require."""
        client = HTTPConnection(self.umd.url.split("/")[2], timeout=20)
        self.addCleanup(client.close)
        body = disconnect(make_call_id("seed-0", "lab"))
        client.request("POST", PATH, body, XML)
        with client.getresponse() as answer:
            self.assertEqual((answer.status, answer.read()), (401, b""))
            offer = answer.headers["WWW-Authenticate"]
            self.assertEqual(offer, 'Basic realm="umd", charset="UTF-8"')
        assert client.sock is not None
        before = client.sock.getsockname()
        statuses = []
        for name, password in (("alice", "wrong"), ("alice", "right"), ("root", "right")):
            credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
            client.request("POST", PATH, body, XML | {"Authorization": "Basic " + credentials})
            with client.getresponse() as answer:
                answer.read()
                statuses.append((answer.status, answer.headers["X-UMD-Outcome"]))
        # It is not alice's call: it looks as if there were none.
        self.assertEqual(statuses, [(401, None), (500, "unknown"), (200, "ended")])
        self.assertEqual(client.sock.getsockname(), before)
        self.assertEqual(len(self.umd.events("auth.failed")), 1)
        self.umd.wait_for("control.forbidden", principal="alice", action="end")
        self.umd.wait_for("soap.answered", principal="root", outcome="ended")
        self.assertNotIn("right", str(self.umd.log))

    def test_a_removed_user_loses_open_connections_too(self) -> None:
        client = HTTPConnection(self.umd.url.split("/")[2], timeout=20)
        self.addCleanup(client.close)
        credentials = base64.b64encode(b"alice:right").decode()
        headers = XML | {"Authorization": "Basic " + credentials}

        def ask() -> int:
            client.request("POST", PATH, disconnect("x"), headers)
            with client.getresponse() as answer:
                answer.read()
                return answer.status

        self.assertEqual(ask(), 500)
        lines = self.passwords.read_text().splitlines()
        self.passwords.write_text(lines[1] + "\n")
        self.umd.process.send_signal(signal.SIGHUP)
        self.umd.wait_for("config.reloaded")
        self.assertEqual(ask(), 401)

    def test_a_wrong_password_file_at_a_reload_changes_nothing(self) -> None:
        self.file.write_text('[auth]\npassword_file = "/nowhere"\n')
        self.umd.process.send_signal(signal.SIGHUP)
        line = self.umd.wait_for("config.refused")
        self.assertEqual(line["mistakes"], ["/nowhere: No such file or directory"])
        self.assertEqual(self.umd.disconnect("x")[0], 401)


class OpenAddressTests(DaemonCase):
    def test_with_authentication_umd_may_listen_on_any_address(self) -> None:
        umd = self.serve(
            '[http]\nlisten = "tcp:0"\n[auth]\ntrusted_proxies = ["127.0.0.1"]\n',
            "-o",
            "http.listen=tcp:0",
        )
        umd.url = umd.url.replace("0.0.0.0", "127.0.0.1")
        self.assertEqual(umd.disconnect("x")[0], 403)


class TlsTests(DaemonCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.ours = Authority("ours")
        certificate, key = self.ours.write("localhost", self.directory)
        clients = self.directory / "clients.pem"
        self.clients = Authority("clients")
        clients.write_text(self.clients.pem())
        self.umd = self.serve(
            f'[http]\nlisten_tls = "tcp:0:interface=127.0.0.1"\n'
            f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nclient_ca = "{clients}"\n'
            '[auth.subjects]\n"CN=pbx-1" = "pbx"\n' + SEED
        )
        self.port = int(self.umd.wait_for("daemon.ready")["listen"][1].rpartition(":")[2])

    def connect(self, client: tuple[str, str] | None = None, **options: object) -> HTTPSConnection:
        context = ssl.create_default_context(cadata=self.ours.pem())
        for name, value in options.items():
            setattr(context, name, value)
        if client is not None:
            context.load_cert_chain(*client)
        connection = HTTPSConnection("localhost", self.port, context=context, timeout=20)
        self.addCleanup(connection.close)
        return connection

    def ask(self, connection: HTTPSConnection, method: str = "GET", path: str = "/") -> int:
        connection.request(method, path)
        with connection.getresponse() as answer:
            answer.read()
            return answer.status

    def serial(self, connection: HTTPSConnection) -> int:
        der = connection.sock.getpeercert(True)
        assert isinstance(der, bytes)
        return x509.load_der_x509_certificate(der).serial_number

    def test_a_client_certificate_authenticates(self) -> None:
        known = self.clients.write("pbx-1", self.directory / "pbx-1")
        self.assertEqual(self.ask(self.connect(known)), 200)
        other = self.clients.write("other", self.directory / "other")
        self.assertEqual(self.ask(self.connect(other)), 403)
        self.assertEqual(self.ask(self.connect()), 403)
        stranger = Authority("strangers").write("pbx-1", self.directory / "stranger")
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.ask(self.connect(stranger))

    def test_a_certificate_with_a_name_that_is_not_text(self) -> None:
        """The client gets the usual 403. An octet of Latin-1 in the name had caused a 500."""
        key = ec.generate_private_key(ec.SECP256R1())
        printable, teletex = 0x13, 0x14  # X.680: strings of old certificates
        for kind, name in (
            (printable, b"caf\xe9"), (teletex, b"pbx-\xff"), (teletex, b"pbx-1\x00\xe9"),
        ):  # fmt: skip
            files = self.clients.write("any", self.directory / "odd", key)
            octets = self.clients.sign_octets(name, key, kind)
            Path(files[0]).write_text(ssl.DER_cert_to_PEM_cert(octets))
            self.assertEqual(self.ask(self.connect(files)), 403)
        self.assertEqual(self.umd.events("http.failed"), [])

    def test_the_wsdl_says_https(self) -> None:
        client = self.connect(self.clients.write("pbx-1", self.directory / "pbx-1"))
        client.request("GET", PATH + "?wsdl")
        with client.getresponse() as answer:
            self.assertIn(f"https://localhost:{self.port}/".encode(), answer.read())

    def test_tls_1_1_is_refused(self) -> None:
        old = self.connect(maximum_version=ssl.TLSVersion.TLSv1_1)
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.ask(old)
        self.assertEqual(self.ask(self.connect(maximum_version=ssl.TLSVersion.TLSv1_2)), 403)

    def test_a_new_certificate_keeps_open_connections(self) -> None:
        staying = self.connect()
        self.assertEqual(self.ask(staying), 403)
        socket_before, serial = staying.sock, self.serial(staying)
        self.ours.write("localhost", self.directory)
        self.umd.process.send_signal(signal.SIGHUP)
        self.umd.wait_for("config.reloaded")
        self.assertEqual(self.ask(staying), 403)
        self.assertIs(staying.sock, socket_before)
        fresh = self.connect()
        fresh.connect()
        self.assertNotEqual(self.serial(fresh), serial)

    def test_a_damaged_certificate_at_a_reload_changes_nothing(self) -> None:
        (self.directory / "certificate.pem").write_text("nothing")
        self.umd.process.send_signal(signal.SIGHUP)
        (mistake,) = self.umd.wait_for("config.refused")["mistakes"]
        self.assertIn(":4: tls.certificate = ", mistake)
        self.assertIn("certificate.pem\": text, and not PEM; name a PEM file", mistake)
        self.assertEqual(self.ask(self.connect()), 403)

    def test_an_expired_certificate_is_served_with_a_warning(self) -> None:
        self.ours.write("localhost", self.directory, days=(-2, -1))
        self.umd.process.send_signal(signal.SIGHUP)
        self.umd.wait_for("config.reloaded")
        warning = self.umd.wait_for("tls.certificate-not-valid")
        self.assertEqual(warning["level"], "warning")
        self.assertIn("CN=localhost expired at 20", warning["why"])
        careless = self.connect(check_hostname=False, verify_mode=ssl.CERT_NONE)
        self.assertEqual(self.ask(careless), 403)


class HttpsOnlyTests(DaemonCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.ours = Authority("ours")
        self.files = self.ours.write("localhost", self.directory)
        self.text = (
            "[http]\nlisten = []\n"
            '[tls]\ncertificate = "{0}"\nkey = "{1}"\n'.format(*self.files) + SEED
        )

    def options(self, listen: str) -> tuple[str, ...]:
        return ("-o", f"http.listen_tls={listen}")

    def assert_served(self, port: int) -> None:
        context = ssl.create_default_context(cadata=self.ours.pem())
        client = HTTPSConnection("localhost", port, context=context, timeout=20)
        self.addCleanup(client.close)
        client.request("GET", PATH + "?wsdl")
        with client.getresponse() as answer:
            address = f'location="https://localhost:{port}{PATH}"'
            self.assertIn(address.encode(), answer.read())
        client.request("POST", PATH, disconnect(make_call_id("seed-0", "lab")), XML)
        with client.getresponse() as answer:
            answer.read()
            self.assertEqual(answer.headers["X-UMD-Outcome"], "ended")

    def test_on_a_port(self) -> None:
        umd = self.serve(self.text, *self.options("tcp:0:interface=127.0.0.1"))
        ready = umd.wait_for("daemon.ready")
        (address,) = ready["listen"]
        self.assertTrue(ready["listeners"][0]["tls"])
        self.assertEqual(umd.url, f"https://{address}{PATH}")
        self.assert_served(int(address.rpartition(":")[2]))

    def test_on_the_socket_of_systemd(self) -> None:
        """As in systemd/umd.service with the option for HTTPS only."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            self.file = Path(self.mktemp()).absolute()
            self.file.write_text(self.text.replace("listen = []\n", ""))
            umd = UmdProcess(
                "serve", "-c", str(self.file), "-o", "http.listen=[]",
                *self.options("systemd:domain=INET:index=0"),
                launcher=as_systemd(listening),
                pass_fds=(listening.fileno(),),
            )  # fmt: skip
            with umd:
                self.assert_served(port)

    def test_unusable_files_at_the_start(self) -> None:
        """umd logs one line and does not start."""
        Path(self.files[1]).write_text("")
        with self.assertRaises(TimeoutError) as caught:
            self.serve(self.text, *self.options("tcp:0:interface=127.0.0.1"))
        message = str(caught.exception)
        self.assertIn("daemon.cannot-start", message)
        self.assertIn(":5: tls.key = ", message)
        self.assertIn("the file is empty; name a PEM file", message)
