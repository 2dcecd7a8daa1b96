"""The commands of docs/tls.md make certificates that strict clients accept."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

PAGE = Path(__file__).parents[2] / "docs" / "tls.md"


def commands() -> str:
    """Return the lines for the shell that make a certificate."""
    blocks: list[str] = re.findall(r"(?:^    .+\n)+", PAGE.read_text(), re.MULTILINE)
    (block,) = (block for block in blocks if "openssl req -x509" in block)
    return block


class TlsPageTests(SynchronousTestCase):
    def test_the_certificate_of_the_page_is_accepted(self) -> None:
        """Also by a client that checks it as Python 3.13 does (`ssl.VERIFY_X509_STRICT`)."""
        if shutil.which("openssl") is None:
            raise SkipTest("needs openssl: apt-get install openssl")
        directory = Path(self.mktemp())
        directory.mkdir()
        subprocess.run(
            ["sh", "-euc", commands()], cwd=directory, check=True, capture_output=True, timeout=60
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
        client = ssl.create_default_context(cafile=str(directory / "authority.pem"))
        client.verify_flags |= ssl.VERIFY_X509_STRICT
        self.assertTrue(handshake(client, server, "umd.lab"))


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> str | None:
    """Let a client and a server shake hands in memory; return the version of TLS."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, to_server, server_hostname=name)
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client_side, server_side):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return client_side.version()
