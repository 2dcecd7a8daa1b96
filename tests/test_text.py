"""The text that umd writes: wall time, and JSON of text from the network."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from random import Random
from typing import Any

import orjson
from twisted.trial.unittest import SynchronousTestCase

from umd.text import dump_json, is_mail_address, iso_time, json_safe, load_json

EVERY_OCTET = bytes(range(256)).decode("utf-8", "surrogateescape")


class IsoTimeTests(SynchronousTestCase):
    def test_equals_what_the_standard_library_writes(self) -> None:
        random = Random(1)
        for _ in range(10_000):
            at = random.choice((random.uniform(0, 4e9), random.randrange(4_000_000_000) / 1000))
            expected = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
            self.assertEqual(iso_time(at), expected.replace("+00:00", "Z"), at)

    def test_a_time_that_rounds_up_to_the_next_second(self) -> None:
        self.assertEqual(iso_time(0.9999999), "1970-01-01T00:00:01.000Z")


class RoundTripTests(SynchronousTestCase):
    def test_what_dump_json_writes_load_json_reads(self) -> None:
        for value in ("", "a", EVERY_OCTET, "\udc80", ["\udcff", ["é", 1, -1]], 1 << 70, None):
            self.assertEqual(load_json(dump_json(value)), value)

    def test_octets_that_are_not_json(self) -> None:
        for octets in (b"", b"[", b"[" * 100_000, b"\xff", b"{'a': 1}"):
            with self.assertRaises(ValueError):
                load_json(octets)


class Unwilling:
    def __repr__(self) -> str:
        raise RuntimeError("this object has no text")


class JsonSafeTests(SynchronousTestCase):
    def test_every_reader_accepts_a_json_safe_value(self) -> None:
        deep: Any = "end"
        for _ in range(2000):
            deep = [deep]
        for value in (EVERY_OCTET, {"\udc80": "\ud800"}, (1 << 64, Unwilling()), {1: {2: deep}}):
            octets = orjson.dumps(json_safe(value))
            self.assertEqual(json.loads(octets), orjson.loads(octets))

    def test_a_value_that_is_json_already_is_not_changed(self) -> None:
        value = {"a": [1, 2.5, None, True, "é"]}
        self.assertEqual(json_safe(value), value)


class MailAddressTests(SynchronousTestCase):
    def test_only_one_plain_address_is_a_mail_address(self) -> None:
        for address in ("alice@example.com", "a.b+c@x", "o'neil@example.org"):
            self.assertTrue(is_mail_address(address), address)
        for address in (
            "", "alice", "@x", "a@", "a@[", "<", '"', "a@b, c@d", "a b@x", "a@x\n", "a..b@x",
            "Alice <a@x>", "a@x;b@y", "a" * 250 + "@x.org", "\u00e4@x",
        ):  # fmt: skip
            self.assertFalse(is_mail_address(address), address)
