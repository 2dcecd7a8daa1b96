"""
What a far end does, in lines, and the SIPp scenario that does it.

    < INVITE                a request or status is received; logged with its Call-ID and Reason
    > 180 INVITE            a response, to the INVITE as it came or to the last message
    > 180 INVITE tag=b      the same of another fork: its own To tag
    > 487 INVITE alien      the same with a To tag that the far end has not used
    > 200 BYE Retry-After: 1    the same with one more header field
    >> BYE Reason: Q.850;cause=17       a request of the far end's in the dialog
    pause 300               milliseconds
    ? INVITE again          if this is what comes next, go on at the label
    * CANCEL cancelled      the same, at any time from now on, during a pause too
    :cancelled              a label
    goto cancelled

After a 2xx to INVITE, an INVITE that comes once more gets it once more.
"""

from __future__ import annotations

from itertools import count
from typing import Final

HEAD: Final = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="far end">\n'
TAIL: Final = '<Reference variables="vias,route,cseq,caller,callee,reason"/>\n</scenario>\n'
SDP: Final = """\
v=0
o=far 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 9 RTP/AVP 0
a=inactive"""
PHRASES: Final = {100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK"}


def to_xml(script: str) -> str:
    """The scenario of a script."""
    labels = (f"again{number}" for number in count())
    lines = [line.strip() for line in script.splitlines() if line.strip()]
    parts = []
    for line in lines:
        sign, _, rest = line.partition(" ")
        match sign:
            case "<":
                parts.append(_receive(rest))
            case ">":
                again = next(labels) if rest.startswith("2") and " INVITE" in rest else None
                parts.append(_respond(rest, again))
            case ">>":
                parts.append(_request(rest))
            case "?" | "*":
                what, label = rest.split()
                often = "global" if sign == "*" else "true"
                parts.append(_receive(what, f'optional="{often}" next="{label}"'))
            case "pause":
                parts.append(f'<pause milliseconds="{int(rest)}"/>')
            case "goto":
                parts.append(f'<nop next="{rest}"/>')
            case _ if line.startswith(":"):
                parts.append(f'<label id="{line[1:]}"/>')
            case _:
                raise ValueError(f"no line of a script: {line!r}")
    return HEAD + "\n".join(parts) + "\n" + TAIL


def _receive(what: str, attributes: str = "") -> str:
    kind = "response" if what.isdecimal() else "request"
    actions = [
        '<ereg regexp=".*" search_in="hdr" header="Reason:" assign_to="reason"/>',
        f'<log message="[timestamp] {what} [call_id] reason=[$reason]"/>',
    ]
    if what == "INVITE":
        # Kept for what is answered after a CANCEL has come, and for requests of the far end.
        actions = [
            '<ereg regexp="(Via:[^[:cntrl:]]+[[:cntrl:]]+)+" search_in="msg" assign_to="vias"/>',
            '<ereg regexp="(Record-Route:[^[:cntrl:]]+[[:cntrl:]]+)+" search_in="msg" '
            'assign_to="route"/>',
            '<ereg regexp="[0-9]+" search_in="hdr" header="CSeq:" assign_to="cseq"/>',
            '<ereg regexp="[^[:cntrl:]]*" search_in="hdr" header="From:" assign_to="caller"/>',
            '<ereg regexp="[^[:cntrl:];]*" search_in="hdr" header="To:" assign_to="callee"/>',
            *actions,
        ]
        attributes += ' rrs="true"'
    inner = "".join(actions)
    return f'<recv {kind}="{what}" {attributes}><action>{inner}</action></recv>'


def _respond(rest: str, again: str | None) -> str:
    words = rest.split(maxsplit=2)
    status, method, more = int(words[0]), words[1], words[2] if len(words) > 2 else ""
    tag = "[pid]s[call_number]"
    if more.startswith("tag="):
        tag, _, more = more.partition(" ")
        tag = f"[pid]s[call_number]{tag[4:]}"
    elif more == "alien":
        tag, more = "[branch]", ""
    to_invite = method == "INVITE"
    answered = to_invite and 200 <= status < 300
    head = [f"SIP/2.0 {status} {PHRASES.get(status, 'Because')}"]
    if to_invite:
        head.append("[$vias][$route]CSeq: [$cseq] INVITE")
        head += ["From:[$caller]", f"To:[$callee];tag={tag}"]
    elif method == "CANCEL":
        head += ["[last_Via:]", "[last_CSeq:]", "[last_From:]", f"[last_To:];tag={tag}"]
    else:
        head += ["[last_Via:]", "[last_CSeq:]", "[last_From:]", "[last_To:]"]
    head += ["Call-ID: [call_id]", "Contact: <sip:[local_ip]:[local_port]>"]
    if more:
        head.append(more)
    body = SDP if answered or status == 183 else ""
    retransmitted = ' retrans="500"' if to_invite and status >= 200 else ""
    sent = f"<send{retransmitted}>{_message(head, body)}</send>"
    if again is None:
        return sent
    repeated = f'<recv request="INVITE" optional="true" next="{again}"/>'
    return f'<label id="{again}"/>\n{sent}\n{repeated}'


def _request(rest: str) -> str:
    method, _, more = rest.partition(" ")
    head = [
        f"{method} [next_url] SIP/2.0",
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
        "[routes]",
        "From:[$callee];tag=[pid]s[call_number]",
        "To:[$caller]",
        "Call-ID: [call_id]",
        f"CSeq: [cseq] {method}",
        "Max-Forwards: 70",
        "Contact: <sip:[local_ip]:[local_port]>",
    ]
    if more:
        head.append(more)
    body = SDP if method == "INVITE" else ""
    return f"<send>{_message(head, body)}</send>"


def _message(head: list[str], body: str) -> str:
    if body:
        head = [*head, "Content-Type: application/sdp"]
    text = "\n".join([*head, "Content-Length: [len]", "", body])
    return f"<![CDATA[\n{text}\n]]>"
