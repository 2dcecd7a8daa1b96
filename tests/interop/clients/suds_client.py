"""suds-community. What is read and written here is told in README.md."""

import json
import sys
from typing import Any

from suds import WebFault
from suds.client import Client


def carry_out(service: Any, command: str, *words: str) -> dict[str, Any]:
    match command, words:
        case "place", (entry, number):
            return {"call": str(service.PlayOnPhone(entry, number))}
        case "state", (call,):
            info = service.GetCallInfo(call)
            return {"state": info.CallState, "cause": info.EventCause}
        case "end", (call,):
            service.Disconnect(call)
            return {"ended": True}
        case _:
            raise SystemExit(f"no such command: {command} {words}")


def main() -> None:
    # Its cache would outlive the test.
    service = Client(sys.argv[1], cache=None).service
    for line in sys.stdin:
        try:
            answer = carry_out(service, *line.rstrip("\n").split("\t"))
        except WebFault as error:
            fault = error.fault
            detail = getattr(getattr(fault, "detail", None), "ExceptionType", None)
            told = {"code": fault.faultcode, "text": fault.faultstring, "detail": detail}
            answer = {"fault": {"type": type(error).__name__, **told}}
        print(json.dumps(answer), flush=True)


main()
