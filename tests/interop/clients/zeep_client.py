"""zeep. What is read and written here is told in README.md."""

import json
import sys
from typing import Any

import zeep


def carry_out(service: Any, command: str, *words: str) -> dict[str, Any]:
    match command, words:
        case "place", (entry, number):
            return {"call": service.PlayOnPhone(entryId=entry, DialString=number)}
        case "state", (call,):
            info = service.GetCallInfo(CallId=call)
            return {"state": info.CallState, "cause": info.EventCause}
        case "end", (call,):
            service.Disconnect(CallId=call)
            return {"ended": True}
        case _:
            raise SystemExit(f"no such command: {command} {words}")


def main() -> None:
    wsdl, *port = sys.argv[1:]
    service = zeep.Client(wsdl, port_name=port[0] if port else None).service
    for line in sys.stdin:
        try:
            answer = carry_out(service, *line.rstrip("\n").split("\t"))
        except zeep.exceptions.Fault as fault:
            detail = None if fault.detail is None else fault.detail.findtext("{*}ExceptionType")
            # Of SOAP 1.2, where the code is Sender or Receiver.
            code = fault.subcodes[0].localname if fault.subcodes else fault.code
            told = {"code": code, "text": fault.message, "detail": detail}
            answer = {"fault": {"type": type(fault).__name__, **told}}
        print(json.dumps(answer), flush=True)


main()
