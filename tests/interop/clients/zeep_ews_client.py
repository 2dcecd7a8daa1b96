"""zeep, at the endpoint of EWS. What is read and written here is told in README.md."""

import json
import sys
from typing import Any

import zeep


def carry_out(service: Any, command: str, *words: str) -> dict[str, Any]:
    version = {"RequestVersion": {"Version": "Exchange2010"}}
    match command, words:
        case "place", (entry, number):
            answer = service.PlayOnPhone({"Id": entry}, number, _soapheaders=version).body
            return problem(answer) or {"call": answer.PhoneCallId.Id}
        case "state", (call,):
            answer = service.GetPhoneCallInformation({"Id": call}, _soapheaders=version).body
            if wrong := problem(answer):
                return wrong
            info = answer.PhoneCallInformation
            return {"state": info.PhoneCallState, "cause": info.ConnectionFailureCause}
        case "end", (call,):
            answer = service.DisconnectPhoneCall({"Id": call}, _soapheaders=version).body
            return problem(answer) or {"ended": True}
        case _:
            raise SystemExit(f"no such command: {command} {words}")


def problem(answer: Any) -> dict[str, Any] | None:
    """EWS tells it in the answer; nothing is raised."""
    if answer.ResponseClass == "Success":
        return None
    told = {"code": answer.ResponseCode, "text": answer.MessageText, "detail": None}
    return {"fault": {"type": answer.ResponseClass, **told}}


def main() -> None:
    service = zeep.Client(sys.argv[1]).service
    for line in sys.stdin:
        answer = carry_out(service, *line.rstrip("\n").split("\t"))
        print(json.dumps(answer), flush=True)


main()
