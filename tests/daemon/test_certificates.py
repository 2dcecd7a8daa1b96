"""The files of `[tls]`: which umd accepts, and the messages about the others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.http.helpers import Authority, Key, key_pem
from umd.config import ConfigError, load
from umd.config.sections import TlsSection
from umd.daemon.certificates import open_tls, read_credentials
from umd.http.tls import Credentials, make_context


class CertificateCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.ours = Authority("ours")
        certificate, key = self.ours.write("localhost", self.folder)
        self.certificate, self.key = Path(certificate), Path(key)
        self.client_ca = self.folder / "clients.pem"
        self.client_ca.write_text(self.ours.pem())

    def text(self) -> str:
        return (
            '[http]\nlisten_tls = "tcp:0:interface=127.0.0.1"\n\n'
            f'[tls]\ncertificate = "{self.certificate}"\nkey = "{self.key}"\n'
            f'client_ca = "{self.client_ca}"\n'
        )

    def load(self) -> list[str]:
        """Open the files that a configuration names, and return the warnings."""
        self.file = self.folder / "umd.toml"
        self.file.write_text(self.text())
        return open_tls(load(str(self.file)))[1]

    def messages(self) -> list[str]:
        """Return the messages about unusable files, with short paths."""
        error = self.assertRaises(ConfigError, self.load)
        return [line.replace(f"{self.folder}/", "") for line in error.mistakes]


class GoodFilesTests(CertificateCase):
    def read(self) -> Credentials:
        section = TlsSection(certificate=str(self.certificate), key=str(self.key))
        credentials = read_credentials(section)
        make_context(credentials)
        return credentials

    def test_keys_of_each_type(self) -> None:
        keys: tuple[Key, ...] = (
            ec.generate_private_key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate(),
        )
        for key in keys:
            self.ours.write("localhost", self.folder, key)
            self.assertEqual(type(self.read().key), type(key))

    def test_a_key_in_an_older_format(self) -> None:
        """An EC PRIVATE KEY after EC PARAMETERS, as `openssl ecparam -genkey` writes it."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.ours.write("localhost", self.folder, key)
        parameters = b"""-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
"""
        older = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        self.key.write_bytes(parameters + older)
        self.read()

    def test_text_around_pem_and_odd_line_ends(self) -> None:
        """CRLF, blanks at line ends, a byte order mark, and text around the blocks are accepted."""
        pem = self.certificate.read_text()
        for changed in (
            pem.replace("\n", "\r\n"),
            pem.replace("\n", " \n"),
            "\ufeff" + pem,
            "Certificate:\n    Data:\n        Version: 3\n" + pem + "the end\n",
            "subject=CN = localhost\r\n" + pem,
            pem.rstrip("\n"),
        ):
            self.certificate.write_text(changed)
            self.assertEqual(len(self.read().chain), 1)

    def test_certificate_and_key_in_one_file_in_any_order(self) -> None:
        certificate, key = self.certificate.read_bytes(), self.key.read_bytes()
        self.key = self.certificate
        for both in (certificate + key, key + certificate):
            self.certificate.write_bytes(both)
            self.read()

    def test_a_chain_in_any_order_is_sorted(self) -> None:
        between = Authority("between")
        between.certificate = self.ours.sign("between", between.key, ca=True)
        between.write("localhost", self.folder)
        own, above, top = self.certificate.read_text(), between.pem(), self.ours.pem()
        for file in (own + above + top, own + top + above, top + above + own, above + own + top):
            self.certificate.write_text(file)
            names = [certificate.subject.rfc4514_string() for certificate in self.read().chain]
            self.assertEqual(names, ["CN=localhost", "CN=between", "CN=ours"])

    def test_other_certificates_come_after_the_chain(self) -> None:
        """For example a cross-certificate of the authority, which some clients need."""
        self.certificate.write_text(Authority("other").pem() + self.certificate.read_text())
        names = [certificate.subject.rfc4514_string() for certificate in self.read().chain]
        self.assertEqual(names, ["CN=localhost", "CN=other"])


class MistakeTests(CertificateCase):
    def test_a_key_of_another_certificate(self) -> None:
        self.key.write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1())))
        self.assertEqual(
            self.messages(),
            [
                'umd.toml:6: tls.key = "key.pem": not the key of the certificate in '
                "certificate.pem; name the key it was made for"
            ],
        )

    def test_an_encrypted_key(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        older = rsa.generate_private_key(65537, 2048).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        legacy = re.sub(
            rb"-----BEGIN PRIVATE KEY-----\n",
            b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
            b"DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n",
            older,
        ).replace(b"END PRIVATE KEY", b"END RSA PRIVATE KEY")
        for pem in (key_pem(key, b"secret"), legacy):
            self.key.write_bytes(pem)
            (line,) = self.messages()
            self.assertIn('umd.toml:6: tls.key = "key.pem": encrypted, and umd has no pass', line)

    def test_umd_does_not_ask_for_a_pass_phrase(self) -> None:
        """OpenSSL would ask on the terminal and block umd."""
        self.key.write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"))
        self.assertRaises(ConfigError, self.load)
        parent, child = os.openpty()
        self.addCleanup(os.close, parent)
        command = (sys.executable, "-m", "umd", "serve", "-c", str(self.file))
        try:
            process = subprocess.run(
                (*command, "-o", "control.socket=none"),
                stdin=child,
                stdout=child,
                stderr=subprocess.PIPE,
                start_new_session=True,
                timeout=60,
            )
        finally:
            os.close(child)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"encrypted, and umd has no pass phrase", process.stderr)
        self.assertRaises(OSError, os.read, parent, 1)  # nothing was written there

    def test_files_that_cannot_be_read(self) -> None:
        self.certificate.unlink()
        self.key.unlink()
        self.key.mkdir()
        self.client_ca.unlink()
        os.mkfifo(self.client_ca)
        none = "No such file or directory"
        way_out = "; name a PEM file that umd's user may read"
        self.assertEqual(
            self.messages(),
            [
                f'umd.toml:5: tls.certificate = "certificate.pem": {none}{way_out}',
                f'umd.toml:6: tls.key = "key.pem": not a regular file{way_out}',
                f'umd.toml:7: tls.client_ca = "clients.pem": not a regular file{way_out}',
            ],
        )

    def test_files_without_a_certificate(self) -> None:
        key, pem = self.key.read_bytes(), self.certificate.read_bytes()
        der = self.ours.certificate.public_bytes(Encoding.DER)
        for octets, message in (
            (b"", "the file is empty; name a PEM file"),
            (b" \r\n\n", "the file is empty; name a PEM file"),
            (b"ssh-ed25519 AAAA me@here\n", "text, and not PEM; name a PEM file"),
            (key, "the file has no certificate, only PRIVATE KEY; name a file that has one"),
            (der, "DER, and not PEM; convert it: openssl x509 -inform DER -in FILE -out NEW"),
            (pem[:100], "text, and not PEM; name a PEM file"),
            (pem[:60] + pem[90:], "certificate 1 in the file is damaged; copy it again"),
            (pem + pem[:60] + pem[90:], "certificate 2 in the file is damaged; copy it again"),
            (pem.decode().encode("utf-16"), "text, and not PEM; name a PEM file"),
        ):
            self.certificate.write_bytes(octets)
            self.client_ca.write_bytes(octets)
            self.assertEqual(
                self.messages(),
                [
                    f'umd.toml:5: tls.certificate = "certificate.pem": {message}',
                    f'umd.toml:7: tls.client_ca = "clients.pem": {message}',
                ],
            )

    def test_files_without_a_usable_key(self) -> None:
        key, pem = self.key.read_bytes(), self.certificate.read_bytes()
        der = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        )
        for octets, message in (
            (b"", "the file is empty; name a PEM file"),
            (pem, "the file has no private key, only CERTIFICATE; name a file that has one"),
            (der, "DER, and not PEM; convert it: openssl pkey -inform DER -in FILE -out NEW"),
            (key[:40] + key[60:], "the private key is damaged or of an unknown kind"),
        ):
            self.key.write_bytes(octets)
            self.assertEqual(self.messages(), [f'umd.toml:6: tls.key = "key.pem": {message}'])

    def test_a_key_that_openssl_finds_too_small(self) -> None:
        self.ours.write("localhost", self.folder, rsa.generate_private_key(65537, 1024))
        (line,) = self.messages()
        self.assertEqual(
            line,
            'umd.toml:5: tls.certificate = "certificate.pem": OpenSSL does not accept it: '
            "ee key too small; make a new one",
        )

    def test_a_path_on_the_command_line(self) -> None:
        self.load()
        settings = load(str(self.file), ["tls.key=/none"])
        error = self.assertRaises(ConfigError, open_tls, settings)
        (line,) = error.mistakes
        self.assertTrue(line.startswith('-o tls.key=/none: tls.key = "/none": No such'), line)


class NotValidTests(CertificateCase):
    """umd serves a certificate outside its validity, as the clock may be wrong, and warns."""

    def warnings(self) -> list[str]:
        return [line.replace(f"{self.folder}/", "") for line in self.load()]

    def test_valid_now(self) -> None:
        self.assertEqual(self.warnings(), [])

    def test_expired(self) -> None:
        self.ours.write("localhost", self.folder, days=(-2, -1))
        (line,) = self.warnings()
        beginning = 'umd.toml:5: tls.certificate = "certificate.pem": CN=localhost expired at 20'
        self.assertTrue(line.startswith(beginning), line)
        self.assertTrue(line.endswith("Z; renew it"), line)

    def test_not_yet_valid(self) -> None:
        self.ours.write("localhost", self.folder, days=(1, 2))
        (line,) = self.warnings()
        self.assertIn("CN=localhost is valid only from 20", line)

    def test_an_authority_that_expired(self) -> None:
        old = self.ours.sign("old", self.ours.key, ca=True, days=(-2, -1))
        self.client_ca.write_bytes(old.public_bytes(Encoding.PEM))
        (line,) = self.warnings()
        self.assertIn('umd.toml:7: tls.client_ca = "clients.pem": CN=old expired at 20', line)
