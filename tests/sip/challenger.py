"""A far end that challenges requests, and checks the credentials without any code of umd."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

_HASHES: dict[str, Callable[[bytes], str]] = {
    "MD5": lambda data: hashlib.md5(data).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data).hexdigest(),
}
_PARAM = re.compile(r'([A-Za-z0-9\-]+)=("(?:[^"\\]|\\.)*"|[^",\s]*)(?:, |$)')
SDP = (
    "v=0\r\no=- 7 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n"
    "m=audio 42000 RTP/AVP 0\r\n"
)


TAG = "f1"
"""The To tag of the first telephone."""


class Received:
    """A request as text, one character for each octet."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.decode("latin-1").partition("\r\n\r\n")
        self.line, *lines = head.split("\r\n")
        self.method, self.uri, _ = self.line.split(" ")
        self.fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    def all(self, name: str) -> list[str]:
        """Return every value of a header field."""
        return [value for found, value in self.fields if found == name]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def cseq(self) -> int:
        """The number of the CSeq."""
        return int(self["CSeq"].split()[0])

    @property
    def tag(self) -> str:
        """The tag of the To; empty if there is none."""
        return self["To"].partition(";tag=")[2]

    @property
    def branch(self) -> str:
        """The branch of the Via."""
        return self["Via"].partition("branch=")[2].partition(";")[0]


def _branch_of(request: Received) -> str:
    return request.branch


def unquoted(value: str) -> str:
    """Return the content of a quoted string."""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def params(credentials: str) -> dict[str, str]:
    """Return the parameters of an Authorization value, and check its syntax."""
    scheme, _, rest = credentials.partition(" ")
    assert scheme == "Digest" and _PARAM.sub("", rest) == "", credentials
    return {name: unquoted(value) for name, value in _PARAM.findall(rest)}


def digest(
    given: dict[str, str],
    request: Received,
    password: str,
    *,
    session: tuple[str, str] | None = None,
    method: str = "",
) -> str:
    """Return the correct response parameter (RFC 7616 section 3.4.1)."""
    name = given["algorithm"]
    plain = name.removesuffix("-sess")

    def h(*parts: str) -> str:
        return _HASHES[plain](":".join(parts).encode("latin-1"))

    a1 = h(given["username"], given["realm"], password)
    if name != plain:
        a1 = h(a1, *(session or (given["nonce"], given["cnonce"])))
    a2 = [method or request.method, given["uri"]]
    if given.get("qop") == "auth-int":
        a2.append(h(request.body))
    if "qop" not in given:
        return h(a1, given["nonce"], h(*a2))
    return h(a1, given["nonce"], given["nc"], given["cnonce"], given["qop"], h(*a2))


@dataclass
class Guard:
    """A server or proxy that challenges requests."""

    status: int = 401
    realm: str = "pbx"
    username: str = "alice"
    password: str = "open sesame"
    challenge: str = 'Digest realm="{realm}", nonce="{nonce}", algorithm=MD5, qop="auth"'
    """With the places of realm and nonce; `, stale=...` is put behind it."""
    beside: tuple[str, ...] = ()
    """Other challenges that stand before it."""
    stale: int = 0
    """How many right answers it calls stale."""
    wrong: str = ""
    """What stands behind the challenge to a wrong answer."""
    one_nonce: bool = False
    """Ask with the same nonce for ever."""
    guarded: Callable[[Received], bool] = lambda request: True
    """Of what it asks for credentials."""
    nonces: list[str] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    """The nonce counts that it has accepted."""
    right: int = 0
    """How many right answers it has got."""

    @property
    def names(self) -> tuple[str, str]:
        """The header fields of challenge and credentials."""
        if self.status == 401:
            return "WWW-Authenticate", "Authorization"
        return "Proxy-Authenticate", "Proxy-Authorization"

    def check(self, request: Received) -> list[str] | None:
        """Return the header lines of a refusal; None lets the request through."""
        if not self.guarded(request):
            return None
        for value in request.all(self.names[1]):
            given = params(value)
            if given["realm"] == unquoted(f'"{self.realm}"'):
                return self._judge(given, request)
        return self._ask("")

    def _judge(self, given: dict[str, str], request: Received) -> list[str] | None:
        right = given["response"] == digest(given, request, self.password)
        if not right or given["uri"] != request.uri or given["username"] != self.username:
            return self._ask(self.wrong)
        if given["nonce"] != unquoted(f'"{self.nonces[-1]}"'):
            return self._ask(", stale=true")
        self.right += 1
        if self.stale:
            self.stale -= 1
            return self._ask(", stale=true")
        if "nc" in given:
            assert not self.counts or given["nc"] > self.counts[-1], "a nonce count once more"
            self.counts.append(given["nc"])
        return None

    def _ask(self, more: str) -> list[str]:
        if not self.nonces or not self.one_nonce:
            self.nonces.append(f"{self.realm}{len(self.nonces)}")
            self.counts.clear()
        text = self.challenge.format(realm=self.realm, nonce=self.nonces[-1]) + more
        return [f"{self.names[0]}: {value}" for value in (*self.beside, text)]


class Phone:
    """
    The far end of one call, behind its guards.

    It answers every INVITE that the guards let through, once for each of its `tags`, and remembers
    all requests.
    """

    def __init__(self, *guards: Guard, tags: tuple[str, ...] = (TAG,)) -> None:
        self.guards = guards
        self.tags = tags
        self.answers = True
        """Whether an INVITE gets its 2xx at once, else 180."""
        self.requests: list[Received] = []
        self.up: list[str] = []
        """The tags whose telephone is off the hook, with the ACK."""
        self.two_hundred: list[str] = []
        """More header lines of each 2xx."""
        self.ringing: list[Received] = []
        """INVITEs that got through and have no final yet."""
        self.forgets = False
        """Whether its transactions that are over are gone (timer I)."""

    def receive(self, data: bytes) -> list[bytes]:
        """Return the answers to a request."""
        request = Received(data)
        self.requests.append(request)
        if request.method == "ACK":
            if request.tag in self.tags and request.tag not in self.up:
                self.up.append(request.tag)
            return []
        if request.method == "CANCEL":
            return self._cancel(request)
        again = any(each.branch == request.branch for each in self.requests[:-1])
        if again and not self.forgets and request.branch not in map(_branch_of, self.ringing):
            return []  # it has been refused, and the ACK has come
        if again and request.branch in map(_branch_of, self.ringing):
            return [self.answer(request, 180, tag=TAG)]
        for guard in self.guards:
            lines = guard.check(request)
            if lines is not None:
                return [self.answer(request, guard.status, *lines, tag="asks")]
        if request.method == "BYE":
            assert request.tag in self.up
            self.up.remove(request.tag)
        if request.method != "INVITE" or request.tag:
            return [self.answer(request, 200, *self.two_hundred)]
        if self.answers:
            return self.lift(request)
        self.ringing.append(request)
        return [self.answer(request, 180, tag=TAG)]

    def _cancel(self, request: Received) -> list[bytes]:
        """Accept the CANCEL of an INVITE that already has a final response."""
        for invite in self.ringing:
            if invite.branch == request.branch:
                self.ringing.remove(invite)
                return [self.answer(request, 200), self.answer(invite, 487, tag=TAG)]
        known = request.branch in map(_branch_of, self.requests[:-1]) and not self.forgets
        return [self.answer(request, 200 if known else 481, tag="x")]

    def lift(self, invite: Received) -> list[bytes]:
        """Return the 2xx of every telephone."""
        self.ringing = []
        return [self.answer(invite, 200, *self.two_hundred, tag=tag) for tag in self.tags]

    def answer(self, request: Received, status: int, *lines: str, tag: str = "") -> bytes:
        """Return a response with these lines."""
        to = request["To"]
        if tag and not request.tag:
            to += f";tag={tag}"
        body = SDP if request.method == "INVITE" and status == 200 else ""
        text = [f"SIP/2.0 {status} Whatever", f"Via: {request['Via']}", f"From: {request['From']}"]
        text += [f"To: {to}", f"Call-ID: {request['Call-ID']}", f"CSeq: {request['CSeq']}"]
        text += ["Contact: <sip:bob@192.0.2.2>", *lines]
        if body:
            text.append("Content-Type: application/sdp")
        text += [f"Content-Length: {len(body)}", "", body]
        return "\r\n".join(text).encode("latin-1")

    def methods(self) -> list[str]:
        """The methods of all requests."""
        return [request.method for request in self.requests]
