"""Imports point inward: a room imports only the rooms that the table allows."""

from __future__ import annotations

import json
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.architecture.imports import Source, room_of
from tests.architecture.rooms import MAY_IMPORT, WITHOUT_TWISTED, cycles, forbidden_imports


class RoomTests(SynchronousTestCase):
    source = Source()

    def test_every_import_between_rooms_is_in_the_table(self) -> None:
        self.assertEqual(set(forbidden_imports(self.source)), set())

    def test_the_table_leads_inward(self) -> None:
        """A room may import only rooms that come before it in the table."""
        for number, (room, others) in enumerate(MAY_IMPORT.items()):
            self.assertLessEqual(others, {*list(MAY_IMPORT)[:number]}, room)

    def test_a_forbidden_import_is_found(self) -> None:
        source = Source()
        source.__dict__["imports"] = {
            "umd.sip.dialog": frozenset({"umd.control.control", "umd.sip.message"}),
            "umd.sip.message": frozenset({"umd.sip.dialog"}),
        }
        self.assertEqual(
            list(forbidden_imports(source)), [("umd.sip.dialog", "umd.control.control")]
        )
        self.assertEqual(cycles(source.imports), [["umd.sip.dialog", "umd.sip.message"]])


class LoadedTests(SynchronousTestCase):
    """What a fresh interpreter loads, in whatever way a module is reached."""

    def test_the_core_loads_no_twisted(self) -> None:
        core = [name for name in Source().files if room_of(name) in WITHOUT_TWISTED]
        self.assertEqual(loaded_by(*core) & {"twisted", "structlog"}, set())

    def test_only_the_configuration_loads_pydantic(self) -> None:
        core = {*WITHOUT_TWISTED} - {"config"}
        names = [name for name in Source().files if room_of(name) in core]
        names += ["umd.backends.sip_legs", "umd.http.reader", "umd.journal.file", "umd.trace.pcap"]
        self.assertEqual(loaded_by(*names) & {"pydantic", "asyncio", "click"}, set())

    def test_only_commands_load_click(self) -> None:
        self.assertEqual(loaded_by("umd.daemon.process") & {"click"}, set())

    def test_the_commands_of_the_lab_come_at_once(self) -> None:
        loaded = loaded_by("umd.cli.lab")
        self.assertEqual(loaded & {"twisted", "structlog", "pydantic", "multiprocessing"}, set())

    def test_the_command_line_comes_at_once(self) -> None:
        loaded = loaded_by(
            "umd.cli.main",
            "umd.cli.terminal_text",
            "umd.management.client",
            "umd.trace.ladder",
            "umd.trace.pcap",
        )
        slow = {"twisted", "structlog", "pydantic", "lxml", "orjson", "asyncio"}
        self.assertEqual(loaded & slow, set())


class OldNameTests(SynchronousTestCase):
    def test_modules_that_plugins_import_under_their_old_names(self) -> None:
        """A backend that was written before they moved still finds them."""
        from umd import clock, number
        from umd.runtime.clock import Alarms
        from umd.sip import number as moved

        self.assertIs(clock.Alarms, Alarms)
        for name in ("read_number", "Telephone", "SipAddress", "Name", "NotDialable"):
            self.assertIs(getattr(number, name), getattr(moved, name))


def loaded_by(*modules: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after these imports."""
    program = (
        f"import {', '.join(modules)}, sys, json; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return set(json.loads(output.stdout))
