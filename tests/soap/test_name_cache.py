"""Names that clients invent do not stay in memory, and their documents are parsed all the same."""

from __future__ import annotations

import subprocess
import sys

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.soap.helpers import values_of
from tests.soap.test_contract import disconnect
from umd.soap.contract import UM, read_request
from umd.soap.document import InvalidRequest, _parse, read_document
from umd.soap.name_cache import NameCache

GROWTH = """
import sys
from umd.soap.document import InvalidRequest, read_document

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def ask(number):
    name = "n%d_" % number + "x" * 250
    tags = ["<%s%d xmlns='u%d_%d'>" % (name, n, number, n) for n in range(60)]
    body = "<e>" + "".join(tags) + "</e>" * (number % 2)
    try:
        read_document(body.encode())
    except InvalidRequest:
        pass
    return len(body)

for number in range(200):
    ask(number)
before, sent = resident(), 0
number = 200
while sent < 20_000_000:
    sent += ask(number)
    number += 1
print(resident() - before)
"""


class NameCacheTests(SynchronousTestCase):
    def here(self, names: NameCache, document: bytes) -> bool:
        """Return whether the document is parsed on the calling thread."""
        return names.admits(document)

    def test_known_names_are_admitted(self) -> None:
        names = NameCache(max_names=6)
        self.assertTrue(self.here(names, b'<a b="1"><c xmlns:d="e"/></a>'))
        self.assertFalse(self.here(names, b"<f/><g/>"))
        self.assertTrue(self.here(names, b"<f/>"))
        self.assertTrue(self.here(names, b'<c b=">" ><a>text is no name, no="attribute"</a></c>'))
        self.assertFalse(self.here(names, b'<c b=">" z="1"/>'))
        self.assertFalse(self.here(names, b'<c xmlns:d="other"/>'))

    def test_uncertain_names_are_parsed_on_a_thread(self) -> None:
        for document in (b"<a", b'<a b="', b"<a <b>", b"<!-- < -->", b"<![CDATA[<x>]]>"):
            self.assertFalse(self.here(NameCache(), document), document)
        self.assertFalse(self.here(NameCache(), b"<" + b"a" * 300 + b"/>"))

    def test_a_thread_parses_the_same(self) -> None:
        names = NameCache(max_names=0)
        document = b"<a b='1'><c xmlns='urn:x'>\xc3\xa9</c></a>"
        on_a_thread, here = names.parse(_parse, document), _parse(document)
        self.assertEqual(etree.tostring(on_a_thread), etree.tostring(here))
        self.assertEqual([element.tag for element in on_a_thread], ["{urn:x}c"])
        with self.assertRaises(InvalidRequest) as caught:
            names.parse(_parse, b"<a>\n<b></a>")
        self.assertEqual(caught.exception.line, 2)

    def test_a_request_is_served_after_the_names_are_used_up(self) -> None:
        for number in range(300):
            tags = "".join(f"<n{number}_{n}/>" for n in range(50))
            read_document(f"<e>{tags}</e>".encode())
        body = disconnect("abc") + "<!-- < -->"
        self.assertEqual(values_of(read_request(UM, body.encode())), {"call_id": "abc"})

    def test_memory_does_not_grow(self) -> None:
        """20 MB of bodies with ever new names, half of them not well-formed: under 8 MB."""
        command = [sys.executable, "-c", GROWTH]
        grown = int(subprocess.run(command, check=True, capture_output=True).stdout)
        self.assertLess(grown, 8_000_000)
