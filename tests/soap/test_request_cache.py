"""A cached request is what libxml2 would have read, whatever a client sends."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.soap.helpers import values_of
from umd.soap import contract
from umd.soap.contract import UM, SoapRequest, read_request
from umd.soap.document import InvalidRequest
from umd.soap.request_cache import RequestCache

REQUEST = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">{header}<soap:Body>'
    '<Disconnect xmlns="http://schemas.microsoft.com/exchange/services/2006/messages">'
    "<CallId>{call_id}</CallId>{more}</Disconnect></soap:Body></soap:Envelope>"
)


def request(call_id: str, header: str = "", more: str = "") -> bytes:
    return REQUEST.format(call_id=call_id, header=header, more=more).encode()


def outcome(body: bytes, *, parsed: bool) -> object:
    try:
        soap_request = contract._read_parsed(UM, body) if parsed else read_request(UM, body)
    except InvalidRequest as error:
        return str(error)
    return (
        soap_request.operation.name,
        values_of(soap_request),
        soap_request.envelope,
        soap_request.messages,
    )


class RequestCacheTests(SynchronousTestCase):
    def cache_of(self, *bodies: bytes) -> RequestCache[SoapRequest]:
        cache: RequestCache[SoapRequest] = RequestCache()
        for body in bodies:
            soap_request = contract._read_parsed(UM, body)
            cache.add(body, values_of(soap_request)["call_id"], soap_request)
        return cache

    def test_another_call_id_in_the_same_request(self) -> None:
        found = self.cache_of(request("abc=")).find(request("xyz+/=="))
        assert found is not None
        self.assertEqual((found[0].operation.name, found[1]), ("Disconnect", "xyz+/=="))

    def test_what_could_be_more_than_text_is_parsed(self) -> None:
        cache = self.cache_of(request("abc"))
        for call_id in ("", " abc", "a<!-- -->b", "a&amp;b", "a<b/>", "é", "]]>", "a b", "a" * 513):
            self.assertIsNone(cache.find(request(call_id)), call_id)
        self.assertIsNone(cache.find(request("abc", header="<soap:Header/>")))

    def test_a_request_is_not_cached_if_its_octets_are_not_the_value(self) -> None:
        header = "<soap:Header><x>{}</x></soap:Header>"
        for body in (
            request(" abc"),
            request("<!-- -->abc"),
            request("<![CDATA[abc]]>"),
            request("&#97;bc"),
            request("abc", header=header.format("CallId>abc")),
            request("abc", header=header.format("<CallId>abc</CallId>")),
            request("abc", header='<soap:Header x="CallId>"/>'),
            request("abc", header=header.format("<CallId>abc</CallId>")).replace(
                b'messages"><CallId>abc</CallId>', b'messages"><CallId a="1">abc</CallId >'
            ),
            request("abc").replace(b"</CallId>", b"</CallId ><!--</CallId>-->"),
        ):
            self.assertEqual(self.cache_of(body)._requests, {}, body)

    def test_the_oldest_request_is_dropped(self) -> None:
        cache: RequestCache[int] = RequestCache(max_requests=3)
        for number in range(10):
            cache.add(request("abc", header=f"<h{number}/>"), "abc", number)
        self.assertEqual(list(cache._requests.values()), [7, 8, 9])

    def test_the_cache_agrees_with_libxml2(self) -> None:
        """Ten thousand requests made of pieces that are easy to confuse."""
        choices = random.Random(5)
        pieces = ["CallId", "<CallId>", "</CallId>", "<m:CallId>", "abc", "xyz", ">", "<", "/", "&",
                  '"', "<!--", "-->", "<![CDATA[", "]]>", " ", "<x>", "</x>", "<x/>", "CallId>"]
        same = 0
        for _ in range(10_000):
            picked = "".join(choices.choices(pieces, k=choices.randint(0, 3)))
            where = choices.choice(("call_id", "header", "more"))
            given = {"call_id": choices.choice(("abc", "xyz")), where: picked}
            if where == "header":
                given[where] = f"<soap:Header><y>{picked}</y></soap:Header>"
            body = request(**given)
            expected = outcome(body, parsed=True)
            self.assertEqual(outcome(body, parsed=False), expected, body)
            same += not isinstance(expected, str)
        self.assertGreater(same, 1000)
