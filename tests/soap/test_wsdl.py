"""WSDL and schemas are valid, complete, and agree with the documents that umd writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.soap.test_examples import (
    EWS_EXAMPLES,
    EWS_REQUEST,
    EWS_RESPONSE,
    UM_EXAMPLES,
)
from umd.soap import pages, wsdl
from umd.soap.contract import CONTRACTS, EWS, UM, Contract
from umd.soap.namespaces import MESSAGES, TYPES

WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
SOAP = "{http://schemas.xmlsoap.org/wsdl/soap/}"
SOAP12 = "{http://schemas.xmlsoap.org/wsdl/soap12/}"
XS = "{http://www.w3.org/2001/XMLSchema}"
DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


class _Beside(etree.Resolver):
    """Resolves an imported schema without a request."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def resolve(self, system_url: Any, public_id: Any, context: Any) -> Any:
        octets = wsdl.write_schema(self.contract, system_url.rpartition("=")[2], "http://h/x")
        assert octets is not None, system_url
        return self.resolve_string(octets.decode().partition("?>")[2], context)


def schema_of(contract: Contract) -> etree.XMLSchema:
    parser = etree.XMLParser()
    parser.resolvers.add(_Beside(contract))
    octets = wsdl.write_schema(contract, "messages", "http://h/x")
    assert octets is not None
    return etree.XMLSchema(etree.fromstring(octets, parser))


class WsdlTests(SynchronousTestCase):
    def test_every_operation_in_every_place(self) -> None:
        for contract in CONTRACTS:
            root = etree.fromstring(wsdl.write_wsdl(contract, "http://h/x"))
            names = list(contract.operations)
            for place in ("portType", "binding"):
                found = [o.get("name") for o in root.findall(f"{WSDL}{place}/{WSDL}operation")]
                self.assertEqual(found, names)
            actions = [o.get("soapAction") for o in root.iter(f"{SOAP}operation")]
            self.assertEqual(actions, [f"{MESSAGES}/{name}" for name in names])
            messages = [m.get("name") for m in root.findall(f"{WSDL}message")]
            self.assertEqual(
                messages, [name + way for name in names for way in ("SoapIn", "SoapOut")]
            )

    def test_it_is_loaded_by_one_request(self) -> None:
        for contract in CONTRACTS:
            octets = wsdl.write_wsdl(contract, "http://h/x")
            self.assertNotIn(b"schemaLocation", octets)
            root = etree.fromstring(octets)
            schemas = root.findall(f"{WSDL}types/{XS}schema")
            self.assertIn(MESSAGES, [schema.get("targetNamespace") for schema in schemas])
            self.assertEqual({s.get("elementFormDefault") for s in schemas}, {"qualified"})

    def test_every_reference_of_a_message_is_defined(self) -> None:
        for contract in CONTRACTS:
            root = etree.fromstring(wsdl.write_wsdl(contract, "http://h/x", soap12=True))
            elements = {
                f"{schema.get('targetNamespace')}#{element.get('name')}"
                for schema in root.iter(f"{XS}schema")
                for element in schema.findall(f"{XS}element")
            }
            prefixes = {"tns": MESSAGES, "t": TYPES}
            for part in root.iter(f"{WSDL}part"):
                prefix, _, name = part.get("element", "").partition(":")
                self.assertIn(f"{prefixes[prefix]}#{name}", elements)

    def test_soap_1_2_only_when_asked_for(self) -> None:
        """A client that finds SOAP 1.2 may switch to it; the first port is SOAP 1.1."""
        for contract in CONTRACTS:
            plain = etree.fromstring(wsdl.write_wsdl(contract, "http://h/x"))
            self.assertEqual(list(plain.iter(f"{SOAP12}binding")), [])
            both = etree.fromstring(wsdl.write_wsdl(contract, "http://h/x", soap12=True))
            first, second = both.iter(f"{WSDL}port")
            self.assertEqual([first[0].tag, second[0].tag], [f"{SOAP}address", f"{SOAP12}address"])

    def test_an_address_is_quoted(self) -> None:
        octets = wsdl.write_wsdl(UM, 'http://h"/><x>')
        (address,) = etree.fromstring(octets).iter(f"{SOAP}address")
        self.assertEqual(address.get("location"), 'http://h"/><x>')

    def test_the_examples_are_valid(self) -> None:
        schema = schema_of(UM)
        for name, example in UM_EXAMPLES.items():
            for text in (example.request, example.response):
                schema.assertValid(etree.fromstring(text))
        schema = schema_of(EWS)
        for name, example in EWS_EXAMPLES.items():
            for text in (
                EWS_REQUEST.format(example.request),
                EWS_RESPONSE.format(example.response),
            ):
                body = etree.fromstring(text.encode())[-1][0]
                self.assertTrue(schema.validate(body), f"{name}: {schema.error_log}")

    def test_a_problem_by_ews_is_valid(self) -> None:
        text = (
            f'<PlayOnPhoneResponse xmlns="{MESSAGES}" ResponseClass="Error"><MessageText>x'
            "</MessageText><ResponseCode>ErrorItemNotFound</ResponseCode>"
            "<DescriptiveLinkKey>0</DescriptiveLinkKey></PlayOnPhoneResponse>"
        )
        schema_of(EWS).assertValid(etree.fromstring(text))


class AddressTests(SynchronousTestCase):
    def test_imports_have_the_host_of_the_client(self) -> None:
        octets = wsdl.write_schema(EWS, "messages", 'http://h"&/EWS/Exchange.asmx')
        assert octets is not None
        (imported,) = etree.fromstring(octets).iter(f"{XS}import")
        self.assertEqual(
            imported.get("schemaLocation"), 'http://h"&/EWS/Exchange.asmx?xsd=types'
        )
        octets = wsdl.FILES["/ews/messages.xsd"]("http://h")
        (imported,) = etree.fromstring(octets).iter(f"{XS}import")
        self.assertEqual(imported.get("schemaLocation"), "http://h/EWS/types.xsd")

    def test_the_host_of_a_request_is_not_cached(self) -> None:
        """A cache by Host would grow by 3 KB for each invented name."""
        before = wsdl._schema.cache_info().currsize
        for number in range(100):
            wsdl.write_schema(EWS, "messages", f"http://h{number}/x")
            wsdl.FILES["/ews/types.xsd"](f"http://h{number}")
        self.assertLess(wsdl._schema.cache_info().currsize - before, 8)


class PageTests(SynchronousTestCase):
    def test_the_documentation_is_current(self) -> None:
        """If not: python -m umd.soap.pages > docs/operations.md"""
        self.assertEqual(DOCS.read_text(), pages.reference())

    def test_every_operation_and_problem_is_documented(self) -> None:
        text = pages.reference()
        for contract in CONTRACTS:
            page = pages.endpoint(contract, "http://h/x").decode()
            for operation in contract.operations.values():
                self.assertIn(f"### {operation.name}\n", text)
                self.assertIn(f"<code>{operation.name}</code>", page)
                for problem in operation.problems:
                    self.assertIn(pages.code_of(contract.family, problem), text)
