"""JSON of strangers' text: written exactly where umd reads it again, plainly where others do."""

from __future__ import annotations

import json
from typing import Any

import orjson
from twisted.trial.unittest import SynchronousTestCase

from umd.json_text import plain, read_exactly, write_exactly

EVERY_OCTET = bytes(range(256)).decode("utf-8", "surrogateescape")


class ExactTests(SynchronousTestCase):
    def test_what_is_written_is_read(self) -> None:
        for value in ("", "a", EVERY_OCTET, "\udc80", ["\udcff", ["é", 1, -1]], 1 << 70, None):
            self.assertEqual(read_exactly(write_exactly(value)), value)

    def test_what_is_no_json(self) -> None:
        for octets in (b"", b"[", b"[" * 100_000, b"\xff", b"{'a': 1}"):
            with self.assertRaises(ValueError):
                read_exactly(octets)


class Unwilling:
    def __repr__(self) -> str:
        raise RuntimeError("it has no words")


class PlainTests(SynchronousTestCase):
    def test_every_reader_takes_what_is_written_plainly(self) -> None:
        deep: Any = "end"
        for _ in range(2000):
            deep = [deep]
        for value in (EVERY_OCTET, {"\udc80": "\ud800"}, (1 << 64, Unwilling()), {1: {2: deep}}):
            octets = orjson.dumps(plain(value))
            self.assertEqual(json.loads(octets), orjson.loads(octets))

    def test_what_is_plain_stays(self) -> None:
        value = {"a": [1, 2.5, None, True, "é"]}
        self.assertEqual(plain(value), value)
