"""
Six HTTP clients use umd over TLS: each places, watches and ends a call, once with a user name and
password, and once with a client certificate.

`clients/README.md` describes the clients.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import argon2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12

from tests.http.helpers import Authority, key_pem
from tests.interop.soap_clients import HTTPS_CLIENTS, Conversation
from tests.interop.test_soap_clients import ENTRY_ID, NUMBER, UNKNOWN, SoapClientCase
from umd.testing import UmdProcess


class HttpsClientTests(SoapClientCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        ours, clients = Authority("ours"), Authority("clients")
        certificate, key = ours.write("localhost", self.folder / "umd")
        (self.folder / "authority.pem").write_text(ours.pem())
        (self.folder / "clients.pem").write_text(clients.pem())
        self.write_client(clients)
        hashed = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("right")
        (self.folder / "passwords").write_text(f"alice:{hashed}\n")
        self.file = self.folder / "umd.toml"
        self.file.write_text(
            '[http]\nlisten_tls = "tcp:0:interface=127.0.0.1"\n'
            f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
            f'client_ca = "{self.folder}/clients.pem"\n'
            f'[auth]\npassword_file = "{self.folder}/passwords"\n'
            '[auth.subjects]\n"CN=pbx-1" = "pbx"\n[backend.sim]\n'
        )

    def write_client(self, authority: Authority) -> None:
        """Write a certificate and its key, as PEM and PKCS #12."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority.sign("pbx-1", key)
        (self.folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (self.folder / "key.pem").write_bytes(key_pem(key))
        (self.folder / "client.p12").write_bytes(
            pkcs12.serialize_key_and_certificates(
                b"pbx-1", key, certificate, None, BestAvailableEncryption(b"store")
            )
        )

    def assert_completes_a_call(self, name: str, principal: str, *password: str) -> None:
        """Place a call, wait until it is connected, end it, and end a call that does not exist."""
        client = HTTPS_CLIENTS[name]
        client.need()
        client = replace(client, arguments=(str(self.folder), *password))
        with UmdProcess("serve", "-c", str(self.file), "-o", "http.listen=[]") as umd:
            url = umd.url.replace("127.0.0.1", "localhost")
            self.assertTrue(url.startswith("https://localhost:"))
            with Conversation(client, url, Path(self.mktemp())) as conversation:
                call = conversation.ask("place", ENTRY_ID, NUMBER)["call"]
                self.assertEqual(self.first_state_after_connecting(conversation, call), "Connected")
                self.assertEqual(umd.events("call.disconnected"), [])
                self.assertEqual(conversation.ask("end", call), {"ended": True})
                self.assertEqual(
                    conversation.ask("state", call), {"state": "Disconnected", "cause": "None"}
                )
                self.assert_invalid_call_id_fault(conversation.ask("end", UNKNOWN), "500")
            self.assertEqual(umd.stop(), 0)
            (placed,) = umd.events("call.placed")
            (ended,) = umd.events("call.disconnected")
            self.assertEqual((placed["call"], placed["owner"]), (call, principal))
            self.assertEqual((ended["call"], ended["by"]), (call, "client"))
            self.assertEqual(ended["outcome"], "ended")
            answered = umd.events("soap.answered")
            self.assertEqual({line["principal"] for line in answered}, {principal})
            refused = [line["path"] for line in umd.events("http.refused")]
            self.assertLessEqual(set(refused), {"/favicon.ico"})  # a browser requests it by itself

    def assert_with_each(self, name: str) -> None:
        self.assert_completes_a_call(name, "alice", "alice:right")
        self.assert_completes_a_call(name, "pbx")

    def test_curl(self) -> None:
        self.assert_with_each("curl")

    def test_urllib(self) -> None:
        self.assert_with_each("urllib")

    def test_requests(self) -> None:
        self.assert_with_each("requests")

    def test_fetch_of_node(self) -> None:
        self.assert_with_each("fetch")

    def test_http_client_of_the_jdk(self) -> None:
        self.assert_with_each("jdk")

    def test_chromium(self) -> None:
        self.assert_with_each("chromium")
