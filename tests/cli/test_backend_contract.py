"""The command `umd backend-contract`: its matrix as text, JSON and JUnit, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import EntryPointStub
from umd.backend import CarriesMedia, ChecksFiles, FollowsPbx, RestoresLegs, ShowsMessages
from umd.cli.main import main
from umd.lab import contract_matrix
from umd.testing import FakeBackend, LegBackendContract


class FakeContract(LegBackendContract):
    """A contract without a `backend_type`, which makes its backend itself."""

    number_that_answers = "answers"
    number_that_rings = "rings"
    number_that_rejects = "rejects"
    not_offered = (CarriesMedia, ChecksFiles, FollowsPbx, RestoresLegs, ShowsMessages)

    def make_backend(self) -> Any:
        return FakeBackend(clock=self.clock)

    async def test_a_rule_of_the_plugin(self) -> None:
        """The plugin has a rule of its own."""


class FailingContract(FakeContract):
    """One of its numbers does not behave as it says."""

    number_that_rings = "answers"
    number_silent_to_bye = "silent"


class MatrixTests(SynchronousTestCase):
    def matrix(self, *arguments: str, status: int = 0, contract: object = None) -> Result:
        """Run the command; with a contract, that of the type `sim` is replaced."""
        if contract is not None:
            points = mock.Mock(return_value=[EntryPointStub(contract)])
            self.patch(contract_matrix, "entry_points", points)
        result = CliRunner().invoke(
            main, ["backend-contract", *arguments], catch_exceptions=False
        )
        self.assertEqual(result.exit_code, status, result.output)
        return result

    def test_the_built_in_backends_pass(self) -> None:
        """`sim` and `sip` pass at least 40 behaviours, and fail none."""
        for backend in ("sim", "sip"):
            rows = [json.loads(line) for line in self.matrix(backend, "--json").stdout.splitlines()]
            passed = [row["id"] for row in rows if row["result"] == "pass"]
            self.assertGreaterEqual(len(passed), 40)
            self.assertIn("restore.odd", passed)
            self.assertEqual(len({row["id"] for row in rows}), len(rows))
            for row in rows:
                self.assertEqual(row["backend"], backend)
                self.assertRegex(row["rule"], r"^[A-Z`].*\.$")
                self.assertEqual("why" in row, row["result"] != "pass")

    def test_the_table_for_people(self) -> None:
        lines = self.matrix("sim", contract=FailingContract, status=1).output.splitlines()
        self.assertEqual(
            lines[0],
            "pass         place.answered            The answer of a far end is reported once, and "
            "the leg stays.",
        )
        failed = lines.index(
            "FAIL         place.rings               A far end that rings is reported as ringing, "
            "and nothing else is."
        )
        self.assertIn("Answered", lines[failed + 1])
        self.assertTrue(any(line.startswith("not offered  look-up.live ") for line in lines))
        self.assertRegex(lines[-1], r"^101 behaviours: \d+ pass, [1-9] fail, \d+ not offered$")

    def test_a_rule_of_the_plugin_is_in_the_matrix(self) -> None:
        *_, last = self.matrix("sim", "--json", contract=FakeContract).stdout.splitlines()
        self.assertEqual(
            json.loads(last),
            {
                "backend": "sim",
                "id": "own.a-rule-of-the-plugin",
                "rule": "The plugin has a rule of its own.",
                "result": "pass",
            },
        )

    def test_junit(self) -> None:
        """A behaviour that fails is a failure, one that is not offered a skipped test."""
        file = self.mktemp()
        self.matrix("sim", "--junit", file, contract=FailingContract, status=1)
        suite = ElementTree.parse(file).getroot()
        self.assertEqual((suite.tag, suite.get("tests")), ("testsuite", "101"))
        for attribute, tag in (("failures", "failure"), ("skipped", "skipped")):
            self.assertEqual(int(suite.get(attribute, "")), len(suite.findall(f"*/{tag}")))
            self.assertGreater(len(suite.findall(f"*/{tag}")), 0)

    def test_a_setting_of_the_backend(self) -> None:
        """`-o` sets a key of the backend's section: with this T1, `sip` gives up too late."""
        output = self.matrix("sip", "-o", "t1=1s", status=1).output
        self.assertIn("FAIL         end.silent ", output)

    def test_a_wrong_setting(self) -> None:
        output = self.matrix("sim", "-o", "delai=1s", status=2).output
        self.assertIn("did you mean backend.sim.delay?", output)
        self.assertIn("1 mistake; nothing was tested.", output)

    def test_a_setting_that_the_contract_ignores(self) -> None:
        output = self.matrix("sim", "-o", "delay=1s", contract=FakeContract, status=2).output
        self.assertIn("so -o has no effect", output)

    def test_a_setting_that_leads_to_another_peer(self) -> None:
        """The far ends of the contract are not there: the command names the way out."""
        output = self.matrix("sip", "-o", "peer=udp:192.0.2.9:5060", status=2).output
        self.assertIn("brings its own peer; to test with another one, say by --number", output)

    def test_no_contract(self) -> None:
        for contract, reason in (
            (FakeBackend, "is no class derived from LegBackendContract"),
            (ImportError("no module named x"), "cannot be loaded: no module named x"),
        ):
            self.assertIn(reason, self.matrix("sim", contract=contract, status=2).output)
        self.patch(contract_matrix, "entry_points", lambda **_: [])
        output = self.matrix("sim", status=2).output
        self.assertIn("an entry point sim of umd.backend_contracts", output)

    def test_no_such_type(self) -> None:
        error = json.loads(self.matrix("simm", "--json", status=2).stderr)
        self.assertIn("no backend of type 'simm' is installed", error["error"])

    def test_only_some_behaviours(self) -> None:
        rows = self.matrix("sim", "--only", "restore", "--only", "end.tw", "--json").stdout
        ids = [json.loads(row)["id"] for row in rows.splitlines()]
        self.assertEqual(ids[0], "end.twice")
        self.assertTrue(all(id.startswith("restore.") for id in ids[1:]) and len(ids) > 5)
        output = self.matrix("sim", "--only", "restore", "--only", "restart", status=2).output
        self.assertIn("the id of no behaviour begins with 'restart'", output)

    def test_a_wrong_number(self) -> None:
        for pair in ("answers", "talks=100"):
            output = self.matrix("sim", "--number", pair, status=2).output
            self.assertIn("roles: answers, rings, rejects, hangs-up, silent", output)
        self.matrix("simm", "--number", "answers=100", status=2)

    def test_it_leaves_no_files(self) -> None:
        before = set(Path().rglob("*"))
        self.matrix("sim", "--json")
        self.assertEqual(set(Path().rglob("*")), before)
