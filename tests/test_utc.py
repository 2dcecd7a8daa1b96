"""Wall time as it is written."""

from __future__ import annotations

from datetime import datetime, timezone
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from umd.utc import iso


class IsoTests(SynchronousTestCase):
    def test_as_the_library_writes_it(self) -> None:
        random = Random(1)
        for _ in range(10_000):
            at = random.choice((random.uniform(0, 4e9), random.randrange(4_000_000_000) / 1000))
            told = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
            self.assertEqual(iso(at), told.replace("+00:00", "Z"), at)

    def test_what_rounds_up_to_the_next_second(self) -> None:
        self.assertEqual(iso(0.9999999), "1970-01-01T00:00:01.000Z")
