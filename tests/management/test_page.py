"""docs/control-socket.md describes every request, field, reply and error that there is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon.processes import ProcessCase, seed_id, seeds
from umd.cli.exit_status import STATUS_BY_ERROR_KIND
from umd.management import refusals
from umd.management.client import ask
from umd.management.refusals import Refused
from umd.management.requests import REQUESTS

PAGE = (Path(__file__).parents[2] / "docs" / "control-socket.md").read_text()


def sections() -> dict[str, str]:
    """Return the section of each request by the name in its heading."""
    parts = re.split(r"^### `([a-z-]+)`$", PAGE, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented_keys(of: str) -> set[str]:
    """Return the keys in the first column of the table for replies of one kind."""
    (table,) = re.findall(rf"^\| key of `{of}` \|.*\n\|.*\n((?:\|.*\n)+)", PAGE, re.M)
    return {key for row in table.splitlines() for key in re.findall("`(.+?)`", row.split("|")[1])}


class PageTests(SynchronousTestCase):
    def test_every_request_has_a_section(self) -> None:
        self.assertEqual(set(sections()), set(REQUESTS))

    def test_every_field_is_described_with_its_type_and_default(self) -> None:
        row = r"^\| `([a-z_]+)` \| (array|boolean|integer|number|string) \| (.*?) ?\| .+ \|$"
        for name, request_type in REQUESTS.items():
            rows = {field: (kind, default) for field, kind, default in
                    re.findall(row, sections()[name], re.M)}  # fmt: skip
            properties: Mapping[str, Any] = request_type.model_json_schema()["properties"]
            expected = {}
            for field, schema in properties.items():
                kind = schema.get("type") or schema["anyOf"][0]["type"]
                default = f"`{json.dumps(schema['default'])}`" if "default" in schema else ""
                expected[field] = (kind, default)
            self.assertEqual(rows, expected, name)
            self.assertEqual("No fields." in sections()[name], not properties, name)

    def test_every_kind_of_error_is_described(self) -> None:
        kinds = {error.kind for error in vars(refusals).values()
                 if isinstance(error, type) and issubclass(error, Refused)}  # fmt: skip
        kinds |= set(refusals._KINDS.values()) | set(STATUS_BY_ERROR_KIND)
        errors = PAGE[PAGE.index("## Errors") : PAGE.index("## Requests")]
        self.assertEqual(set(re.findall(r"^\| `([a-z-]+)` \|", errors, re.M)), kinds)


class ReplyTests(ProcessCase):
    """The page has the keys of the replies of a running umd, and its example works."""

    def test_replies_and_example(self) -> None:
        with self.serving(seeds("5550100", "5550100")) as process:
            path = process.control_socket
            call, _ = [reply["call"] for reply in ask("calls", path)]
            self.assertEqual(set(call), documented_keys("call"))
            (status,) = ask("status", path)
            self.assertEqual(set(status["status"]), documented_keys("status"))
            _, message, *_ = ask("trace", path, call="seed-0", octets=True)
            self.assertEqual(set(message["message"]), documented_keys("message"))
            example = PAGE[PAGE.index("```python\n") + 10 : PAGE.rindex("```")]
            ran = subprocess.run(
                [sys.executable, "-c", example.replace("/run/umd/control.sock", path)],
                capture_output=True, text=True, timeout=30,
            )  # fmt: skip
            self.assertEqual(ran.stdout.splitlines(),
                             [f"{seed_id(0)} connected", f"{seed_id(1)} connected"])  # fmt: skip
            (end,) = ask("end", path, call="seed-0")
            self.assertEqual(
                set(end["end"]), documented_keys("call") | documented_keys("end")
            )
            many: dict[str, Any] = {"owner": "", "state": "connected"}
            selected, call = ask("end-many", path, dry_run=True, **many)
            self.assertEqual(set(selected["selected"]), documented_keys("selected"))
            self.assertEqual(
                set(call["call"]), documented_keys("call") | {"protected", "ends_with"}
            )
            count = selected["selected"]["count"]
            _, result, summary = ask("end-many", path, max=5, expect=count, **many)
            self.assertEqual(set(result["result"]), documented_keys("result"))
            self.assertEqual(set(summary["summary"]), documented_keys("summary"))
            (placed,) = ask("place", path, number="5550180", labels=["ci"], lease_s=60)
            self.assertEqual(set(placed["call"]), documented_keys("call"))
            renewed, call = ask("lease-renew", path, label="ci")
            self.assertEqual(set(renewed["renewed"]), documented_keys("renewed"))
            self.assertEqual(set(call["call"]), documented_keys("call"))
