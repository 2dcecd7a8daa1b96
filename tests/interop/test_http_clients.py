"""
HTTP clients of other projects use umd over plain HTTP: curl and the client of the JDK offer HTTP/2
(`Upgrade: h2c`), and a client that uses umd as its proxy sends full URLs as request targets.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import missing
from tests.interop.soap_clients import PATIENCE, PROGRAMS
from umd.soap.namespaces import MESSAGES
from umd.testing import UmdProcess
from umd.testing.process import REQUEST

CURL = "curl with HTTP/2: apt-get install curl"
JDK = "a JDK 11 or later: apt-get install default-jdk-headless"


def output_of(*command: str, install: str) -> str:
    """Return the output of a command; skip the test if the command does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except OSError:
        missing(install)
    return done.stdout + done.stderr


class HttpClientCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def file_of(self, call_id: str) -> str:
        """Write a Disconnect to a file; return its path."""
        path = self.folder / f"{call_id}.xml"
        path.write_text(REQUEST.format(namespace=MESSAGES, call_id=call_id))
        return str(path.absolute())


class CurlTests(HttpClientCase):
    def curl(self, *arguments: str) -> str:
        command = ("curl", "--silent", "--show-error", "--noproxy", "", *arguments)
        return output_of(*command, install=CURL)

    def setUp(self) -> None:
        super().setUp()
        if "HTTP2" not in output_of("curl", "--version", install=CURL):
            missing(CURL)

    def test_an_offer_of_http_2_is_ignored(self) -> None:
        with UmdProcess() as umd:
            shown = "--write-out", "%{http_version} %{http_code} %{num_connects}\n"
            sends = "-H", "Content-Type: text/xml", "--data-binary", f"@{self.file_of('none')}"
            output = self.curl("--http2", "-o", "/dev/null", *shown, f"{umd.url}?wsdl")
            self.assertEqual(output, "1.1 200 1\n")
            # Both requests of one process use one connection.
            twice = self.curl("--http2", *sends, *shown, umd.url, umd.url)
            self.assertEqual(twice.count("a:InvalidCallIdException</faultcode>"), 2)
            self.assertIn("1.1 500 1\n", twice)
            self.assertIn("1.1 500 0\n", twice)
            self.assertEqual(umd.stop(), 0)
            outcomes = [line["outcome"] for line in umd.events("soap.answered")]
            self.assertEqual((outcomes, umd.events("http.refused")), (["unknown"] * 2, []))

    def test_http_2_with_prior_knowledge_is_refused(self) -> None:
        with UmdProcess() as umd:
            output = self.curl("--http2-prior-knowledge", umd.url)
            self.assertIn("curl: (", output)
            self.assertEqual(umd.wait_for("http.refused")["status"], 505)

    def test_a_client_that_uses_umd_as_its_proxy(self) -> None:
        """The request target is a full URL; the WSDL has the host of that URL."""
        with UmdProcess() as umd:
            port = urlsplit(umd.url).port
            for name, status in (("localhost", "200"), ("evil.example", "421")):
                url = f"http://{name}:{port}/EWS//Exchange%2Easmx?wsdl"
                output = self.curl("-x", f"http://127.0.0.1:{port}", "-w", "%{http_code}", url)
                self.assertTrue(output.endswith(status), output[-100:])
                address = f'<soap:address location="http://{name}:{port}/EWS/Exchange.asmx"'
                self.assertEqual(address in output, status == "200", output[-500:])


class JdkTests(HttpClientCase):
    def test_an_offer_of_http_2_is_ignored(self) -> None:
        if "javac" not in output_of("javac", "-version", install=JDK):
            missing(JDK)
        with UmdProcess() as umd:
            program = str(PROGRAMS / "JdkOffersH2c.java")
            bodies = [self.file_of("one"), self.file_of("two")]
            output = output_of("java", program, umd.url, *bodies, install=JDK)
            expected = ["HTTP_1_1 500 unknown soap"] * 2 + ["HTTP_1_1 200 - wsdl"]
            self.assertEqual(output.splitlines(), expected)
            self.assertEqual(umd.stop(), 0)
            self.assertEqual([line["call"] for line in umd.events("soap.answered")], ["one", "two"])
            self.assertEqual(umd.events("http.refused"), [])
