"""curl, one process for each request. What is read and written here is told in README.md."""

import subprocess
import sys

from by_hand import HEADERS, carry_out

URL, FOLDER, *PASSWORD = sys.argv[1:]
WHO = ("--user", PASSWORD[0]) if PASSWORD else (
    "--cert", f"{FOLDER}/certificate.pem", "--key", f"{FOLDER}/key.pem"
)  # fmt: skip
HEADER = [word for item in HEADERS.items() for word in ("--header", ": ".join(item))]


def post(body: str) -> tuple[int, bytes]:
    done = subprocess.run(
        (
            "curl", "--silent", "--show-error", "--noproxy", "*",
            "--cacert", f"{FOLDER}/authority.pem", *WHO, *HEADER,
            "--data-binary", "@-", "--write-out", "\n%{http_code}", URL,
        ),
        input=body.encode(),
        stdout=subprocess.PIPE,
        check=True,
    )  # fmt: skip
    answer, _, status = done.stdout.rpartition(b"\n")
    return int(status), answer


carry_out(post)
