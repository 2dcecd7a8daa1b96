"""Autodiscover in its SOAP form, as the published pages have it."""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from umd.soap import autodiscover_svc
from umd.soap.autodiscover_svc import MAX_SUBJECTS, NAMESPACE
from umd.soap.document import InvalidRequest
from umd.soap.envelope import SOAP11, SOAP12, MustUnderstand, NoSuchOperation

BASE = "https://umd.example:8443"
WSA = "http://www.w3.org/2005/08/addressing"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
A = f"{{{NAMESPACE}}}"


def asking(
    operation: str, asked: str, settings: str, soap: str = SOAP11, header: str = ""
) -> bytes:
    """Return a request. `asked` is XML; blanks separate the settings."""
    wanted = "".join(f"<a:Setting>{name}</a:Setting>" for name in settings.split())
    return (
        f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{soap}" xmlns:a="{NAMESPACE}" '
        f'xmlns:w="{WSA}"><s:Header>'
        "<a:RequestedServerVersion>Exchange2016</a:RequestedServerVersion>"
        f'<w:Action s:mustUnderstand="1">{NAMESPACE}/Autodiscover/{operation}</w:Action>'
        f"<w:To>https://x</w:To>{header}</s:Header><s:Body><a:{operation}RequestMessage><a:Request>"
        f"{asked}<a:RequestedSettings>{wanted}</a:RequestedSettings></a:Request>"
        f"</a:{operation}RequestMessage></s:Body></s:Envelope>"
    ).encode()


def users(*addresses: str) -> str:
    each = "".join(f"<a:User><a:Mailbox>{one}</a:Mailbox></a:User>" for one in addresses)
    return f"<a:Users>{each}</a:Users>"


def domains(*names: str) -> str:
    return "<a:Domains>" + "".join(f"<a:Domain>{one}</a:Domain>" for one in names) + "</a:Domains>"


class SvcCase(SynchronousTestCase):
    def ask(self, request: bytes) -> etree._Element:
        """Return the Response element, which begins with its own ErrorCode."""
        envelope, octets = autodiscover_svc.answer(request, BASE)
        self.assertTrue(octets.startswith(b'<?xml version="1.0" encoding="utf-8"?>'))
        root = etree.fromstring(octets)
        self.assertEqual(root.tag, f"{{{envelope}}}Envelope")
        self.assertEqual(root.findtext(f".//{A}ServerVersionInfo/{A}MajorVersion"), "14")
        response = root.find(f"{{{envelope}}}Body/*/{A}Response")
        assert response is not None
        return response

    def settings(self, response: etree._Element, word: str = "User") -> dict[str, str]:
        return {
            one.findtext(f"{A}Name", ""): one.findtext(f"{A}Value", "")
            for one in response.iter(f"{A}{word}Setting")
        }

    def codes(self, response: etree._Element) -> list[str]:
        return [str(one.text) for one in response.iter(f"{A}ErrorCode")]


class UserTests(SvcCase):
    def test_the_addresses_of_both_endpoints(self) -> None:
        wanted = "ExternalEwsUrl InternalEwsUrl ExternalUMUrl InternalUMUrl AutoDiscoverSMTPAddress"
        for soap in (SOAP11, SOAP12):
            request = asking("GetUserSettings", users("j\xf6rg@example.com"), wanted, soap)
            response = self.ask(request)
            self.assertEqual(
                self.settings(response),
                {
                    "ExternalEwsUrl": f"{BASE}/EWS/Exchange.asmx",
                    "InternalEwsUrl": f"{BASE}/EWS/Exchange.asmx",
                    "ExternalUMUrl": f"{BASE}/EWS/UM2007Legacy.asmx",
                    "InternalUMUrl": f"{BASE}/EWS/UM2007Legacy.asmx",
                    "AutoDiscoverSMTPAddress": "j\xf6rg@example.com",
                },
            )
            self.assertEqual(self.codes(response), ["NoError", "NoError"])
            parent = response.getparent()
            assert parent is not None
            self.assertEqual(parent.tag, f"{A}GetUserSettingsResponseMessage")

    def test_the_order_of_the_schema(self) -> None:
        response = self.ask(asking("GetUserSettings", users("a@b"), "CasVersion"))
        names = [etree.QName(one).localname for one in response]
        self.assertEqual(names, ["ErrorCode", "ErrorMessage", "UserResponses"])
        (one,) = response.iter(f"{A}UserResponse")
        names = [etree.QName(child).localname for child in one]
        order = ["ErrorCode", "ErrorMessage", "RedirectTarget", "UserSettingErrors", "UserSettings"]
        self.assertEqual(names, order)
        (setting,) = response.iter(f"{A}UserSetting")
        self.assertEqual(setting.get(f"{{{XSI}}}type"), "StringSetting")

    def test_an_unknown_setting(self) -> None:
        asked = "UserDN ExternalEwsUrl &lt;x&gt; UserDN"
        response = self.ask(asking("GetUserSettings", users("a@b"), asked))
        self.assertEqual(list(self.settings(response)), ["ExternalEwsUrl"])
        errors = [
            (one.findtext(f"{A}ErrorCode"), one.findtext(f"{A}SettingName"))
            for one in response.iter(f"{A}UserSettingError")
        ]
        self.assertEqual(errors, [("InvalidSetting", "UserDN"), ("InvalidSetting", "<x>")])

    def test_several_users_and_an_unknown_one(self) -> None:
        asked = users("alice@example.com", "unknown", "@example.com", "x@", "b&lt;@c")
        response = self.ask(asking("GetUserSettings", asked, "UserDisplayName"))
        codes = [one.findtext(f"{A}ErrorCode") for one in response.iter(f"{A}UserResponse")]
        self.assertEqual(codes, ["NoError", "InvalidUser", "InvalidUser", "InvalidUser", "NoError"])
        names = [one.text for one in response.iter(f"{A}Value")]
        self.assertEqual(names, ["alice", "b<"])

    def test_no_user_no_setting_or_too_many_users(self) -> None:
        for asked, settings in (
            (users(), "CasVersion"), (users("a@b"), ""),
            (users(*["a@b"] * (MAX_SUBJECTS + 1)), "CasVersion"),
        ):  # fmt: skip
            response = self.ask(asking("GetUserSettings", asked, settings))
            self.assertEqual(self.codes(response), ["InvalidRequest"])
        response = self.ask(asking("GetUserSettings", users(*["a@b"] * MAX_SUBJECTS), "CasVersion"))
        self.assertEqual(self.codes(response), ["NoError"] * (MAX_SUBJECTS + 1))


class DomainTests(SvcCase):
    def test_the_settings_of_a_domain(self) -> None:
        asked = domains("example.com", "", "a@b")
        response = self.ask(asking("GetDomainSettings", asked, "ExternalEwsUrl Nothing"))
        found = self.settings(response, "Domain")
        self.assertEqual(found, {"ExternalEwsUrl": f"{BASE}/EWS/Exchange.asmx"})
        codes = [one.findtext(f"{A}ErrorCode") for one in response.iter(f"{A}DomainResponse")]
        self.assertEqual(codes, ["NoError", "InvalidDomain", "InvalidDomain"])
        (error,) = response.iter(f"{A}DomainSettingError")
        self.assertEqual(error.findtext(f"{A}SettingName"), "Nothing")


class InvalidTests(SvcCase):
    def refused(self, request: bytes, kind: type[InvalidRequest] = InvalidRequest) -> None:
        with self.assertRaises(kind):
            autodiscover_svc.answer(request, BASE)

    def test_invalid_requests(self) -> None:
        good = asking("GetUserSettings", users("a@b"), "CasVersion")
        for octets in (
            b"", b"<a/>", good[:-1], good.replace(b"Users>", b"Userz>"),
            good.replace(b"a:Request>", b"a:Asked>"), good.replace(b"Mailbox>", b"Box>"),
            good.replace(b"RequestedSettings>", b"Settings>"), b"<!DOCTYPE a>" + good,
            good.replace(b"a@b", b"<b/>"),
        ):  # fmt: skip
            self.refused(octets)
        self.refused(good.replace(b"GetUser", b"SetUser"), NoSuchOperation)
        other = good.replace(b'xmlns:a="' + NAMESPACE.encode(), b'xmlns:a="urn:x')
        self.refused(other, NoSuchOperation)

    def test_an_unknown_header_block(self) -> None:
        block = '<x:y xmlns:x="urn:x" s:mustUnderstand="1"/>'
        self.refused(asking("GetUserSettings", "", "", header=block), MustUnderstand)
