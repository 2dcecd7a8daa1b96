"""Writes the tables of operations for people: the pages for browsers, and docs/operations.md."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from umd.soap import ews, um
from umd.soap.autodiscover_svc import SETTINGS
from umd.soap.contract import CONTRACTS, Contract
from umd.soap.envelope import SOAP11
from umd.soap.namespaces import MESSAGES
from umd.soap.operations import Family, Operation, Part
from umd.soap.problem import Problem

_TITLES: Final = {
    Family.UM: "Exchange Unified Messaging web service",
    Family.EWS: "Exchange Web Services: the operations for calls",
}
_EXAMPLES: Final = {
    Family.UM: f'<GetCallInfo xmlns="{MESSAGES}"><CallId>CALLID</CallId></GetCallInfo>',
    Family.EWS: f'<GetPhoneCallInformation xmlns="{MESSAGES}"><PhoneCallId Id="CALLID"/>'
    "</GetPhoneCallInformation>",
}
_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>umd: {title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
pre{{background:#f4f4f4;padding:1em;overflow:auto}}td,th{{text-align:left;padding:.2em 1em .2em 0;
vertical-align:top}}</style></head><body>{body}</body></html>
"""


def index(base: str) -> bytes:
    """
    Return the page at `/`, which lists the endpoints.

    Args:
        base: `scheme://host` as the client reached umd.
    """
    links = "".join(
        f'<li><a href="{escape(base + contract.path)}">{_TITLES[contract.family]}</a></li>'
        for contract in CONTRACTS
    )
    return _page("call control", f"<h1>umd</h1><p>Call control by SOAP.</p><ul>{links}</ul>")


def endpoint(contract: Contract, address: str) -> bytes:
    """Return the page of an endpoint: its operations, its WSDL, and an example to copy."""
    family, shown = contract.family, escape(address)
    rows = "".join(
        f"<tr><td><code>{operation.name}</code></td><td>{escape(operation.summary)}</td></tr>"
        for operation in contract.operations.values()
    )
    example = escape(
        f"curl -s {address} -H 'Content-Type: text/xml' -d @- <<'X'\n"
        f'<s:Envelope xmlns:s="{SOAP11}"><s:Body>\n  {_EXAMPLES[family]}\n'
        "</s:Body></s:Envelope>\nX"
    )
    return _page(
        _TITLES[family],
        f"<h1>{escape(_TITLES[family])}</h1><p>SOAP 1.1 and 1.2 by POST to <code>{shown}</code>. "
        f'Description: <a href="{shown}?wsdl">WSDL</a>, or <a href="{shown}?wsdl=soap12">with SOAP '
        f"1.2</a>.</p><table>{rows}</table><p>An example to copy:</p><pre>{example}</pre>",
    )


def _page(title: str, body: str) -> bytes:
    return _PAGE.format(title=escape(title), body=body).encode()


# -- docs/operations.md


def reference() -> str:
    """Return the text of docs/operations.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Operations"
    yield ""
    yield "What each operation does, its request and response, and every fault with its trigger."
    yield "This page is made from the tables in `umd/soap/`; a test compares it. To make it again:"
    yield ""
    yield "    python -m umd.soap.pages > docs/operations.md"
    yield ""
    yield "Send SOAP 1.1 or 1.2 by HTTP POST. The parts of a request may be in any order and in any"
    yield "namespace. WS-Security is not supported: there is no `/EWS/Exchange.asmx/wssecurity`."
    for contract in CONTRACTS:
        yield ""
        yield f"## {_TITLES[contract.family]}"
        yield ""
        yield f"At `{contract.path}`" + (
            ", and at `/UnifiedMessaging/Service.asmx` as in Exchange 2007."
            if contract.family is Family.UM
            else ". A problem gets HTTP 200 and `ResponseClass=\"Error\"`."
        )
        for operation in contract.operations.values():
            yield from _section(operation)
    yield from _common()


def _section(operation: Operation) -> Iterator[str]:
    yield ""
    yield f"### {operation.name}"
    yield ""
    yield operation.summary
    yield ""
    yield f"- request: {_describe(operation.request) or 'nothing'}"
    yield f"- response: {_describe(operation.answer) or 'empty'}"
    if operation.problems:
        yield ""
        yield f"| when | {_kind_of_error(operation.family)} | `X-UMD-Outcome` |"
        yield "| --- | --- | --- |"
        for problem, trigger in operation.problems.items():
            yield f"| {trigger} | `{code_of(operation.family, problem)}` | `{problem}` |"


def _kind_of_error(family: Family) -> str:
    return "fault" if family is Family.UM else "ResponseCode"


def code_of(family: Family, problem: Problem) -> str:
    """Return the fault code or response code of a problem in a family."""
    if family is Family.UM:
        return um.FAULTS[problem].code
    if problem in ews.RESPONSES:
        return ews.RESPONSES[problem][0]
    return ews.FAULTS[problem].code


def _describe(parts: tuple[Part, ...]) -> str:
    return "; ".join(filter(None, map(_describe_part, parts)))


def _describe_part(part: Part) -> str:
    names = [f"`{part.name}/@{name}`" for name, key in part.attributes.items() if key]
    if part.key:
        names.append(f"`{part.name}`")
    about = part.about or ", ".join(part.type.values)
    if names and about:
        names[-1] += f" ({about})"
    return "; ".join(filter(None, (*names, _describe(part.parts))))


def _common() -> Iterator[str]:
    yield ""
    yield "## Faults of any operation"
    yield ""
    yield "A fault has HTTP status 500. A SOAP 1.2 fault that blames the client has 400, or the"
    yield "value of `um.soap12_sender_status`. `X-UMD-Reason` says what is wrong with a request."
    yield ""
    yield "| when | fault at the UM endpoint | fault at the EWS endpoint | `X-UMD-Outcome` |"
    yield "| --- | --- | --- | --- |"
    invalid = Problem.INVALID_REQUEST.value
    yield (
        "| the request is not well-formed XML, has a DOCTYPE or is too long; or a part is missing, "
        "unknown, repeated or of another type | `ErrorInvalidRequest` | `ErrorSchemaValidation` | "
        f"`{invalid}` |"
    )
    yield (
        "| the Body is empty, or names no operation of the endpoint | `ErrorInvalidRequest` | "
        f"`ErrorInvalidRequest` | `{invalid}` |"
    )
    yield (
        "| the envelope is not one of SOAP 1.1 or 1.2 | `VersionMismatch` | the same | "
        f"`{invalid}` |"
    )
    yield (
        "| a header block with `mustUnderstand` is unknown | `MustUnderstand` | the same | "
        f"`{invalid}` |"
    )
    version = Problem.INVALID_VERSION
    yield (
        "| RequestServerVersion is not like `Exchange2019`, `Exchange2013_SP1` or "
        "`V2017_07_11` | - | "
        f"`{code_of(Family.EWS, version)}` | `{version}` |"
    )
    denied = Problem.IMPERSONATION_DENIED
    yield (
        "| an authenticated client names another user in ExchangeImpersonation | - | "
        f"`{code_of(Family.EWS, denied)}` | `{denied}` |"
    )
    internal = Problem.INTERNAL
    yield (
        "| umd has a fault; its log has the traceback | "
        f"`{code_of(Family.UM, internal)}` | the same | `{internal}` |"
    )
    yield from _autodiscover()
    yield from _before_any_operation()


def _autodiscover() -> Iterator[str]:
    yield ""
    yield "## Autodiscover"
    yield ""
    yield "Autodiscover returns the URLs of both endpoints for any mail address. The host is"
    yield "the one by which the client reached umd. It needs the same authentication as the"
    yield "endpoints. Point `https://autodiscover.DOMAIN` or the SRV record of the domain to umd."
    yield ""
    yield "| form | request | response |"
    yield "| --- | --- | --- |"
    yield (
        "| POX | POST `/autodiscover/autodiscover.xml` | EwsUrl, ASUrl and UMUrl, for EXCH and "
        "EXPR; error 600 or 601 |"
    )
    yield (
        "| SOAP | POST `/autodiscover/autodiscover.svc`: `GetUserSettings`, `GetDomainSettings` | "
        f"{', '.join(f'`{name}`' for name in SETTINGS)}; for any other setting `InvalidSetting` |"
    )
    yield (
        "| JSON | GET `/autodiscover/autodiscover.json?Email=ADDRESS&Protocol=EWS`, or "
        "`/autodiscover/autodiscover.json/v1.0/ADDRESS?Protocol=EWS` | `Protocol` and `Url`; 400 "
        "with `ErrorCode` for a protocol other than `EWS` and `AutodiscoverV1` |"
    )


def _before_any_operation() -> Iterator[str]:
    yield ""
    yield "## HTTP errors"
    yield ""
    yield "These responses are not SOAP: the body is empty or plain text that says why. The log"
    yield "has `http.refused` or `auth.failed`. umd closes the connection after most of them, and"
    yield "says so by `Connection: close`; it stays open after 401, 403 and 404."
    yield ""
    yield "| status | when | what to do |"
    yield "| --- | --- | --- |"
    for status, when, cure in STATUSES:
        yield f"| {status} | {when} | {cure} |"
    yield ""
    yield "`OPTIONS` gets 405 with `Allow`, also for `*`. umd ignores what a client offers and"
    yield "umd does not need: `Upgrade`, `TE`, `Prefer`, `Range`, `If-Match` and the like,"
    yield "`Accept`. The target may be a whole URL; then its host counts, and `Host` does not."
    yield "Paths are compared without case, after `%45` has become `E` and `//` has become `/`."


STATUSES: Final = (
    (
        "400",
        "The request is not valid HTTP/1.1 (RFC 9112): for example no `Host` or two, `..` in "
        "the path, or a body that is not compressed as its `Content-Encoding` says. A SOAP 1.2 "
        "fault can have 400 too, see above",
        "correct the request; the answer says what is wrong",
    ),
    (
        "401",
        "The request has no `Authorization`, its scheme is not offered, it cannot be read, or "
        "the password or token is wrong. umd delays the answer to a wrong password or token by "
        "0.25 s to 4 s, and no other",
        "send Basic (`auth.password_file`) or Bearer (`[auth.token]`), as `WWW-Authenticate` "
        "says",
    ),
    (
        "403",
        "umd accepts client certificates (`auth.subjects`) or the user header of a proxy "
        "(`auth.trusted_proxies`) only, and the request has neither",
        "use a certificate, or go through the proxy",
    ),
    ("404", "No service has this path", "use `/EWS/UM2007Legacy.asmx` or `/EWS/Exchange.asmx`"),
    (
        "405, 501",
        "The method is not GET, HEAD or POST, or the path does not take it",
        "send SOAP by POST",
    ),
    ("408", "The request did not arrive in time", "see `http.head_timeout`, `http.body_timeout`"),
    (
        "411",
        "A POST has neither `Content-Length` nor `Transfer-Encoding: chunked`",
        "send one of them",
    ),
    (
        "413",
        "The body is longer than `http.max_body`, as sent or once it is decompressed",
        "send less",
    ),
    ("414, 431", "The target or the header is too long", "see `http.max_target`, `http.max_head`"),
    (
        "415",
        "The `Content-Type` is not `text/xml` or `application/soap+xml`; or its charset is not "
        "UTF-8, UTF-16, ASCII, ISO-8859-1 or windows-1252; or the body is compressed, but not "
        "by gzip or deflate",
        "send `text/xml; charset=utf-8`",
    ),
    ("417", "`Expect` is not `100-continue`", "leave it out"),
    (
        "421",
        "The host name in the client's URL is not one of umd's. umd checks it when `http.hosts`"
        " is set, and when it listens on loopback and does not authenticate",
        "use `localhost` or the address of the machine, or add the name to `http.hosts`",
    ),
    (
        "503",
        "There are too many connections or requests, umd is too busy, or it is checking too "
        "many passwords",
        "repeat the request after `Retry-After`; see `http.max_connections`, "
        "`http.max_waiting`, `http.max_stall`",
    ),
    ("505", "The version is not HTTP/1.1 or HTTP/1.0", "use HTTP/1.1"),
)


if __name__ == "__main__":
    print(reference(), end="")
