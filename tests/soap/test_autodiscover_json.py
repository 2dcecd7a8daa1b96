"""Autodiscover in its JSON form."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from umd.soap import autodiscover_json

BASE = "https://umd.example:8443"
PATH = "/Autodiscover/Autodiscover.json"
EWS = {"Protocol": "EWS", "Url": f"{BASE}/EWS/Exchange.asmx"}


class JsonTests(SynchronousTestCase):
    def ask(self, query: str, path: str = PATH) -> tuple[int, dict[str, Any]]:
        self.assertTrue(autodiscover_json.is_path(path.lower()))
        status, octets = autodiscover_json.answer(path, query, BASE)
        return status, json.loads(octets)

    def test_the_address_of_ews(self) -> None:
        for query in (
            "Email=alice@example.com&Protocol=EWS", "protocol=ews&EMAIL=alice%40example.com",
            "Email=a%2Bb@example.com&Protocol=Ews&RedirectCount=1", "Protocol=EWS&x&Email=a@b&x=",
        ):  # fmt: skip
            self.assertEqual(self.ask(query), (200, EWS), query)
        for path in ("/v1.0/alice@example.com", "/V1.0/Alice%40Example.com"):
            self.assertEqual(self.ask("Protocol=EWS", PATH + path), (200, EWS))

    def test_the_address_of_the_other_form(self) -> None:
        url = f"{BASE}/Autodiscover/Autodiscover.xml"
        found = self.ask("Email=a@b&Protocol=autodiscoverv1")
        self.assertEqual(found, (200, {"Protocol": "AutodiscoverV1", "Url": url}))

    def test_mistakes(self) -> None:
        for query, code in (
            ("", "MandatoryParameterMissing"),
            ("Email=a@b", "MandatoryParameterMissing"),
            ("Email=a@b&Protocol=", "MandatoryParameterMissing"),
            ("Protocol=EWS", "MandatoryParameterMissing"),
            ("Email=a&Protocol=EWS", "MandatoryParameterMissing"),
            ("Email=@b&Protocol=EWS", "MandatoryParameterMissing"),
            ("Email=a@b&Protocol=ActiveSync", "InvalidProtocol"),
            ("Email=a@b&Protocol=%3Cscript%3E", "InvalidProtocol"),
            ("Email=a%2540b&Protocol=EWS", "MandatoryParameterMissing"),
            ("Email=a@b&Protocol=EWS" + "&x=y" * 40, "InvalidRequest"),
        ):
            status, document = self.ask(query)
            self.assertEqual((status, document["ErrorCode"]), (400, code), query)
            self.assertTrue(document["ErrorMessage"])
        status, document = self.ask("Protocol=EWS", PATH + "/v1.0/")
        self.assertEqual((status, document["ErrorCode"]), (400, "MandatoryParameterMissing"))
        self.assertIn("'EWS'", self.ask("Email=a@b&Protocol=x")[1]["ErrorMessage"])
        long = self.ask("Email=a@b&Protocol=" + "\xe9" * 1000)[1]["ErrorMessage"]
        self.assertLess(len(long), 250)

    def test_other_paths_are_not_of_this_form(self) -> None:
        for path in ("/autodiscover/autodiscover.json/", "/autodiscover/autodiscover.json/v2.0/a@b",
                     "/autodiscover/autodiscover.jsonx", "/autodiscover"):  # fmt: skip
            self.assertFalse(autodiscover_json.is_path(path))
