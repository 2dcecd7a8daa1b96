"""Imports point inward: the core knows no Twisted, the client commands nothing that is slow."""

import json
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase


def loaded_by(*modules: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after importing these modules."""
    program = (
        f"import {', '.join(modules)}, sys, json; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return set(json.loads(output.stdout))


class RingsTests(SynchronousTestCase):
    def test_the_core_knows_no_twisted(self) -> None:
        loaded = loaded_by(
            "umd.call.call",
            "umd.call.call_id",
            "umd.call.cause",
            "umd.call.events",
            "umd.call.leg",
            "umd.trace.capture",
            "umd.http.answer",
            "umd.http.head",
            "umd.http.limits",
            "umd.http.reader",
            "umd.trace.ladder",
            "umd.trace.pcap",
            "umd.journal.file",
            "umd.call.principal",
            "umd.call.record",
            "umd.sip.endpoint",
            "umd.sip.framing",
            "umd.sip.sdp",
            "umd.sip.session",
            "umd.sip.validate",
            "umd.soap.envelope",
            "umd.soap.fault",
            "umd.soap.um",
            "umd.timers",
        )
        self.assertEqual(loaded & {"twisted", "structlog", "pydantic", "asyncio"}, set())

    def test_the_commands_of_the_lab_come_at_once(self) -> None:
        loaded = loaded_by("umd.cli.lab")
        self.assertEqual(loaded & {"twisted", "structlog", "pydantic", "multiprocessing"}, set())

    def test_the_command_line_comes_at_once(self) -> None:
        loaded = loaded_by(
            "umd.cli.main",
            "umd.cli.screen",
            "umd.management.client",
            "umd.trace.ladder",
            "umd.trace.pcap",
        )
        slow = {"twisted", "structlog", "pydantic", "lxml", "orjson", "asyncio"}
        self.assertEqual(loaded & slow, set())
