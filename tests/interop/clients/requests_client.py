"""Python's requests, on one session. What is read and written here is told in README.md."""

import sys

import requests
from by_hand import HEADERS, carry_out

URL, FOLDER, *PASSWORD = sys.argv[1:]
SESSION = requests.Session()
SESSION.trust_env = False
SESSION.verify = f"{FOLDER}/authority.pem"
if PASSWORD:
    name, password = PASSWORD[0].split(":")
    SESSION.auth = (name, password)
else:
    SESSION.cert = (f"{FOLDER}/certificate.pem", f"{FOLDER}/key.pem")


def post(body: str) -> tuple[int, bytes]:
    answer = SESSION.post(URL, body.encode(), headers=HEADERS)
    return answer.status_code, answer.content


carry_out(post)
