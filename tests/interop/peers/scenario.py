"""
Translates scripts, which say in short lines message a far end does, to scenarios of SIPp.

    < INVITE                receive a request or status; log it with its Call-ID and Reason
    > 180 INVITE            send a response, to the first INVITE or to the last message
    > 180 INVITE tag=b      send it from another fork, with a To tag of its own
    > 487 INVITE alien      send it with a To tag that the far end has not used
    > 200 BYE Retry-After: 1    send it with another header field
    >> BYE Reason: Q.850;cause=17       send a request in the dialog
    pause 300               wait, in milliseconds
    ? INVITE again          if this message comes next, continue at the label
    ! BYE                   receive a request; challenge it until it has the credentials of the user
                            "umd" for a nonce not older than a second, then log it
    * CANCEL cancelled      if this message comes at any later time, also during a pause, continue
                            at the label
    :cancelled              a label
    goto cancelled          continue at the label

A retransmitted INVITE after a 2xx gets the 2xx again.
"""

from __future__ import annotations

import re
from itertools import count
from typing import Final

HEAD: Final = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="far end">\n'
KEPT: Final = (
    "vias route cseq caller callee bye bye_cseq reason now part asked age fresh valid given nonce"
)
"""Variables of a scenario. SIPp refuses a variable that is used only once."""
PASSWORD: Final = "secret"
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
    """Return the SIPp scenario of a script."""
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
            case "!":
                parts.append(_challenge(rest, next(labels)))
            case "?" | "*":
                message, label = rest.split()
                often = "global" if sign == "*" else "true"
                parts.append(_receive(message, f'optional="{often}" next="{label}"'))
            case "pause":
                parts.append(f'<pause milliseconds="{int(rest)}"/>')
            case "goto":
                parts.append(f'<nop next="{rest}"/>')
            case _ if line.startswith(":"):
                parts.append(f'<label id="{line[1:]}"/>')
            case _:
                raise ValueError(f"no line of a script: {line!r}")
    body = "\n".join(parts)
    used = ",".join(name for name in KEPT.split() if re.search(rf'_to="([a-z]+,)?{name}"', body))
    return f'{HEAD}{body}\n<Reference variables="{used}"/>\n</scenario>\n'


def _receive(message: str, attributes: str = "", *, log: bool = True) -> str:
    kind = "response" if message.isdecimal() else "request"
    actions = [
        '<ereg regexp=".*" search_in="hdr" header="Reason:" assign_to="reason"/>',
    ]
    if log:
        actions.append(f'<log message="[timestamp] {message} [call_id] reason=[$reason]"/>')
    else:
        actions += [
            '<ereg regexp="nonce=&quot;([0-9.]+)&quot;" search_in="hdr" header="Authorization:" '
            'assign_to="given,nonce"/>',
            f'<verifyauth assign_to="valid" username="umd" password="{PASSWORD}"/>',
        ]
    if message == "INVITE":
        # For responses after a CANCEL, and for requests of the far end.
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
    if message == "BYE":
        # Kept for an answer that is sent after another message has come.
        actions = [
            '<ereg regexp="(Via:[^[:cntrl:]]+[[:cntrl:]]+)+" search_in="msg" assign_to="bye"/>',
            '<ereg regexp="[0-9]+" search_in="hdr" header="CSeq:" assign_to="bye_cseq"/>',
            *actions,
        ]
    inner = "".join(actions)
    return f'<recv {kind}="{message}" {attributes}><action>{inner}</action></recv>'


def _challenge(method: str, label: str) -> str:
    """Ask for credentials; the nonce is the time at which it was made."""
    # Jump to the label directly: SIPp loses messages that arrive while it is at a <nop>.
    back = f'next="{label}"'
    if method == "INVITE":
        back, acknowledged = "", f'<recv request="ACK" {back}/>'
    else:
        acknowledged = ""
    answer = f'401 {method} WWW-Authenticate: Digest realm="far",qop="auth",nonce="[$now]"'
    first = _respond(answer, None).replace("<send", f"<send {back}", 1)
    stale = _respond(f"{answer},stale=true", None).replace("<send", f"<send {back}", 1)
    return f"""\
<label id="{label}"/>
{_receive(method, log=False)}
<nop><action>
<gettimeofday assign_to="now,part"/>
<divide assign_to="part" value="1000000"/>
<add assign_to="now" variable="part"/>
</action></nop>
<nop test="valid" next="{label}right"/>
{first}
{acknowledged}
<label id="{label}right"/>
<nop><action>
<todouble assign_to="asked" variable="nonce"/>
<assign assign_to="age" variable="now"/>
<subtract assign_to="age" variable="asked"/>
<test assign_to="fresh" variable="age" compare="less_than" value="1"/>
</action></nop>
<nop test="fresh" next="{label}good"/>
{stale}
{acknowledged}
<label id="{label}good"/>
<nop><action><log message="[timestamp] {method} [call_id]"/></action></nop>"""


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
    elif method == "BYE":
        head.append("[$bye]CSeq: [$bye_cseq] BYE")
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
