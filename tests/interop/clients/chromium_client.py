"""
Chromium without a screen, driven by chromedriver: it opens the page that umd serves, and fetch() in
that page posts to where it came from. What is read and written here is told in README.md.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from by_hand import HEADERS, carry_out

URL, FOLDER, *PASSWORD = sys.argv[1:]
OPENER = build_opener(ProxyHandler({}))
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-proxy-server", "--disable-dev-shm-usage",
)  # fmt: skip
FETCH = """
const [url, headers, body, done] = arguments;
fetch(url, {method: 'POST', headers, body})
  .then(async (answer) => done([answer.status, await answer.text()]))
  .catch((error) => done([0, String(error)]));
"""


def trust(home: str) -> None:
    """Tell Chromium, by the NSS database of its user, whom to trust and what to show."""
    database = Path(home, ".pki", "nssdb")
    database.mkdir(parents=True)
    nss = f"sql:{database}"
    commands: list[tuple[str, ...]] = [
        ("certutil", "-N", "-d", nss, "--empty-password"),
        ("certutil", "-A", "-d", nss, "-n", "ours", "-t", "C,,", "-i", f"{FOLDER}/authority.pem"),
    ]
    if not PASSWORD:
        commands.append(("pk12util", "-i", f"{FOLDER}/client.p12", "-d", nss, "-W", "store"))
    for command in commands:
        subprocess.run(command, check=True, stdout=sys.stderr)


class Browser:
    """
    A session of WebDriver.

    Args:
        home: of the user as whom it runs.
        port: of chromedriver.
    """

    def __init__(self, home: str, port: str) -> None:
        self._root = f"http://127.0.0.1:{port}/session"
        # What the policy AutoSelectCertificateForUrls comes to, without the rights to set one.
        chosen: dict[str, Any] = {f"{URL.rpartition('/EWS')[0]},*": {"setting": {"filters": [{}]}}}
        options = {
            "args": [*SWITCHES, f"--user-data-dir={home}/profile"],
            "prefs": {"profile.content_settings.exceptions.auto_select_certificate": chosen},
        }
        always = {"browserName": "chrome", "goog:chromeOptions": options}
        session = self._ask("", {"capabilities": {"alwaysMatch": always}})
        self._root += "/" + session["sessionId"]

    def open(self, url: str) -> None:
        self._ask("/url", {"url": url})

    def post(self, body: str) -> tuple[int, bytes]:
        arguments = [URL, HEADERS, body]
        status, text = self._ask("/execute/async", {"script": FETCH, "args": arguments})
        return status, text.encode()

    def close(self) -> None:
        with OPENER.open(Request(self._root, method="DELETE")):
            pass

    def _ask(self, path: str, what: dict[str, Any]) -> Any:
        request = Request(self._root + path, json.dumps(what).encode())
        with OPENER.open(request, timeout=60) as answer:
            return json.load(answer)["value"]


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        trust(home)
        driver = subprocess.Popen(
            ("chromedriver", "--port=0"),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": home},
        )
        assert driver.stdout is not None
        try:
            ready = (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)
            port = next(match[1] for match in ready if match)
            browser = Browser(home, port)
            try:
                who = f"{PASSWORD[0]}@" if PASSWORD else ""
                browser.open(URL.replace("://", f"://{who}"))
                carry_out(browser.post)
            finally:
                browser.close()
        finally:
            driver.terminate()
            driver.wait()


main()
