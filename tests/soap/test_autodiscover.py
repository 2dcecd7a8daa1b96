"""Autodiscover in its POX form, as MS-OXDSCLI has it."""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from umd.soap import autodiscover

REQUEST = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
BASE = "https://umd.example:8443"


def request(fields: str, name: str = "Autodiscover") -> bytes:
    return f'<{name} xmlns="{REQUEST}"><Request>{fields}</Request></{name}>'.encode()


def asking(address: str, schema: str = OUTLOOK) -> bytes:
    return request(
        f"<EMailAddress>{address}</EMailAddress>"
        f"<AcceptableResponseSchema>{schema}</AcceptableResponseSchema>"
    )


class AutodiscoverTests(SynchronousTestCase):
    def ask(self, body: bytes) -> etree._Element:
        octets = autodiscover.answer(body, BASE, 1_000_000.25)
        self.assertTrue(octets.startswith(b'<?xml version="1.0" encoding="utf-8"?>'))
        return etree.fromstring(octets)

    def error_of(self, body: bytes) -> tuple[str, str]:
        root = self.ask(body)
        (error,) = root.iter(f"{{{RESPONSE}}}Error")
        self.assertEqual(error.get("Time"), "13:46:40.2500000")
        return (
            error.findtext(f"{{{RESPONSE}}}ErrorCode", ""),
            error.findtext(f"{{{RESPONSE}}}Message", ""),
        )

    def test_both_addresses_for_clients_inside_and_outside(self) -> None:
        root = self.ask(asking("alice@example.com"))
        self.assertEqual(root.tag, f"{{{RESPONSE}}}Autodiscover")
        protocols = list(root.iter(f"{{{OUTLOOK}}}Protocol"))
        self.assertEqual(
            [one.findtext(f"{{{OUTLOOK}}}Type") for one in protocols], ["EXCH", "EXPR"]
        )
        for one in protocols:
            urls = [one.findtext(f"{{{OUTLOOK}}}{name}") for name in ("EwsUrl", "UMUrl")]
            self.assertEqual(
                urls, [f"{BASE}/EWS/Exchange.asmx", f"{BASE}/EWS/UM2007Legacy.asmx"]
            )
        self.assertEqual(root.findtext(f".//{{{OUTLOOK}}}Action"), "settings")
        self.assertEqual(
            root.findtext(f".//{{{OUTLOOK}}}AutoDiscoverSMTPAddress"), "alice@example.com"
        )

    def test_an_address_is_escaped(self) -> None:
        root = self.ask(asking("&lt;x&gt;@example.com"))
        self.assertEqual(root.findtext(f".//{{{OUTLOOK}}}DisplayName"), "<x>")
        self.assertEqual(
            root.findtext(f".//{{{OUTLOOK}}}AutoDiscoverSMTPAddress"), "<x>@example.com"
        )
        octets = autodiscover.answer(asking("a@example.com"), "http://h<&", 0.0)
        url = etree.fromstring(octets).findtext(f".//{{{OUTLOOK}}}UMUrl")
        self.assertEqual(url, "http://h<&/EWS/UM2007Legacy.asmx")

    def test_invalid_requests(self) -> None:
        for body in (
            b"",
            b"<a/>",
            b"<!DOCTYPE a><a/>",
            request(""),
            request("<EMailAddress/>"),
            request("<EMailAddress>a@example.com</EMailAddress>", "Other"),
            request("<EMailAddress><b/>a@example.com</EMailAddress>"),
        ):
            self.assertEqual(self.error_of(body), ("600", "Invalid Request"), body)

    def test_another_schema(self) -> None:
        code, _ = self.error_of(asking("a@example.com", "urn:mobile"))
        self.assertEqual(code, "601")
