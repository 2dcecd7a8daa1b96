"""Python's urllib. What is read and written here is told in README.md."""

import ssl
import sys
from urllib.error import HTTPError
from urllib.request import (
    HTTPBasicAuthHandler,
    HTTPPasswordMgrWithDefaultRealm,
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
)

from by_hand import HEADERS, carry_out

URL, FOLDER, *PASSWORD = sys.argv[1:]
CONTEXT = ssl.create_default_context(cafile=f"{FOLDER}/authority.pem")
KNOWN = HTTPPasswordMgrWithDefaultRealm()
if PASSWORD:
    KNOWN.add_password(None, URL, *PASSWORD[0].split(":"))
else:
    CONTEXT.load_cert_chain(f"{FOLDER}/certificate.pem", f"{FOLDER}/key.pem")
OPENER = build_opener(
    ProxyHandler({}), HTTPSHandler(context=CONTEXT), HTTPBasicAuthHandler(KNOWN)
)


def post(body: str) -> tuple[int, bytes]:
    try:
        with OPENER.open(Request(URL, body.encode(), HEADERS)) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


carry_out(post)
