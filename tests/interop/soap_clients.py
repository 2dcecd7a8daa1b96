"""SOAP and HTTP clients of other projects; each runs as a process that takes commands."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.helpers import missing

PROGRAMS: Final = Path(__file__).parent / "clients"
PATIENCE: Final = 120
"""Seconds after which a client is killed."""


class ClientFailed(Exception):
    """A client exited too early, or could not be built; the text has its output."""


@dataclass(frozen=True)
class SoapClient:
    """A client, and how to install and start it."""

    check: Sequence[str]
    """A command that succeeds if the client is installed."""
    install: str
    """The name of the client and the command that installs it."""
    command: Sequence[str]
    """The command of the program; the URL of the WSDL is appended."""
    build: Callable[[str, Path], Sequence[str]] | None = None
    """Builds the program from the WSDL in a directory; returns the command to use."""
    arguments: Sequence[str] = ()
    """Arguments after the URL."""

    def need(self) -> None:
        """
        Skip the test if the client is not installed.

        Raises:
            SkipTest: the client is not installed.
            AssertionError: the client is not installed, and CI=true.
        """
        try:
            subprocess.run(self.check, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            missing(self.install)


class Conversation:
    """
    A context manager that runs a client, which loads the WSDL and waits for commands.

    Args:
        client: the client.
        wsdl: the URL of the WSDL.
        folder: for the standard error of the client, and for its program if it is built.
    """

    def __init__(self, client: SoapClient, wsdl: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        build = client.build
        command = client.command if build is None else build(wsdl, folder)
        self._stderr = folder / "stderr"
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*command, wsdl, *client.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._watchdog = threading.Timer(PATIENCE, self._process.kill)
        self._watchdog.start()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            # A client exits at the end of its input.
            self._process.communicate()
        finally:
            self._watchdog.cancel()

    def ask(self, *words: str) -> dict[str, Any]:
        """
        Send a command, and return its result; `clients/README.md` lists both.

        Raises:
            ClientFailed: the client exited, or its output is not JSON.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write("\t".join(words) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError) as error:
            self._process.kill()
            self._process.wait()
            raise ClientFailed(f"{words}: {self._stderr.read_text(errors='replace')}") from error
        return answer


def _build_gsoap(wsdl: str, folder: Path) -> Sequence[str]:
    """Build a C++ client from the WSDL of the running daemon; return its command."""
    generated = ("soapC.cpp", "soapUnifiedMessagingBindingProxy.cpp")
    program = str(PROGRAMS / "gsoap_client.cpp")
    for step in (
        # The type map names the namespace in the generated code.
        ("wsdl2h", "-t", str(PROGRAMS / "gsoap_typemap.dat"), "-o", "um.h", wsdl),
        ("soapcpp2", "-j", "-C", "-x", "-I/usr/share/gsoap/import", "um.h"),
        ("g++", "-I.", "-o", "client", program, *generated, "-lgsoap++"),
    ):
        done = subprocess.run(step, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != 0:
            raise ClientFailed(f"{step}: {done.stdout}{done.stderr}")
    return [str((folder / "client").absolute())]


def _python(module: str, package: str, program: str, *arguments: str) -> SoapClient:
    return SoapClient(
        check=(sys.executable, "-c", f"import {module}"),
        install=f"{package}: pip install -e '.[test]'",
        command=(sys.executable, str(PROGRAMS / program)),
        arguments=arguments,
    )


_PHP: Final = SoapClient(
    check=("php", "-r", "exit(class_exists('SoapClient') ? 0 : 1);"),
    install="PHP with ext-soap: apt-get install php-cli php-soap",
    command=("php", str(PROGRAMS / "php_client.php")),
)
_GSOAP: Final = SoapClient(
    check=("sh", "-c", "wsdl2h -V && soapcpp2 -V && g++ -E -include stdsoap2.h -x c++ /dev/null"),
    install="gSOAP: apt-get install gsoap libgsoap-dev g++",
    command=(),
    build=_build_gsoap,
)

CLIENTS: Final = {
    "zeep": _python("zeep", "zeep", "zeep_client.py"),
    "suds": _python("suds", "suds-community", "suds_client.py"),
    "php": _PHP,
    "perl": SoapClient(
        check=("perl", "-MSOAP::Lite", "-e", "1"),
        install="SOAP::Lite: apt-get install libsoap-lite-perl",
        command=("perl", str(PROGRAMS / "perl_client.pl")),
    ),
    "gsoap": _GSOAP,
    "node": SoapClient(
        check=("node", "-e", "require('soap')"),
        install="Node's soap: npm install --prefix DIR soap; export NODE_PATH=DIR/node_modules",
        command=("node", str(PROGRAMS / "node_client.js")),
    ),
    "zeep, SOAP 1.2": _python("zeep", "zeep", "zeep_client.py", "UnifiedMessagingPort12"),
    "gsoap, SOAP 1.2": _GSOAP,
    "php, without WSDL": replace(_PHP, arguments=("rpc",)),
    "zeep, EWS": _python("zeep", "zeep", "zeep_ews_client.py"),
}

HTTPS_CLIENTS: Final = {
    "curl": SoapClient(
        check=("curl", "--version"),
        install="curl: apt-get install curl",
        command=(sys.executable, str(PROGRAMS / "curl_client.py")),
    ),
    "urllib": _python("urllib.request", "Python", "urllib_client.py"),
    "requests": _python("requests", "requests", "requests_client.py"),
    "fetch": SoapClient(
        check=("node", "-e", "require('undici')"),
        install="Node and its undici: npm install --prefix DIR undici@6; "
        "export NODE_PATH=DIR/node_modules",
        command=("node", str(PROGRAMS / "fetch_client.js")),
    ),
    "jdk": SoapClient(
        check=("javac", "-version"),
        install="a JDK 17 or later: apt-get install default-jdk-headless",
        command=("java", str(PROGRAMS / "JdkClient.java")),
    ),
    "chromium": SoapClient(
        check=("sh", "-c", "for tool in chromium chromedriver certutil pk12util; do "
               "command -v $tool || exit 1; done"),
        install="Chromium: apt-get install chromium chromium-driver libnss3-tools",
        command=(sys.executable, str(PROGRAMS / "chromium_client.py")),
    ),
}  # fmt: skip
"""HTTP clients: their programs write SOAP by hand, and get a directory and a password too."""
