"""The torture messages of RFC 4475: umd treats each as docs/sip-torture.md says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.corpus import Row, expected_values, rows
from umd.sip import build
from umd.sip.fields import Via
from umd.sip.framing import FramingError, read_datagram
from umd.sip.message import Message, MessageError, Request, Response
from umd.sip.parser import parse
from umd.sip.validate import check_request, check_response, rejection_for

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "sip-torture.md"
METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "MESSAGE")


def documented(heading: str) -> dict[str, list[str]]:
    """Return the table under a heading: message to the other columns."""
    section = DOCUMENT.read_text("utf-8").split(f"## {heading}")[1].split("\n## ")[0]
    table = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:2] == "| "]
    return {cells[0]: cells[1:] for cells in table[2:]}


def verdict(octets: bytes) -> tuple[str, str]:
    """Return the layer that refuses a datagram, and the answer that the sender gets."""
    try:
        message = read_datagram(octets)
    except MessageError as error:
        layer = "framing" if isinstance(error, FramingError) else "parse"
        if error.request is None:
            return layer, "dropped"
        return layer, str(answer(error.request, rejection_for(error).status).status)
    if isinstance(message, Response):
        return "validate", "dropped" if check_response(message) else "accepted"
    assert isinstance(message, Request)
    rejection = check_request(message, methods=METHODS)
    if rejection is None:
        return "validate", "accepted"
    return "validate", str(answer(message, rejection.status).status)


def answer(request: Request, status: int) -> Response:
    """Return the refusal as the far end parses it."""
    read = parse(build.response(request, status, to_tag="umd").octets())
    assert isinstance(read, Response)
    return read


def values_of(message: Message) -> dict[str, Any]:
    """Return the values that expected.json has for a message."""
    cseq, hops = message.cseq, message.get("Max-Forwards")
    return {
        "call_id": message.call_id,
        "cseq": [cseq.number, cseq.method],
        "from_tag": message.from_tag,
        "to_tag": message.to_tag,
        "via": [
            {"branch": via.branch, "sent_by": via.sent_by, "transport": via.transport}
            for via in map(Via.parse, message.values("Via"))
        ],
        "contacts": len(message.contacts),
        "content_length": message.content_length,
        "max_forwards": None if hops is None else int(hops),
        "body_len": len(message.body),
    }


class AcceptTests(SynchronousTestCase):
    def test_values(self) -> None:
        """umd reads the same values in all 27 good messages as two other implementations."""
        good, expected = rows("accept"), expected_values()
        self.assertEqual(len(good), 27)
        for row in good:
            with self.subTest(row.name):
                self.check(row, expected[row.name])

    def check(self, row: Row, expected: dict[str, Any]) -> None:
        """Compare all values of one message."""
        message = read_datagram(row.octets)
        assert message is not None
        found = values_of(message)
        found["trailing_octets"] = len(row.octets) - len(message.octets())
        if isinstance(message, Request):
            found |= {"kind": "request", "method": message.method, "uri": message.uri}
        else:
            assert isinstance(message, Response)
            found |= {"kind": "response", "code": message.status, "reason": message.reason}
        self.assertEqual(found, expected)
        self.assertEqual(found["from_tag"], message.from_.tag)
        self.assertEqual(found["to_tag"], message.to.tag)

    def test_octets_survive(self) -> None:
        """A parsed message is written with the same octets, and re-encoding keeps its meaning."""
        for row in rows("accept"):
            with self.subTest(row.name):
                message = read_datagram(row.octets)
                assert message is not None
                self.assertTrue(row.octets.startswith(message.octets()))
                again = parse(message.to_octets())
                self.assertEqual(values_of(again), values_of(message))
                self.assertEqual(again.body, message.body)

    def test_echo(self) -> None:
        """An answer has Via, From, To and Call-ID octet for octet."""
        for row in rows("accept"):
            with self.subTest(row.name):
                request = read_datagram(row.octets)
                if not isinstance(request, Request):
                    continue
                response = parse(build.response(request, 100).octets())
                for name in ("Via", "From", "To", "Call-ID", "CSeq"):
                    self.assertEqual(response.all(name), request.all(name))

    def test_remarks(self) -> None:
        """Messages that are read but refused get the documented answer."""
        for name, (said, _reason) in documented("Accepted by the parser").items():
            with self.subTest(name):
                (row,) = (row for row in rows("accept") if row.name == name)
                self.assertEqual(verdict(row.octets)[1], said)

    def test_others_are_accepted(self) -> None:
        """All other good messages are accepted."""
        remarks = documented("Accepted by the parser")
        for row in rows("accept"):
            if row.name not in remarks:
                with self.subTest(row.name):
                    self.assertEqual(verdict(row.octets)[1], "accepted")


class RejectTests(SynchronousTestCase):
    def test_rejected(self) -> None:
        """All 12 bad messages are refused at the documented layer with the documented answer."""
        table = documented("Refused, as the RFC demands")
        self.assertEqual(set(table), {row.name for row in rows("reject")})
        for row in rows("reject"):
            with self.subTest(row.name):
                self.assertEqual(list(verdict(row.octets)), table[row.name])
                self.assertIn(table[row.name][1].replace("dropped", "discard"), row.answer)

    def test_lenient(self) -> None:
        """All 10 doubtful messages are treated as documented."""
        table = documented("Left to the implementation by the RFC")
        self.assertEqual(set(table), {row.name for row in rows("reject-lenient")})
        for row in rows("reject-lenient"):
            with self.subTest(row.name):
                layer, said, reason = table[row.name]
                self.assertEqual(verdict(row.octets), (layer, said))
                self.assertGreater(len(reason), 20)

    def test_baddn_completed(self) -> None:
        """With the empty line that the archive lacks, baddn is refused for its display name."""
        (row,) = (row for row in rows() if row.name == "baddn")
        self.assertEqual(verdict(row.octets + b"\r\n"), ("validate", "400"))

    def test_420_names_the_extensions(self) -> None:
        """The answer to bext01 lists the unsupported extensions."""
        (row,) = (row for row in rows() if row.name == "bext01")
        request = read_datagram(row.octets)
        assert isinstance(request, Request)
        rejection = check_request(request)
        assert rejection is not None
        self.assertEqual(
            rejection.headers,
            (("Unsupported", "nothingSupportsThis, nothingSupportsThisEither"),),
        )

    def test_repetitions_are_echoed_once(self) -> None:
        """The answer to multi01 is itself a valid message."""
        (row,) = (row for row in rows() if row.name == "multi01")
        request = read_datagram(row.octets)
        assert isinstance(request, Request)
        response = answer(request, 400)
        for name in ("From", "Call-ID", "CSeq"):
            self.assertEqual(response.all(name), request.all(name)[:1])
        self.assertEqual(response.all("To"), [f"{request.get('To')};tag=umd"])


class UnreadableTests(SynchronousTestCase):
    def test_test_dat_does_no_harm(self) -> None:
        """test.dat, which belongs to no section, is refused like other nonsense."""
        (row,) = (row for row in rows("none"))
        self.assertEqual(verdict(row.octets), ("parse", "400"))
