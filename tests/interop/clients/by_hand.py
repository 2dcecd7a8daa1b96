"""What the clients without SOAP share: requests written by hand, and answers read."""

import json
import sys
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"
OPERATIONS = {
    "place": ("PlayOnPhone", ("entryId", "DialString")),
    "state": ("GetCallInfo", ("CallId",)),
    "end": ("Disconnect", ("CallId",)),
}
HEADERS = {"Content-Type": "text/xml; charset=utf-8"}


def envelope(command: str, *words: str) -> str:
    operation, names = OPERATIONS[command]
    fields = "".join(
        f"<{name}>{escape(word)}</{name}>" for name, word in zip(names, words, strict=True)
    )
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
        f'<{operation} xmlns="{MESSAGES}">{fields}</{operation}></s:Body></s:Envelope>'
    )


def read(command: str, status: int, answer: bytes) -> dict[str, Any]:
    body = ElementTree.fromstring(answer)
    text = {one.tag.rpartition("}")[2]: one.text for one in body.iter()}
    if "faultcode" in text:
        detail = text.get("ExceptionType")
        told = {"code": text["faultcode"], "text": text["faultstring"], "detail": detail}
        return {"fault": {"type": str(status), **told}}
    assert status == 200, (status, answer)
    match command:
        case "place":
            return {"call": text["PlayOnPhoneResponse"]}
        case "state":
            return {"state": text["CallState"], "cause": text["EventCause"]}
        case _:
            assert "DisconnectResponse" in text, answer
            return {"ended": True}


def carry_out(post: Callable[[str], tuple[int, bytes]]) -> None:
    """Read commands, and have `post` send a body; it gives status and body of the answer."""
    for line in sys.stdin:
        command, *words = line.rstrip("\n").split("\t")
        status, answer = post(envelope(command, *words))
        print(json.dumps(read(command, status, answer)), flush=True)
