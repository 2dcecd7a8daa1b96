"""
SOAP clients of other projects use umd: each loads the WSDL from the running daemon, and places,
watches and ends a call over HTTP.

`clients/README.md` describes how each client reports a fault.
"""

from __future__ import annotations

import time
from pathlib import Path
from signal import SIGKILL
from typing import Any
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.soap_clients import CLIENTS, Conversation
from umd.testing import UmdProcess

ENTRY_ID = "AAAA"
NUMBER = "+1 555 0100"
"""The number of a simulated far end that rings, answers and does not hang up."""
UNKNOWN = "bm9uZUBub3doZXJl"
"""The CallId of no call: none@nowhere in base64."""


class SoapClientCase(SynchronousTestCase):
    """Assertions that the tests of all clients share."""

    def assert_invalid_call_id_fault(self, answer: dict[str, Any], kind: str) -> None:
        fault = answer["fault"]
        self.assertEqual(fault["type"], kind)
        # Some clients put a prefix or the namespace before the code.
        self.assertEqual(fault["code"].rpartition(":")[2], "InvalidCallIdException")
        self.assertEqual(fault["text"], "The call identifier isn't valid.")
        self.assertIn("InvalidCallIdException", fault["detail"])

    def first_state_after_connecting(self, conversation: Conversation, call: str) -> str:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            answer = conversation.ask("state", call)
            self.assertEqual(answer["cause"], "None")
            if answer["state"] != "Connecting":
                return str(answer["state"])
            time.sleep(0.05)  # as a real client would, not a thousand times a second
        self.fail("the call stayed Connecting")


class SoapClientTests(SoapClientCase):
    def assert_completes_a_call(self, name: str, fault: str, query: str = "wsdl") -> None:
        """
        Place a call, wait until it is connected, end it, and end a call that does not exist.

        Args:
            name: the name of the client.
            fault: the client's own type of a SOAP fault.
        """
        client = CLIENTS[name]
        client.need()
        with UmdProcess() as umd:
            with Conversation(client, f"{umd.url}?{query}", Path(self.mktemp())) as conversation:
                call = conversation.ask("place", ENTRY_ID, NUMBER)["call"]
                self.assertEqual(self.first_state_after_connecting(conversation, call), "Connected")
                self.assertEqual(umd.events("call.disconnected"), [])
                self.assertEqual(conversation.ask("end", call), {"ended": True})
                self.assertEqual(
                    conversation.ask("state", call), {"state": "Disconnected", "cause": "None"}
                )
                self.assert_invalid_call_id_fault(conversation.ask("end", UNKNOWN), fault)
            self.assertEqual(umd.stop(), 0)
            (placed,) = umd.events("call.placed")
            (ended,) = umd.events("call.disconnected")
            self.assertEqual((ended["call"], ended["by"]), (placed["call"], "client"))
            self.assertEqual(ended["outcome"], "ended")

    def test_zeep(self) -> None:
        self.assert_completes_a_call("zeep", "Fault")

    def test_zeep_by_soap_1_2(self) -> None:
        self.assert_completes_a_call("zeep, SOAP 1.2", "Fault", "wsdl=soap12")

    def test_suds(self) -> None:
        self.assert_completes_a_call("suds", "WebFault")

    def test_php(self) -> None:
        self.assert_completes_a_call("php", "SoapFault")

    def test_perl(self) -> None:
        self.assert_completes_a_call("perl", "SOAP::SOM")

    def test_gsoap(self) -> None:
        self.assert_completes_a_call("gsoap", "SOAP_ENV__Fault")

    def test_gsoap_by_soap_1_2(self) -> None:
        """gSOAP uses the last binding in the WSDL, and reports SOAP 1.2 faults."""
        self.assert_completes_a_call("gsoap, SOAP 1.2", "SOAP_ENV__Fault", "wsdl=soap12")

    def test_node(self) -> None:
        self.assert_completes_a_call("node", "Error")

    def test_php_without_wsdl(self) -> None:
        """Without WSDL PHP sends RPC/encoded requests, whose fields are in no namespace."""
        self.assert_completes_a_call("php, without WSDL", "SoapFault")

    def test_zeep_at_ews(self) -> None:
        """EWS reports a wrong id in its response. It can end a call that the UM service placed."""
        client, other = CLIENTS["zeep, EWS"], CLIENTS["zeep"]
        client.need()
        with UmdProcess() as umd:
            ews = umd.url.replace("UM2007Legacy", "Exchange") + "?wsdl"
            with (
                Conversation(client, ews, Path(self.mktemp())) as conversation,
                Conversation(other, f"{umd.url}?wsdl", Path(self.mktemp())) as of_um,
            ):
                call = conversation.ask("place", ENTRY_ID, NUMBER)["call"]
                self.assertEqual(self.first_state_after_connecting(conversation, call), "Connected")
                self.assertEqual(conversation.ask("end", call), {"ended": True})
                self.assertEqual(conversation.ask("state", call)["state"], "Disconnected")
                crossed = of_um.ask("place", ENTRY_ID, NUMBER)["call"]
                self.assertEqual(conversation.ask("end", crossed), {"ended": True})
                fault = conversation.ask("end", UNKNOWN)["fault"]
            self.assertEqual((fault["type"], fault["code"]), ("Error", "ErrorInvalidPhoneCallId"))
            self.assertEqual(umd.stop(), 0)
            self.assertEqual(
                [line["outcome"] for line in umd.events("call.disconnected")], ["ended", "ended"]
            )


class RestartTests(SoapClientCase):
    """umd is killed during a call of a client, and started again on the same journal."""

    def assert_call_survives_a_restart(self, name: str, fault: str) -> None:
        """
        Place a call, kill and restart umd, and end the call with the same client process.

        The call is live after the restart, and ends once.
        """
        client = CLIENTS[name]
        client.need()
        journal = f"journal.path={Path(self.mktemp()).absolute()}"
        with UmdProcess("serve", "-o", journal) as before:
            with Conversation(client, f"{before.url}?wsdl", Path(self.mktemp())) as conversation:
                call = conversation.ask("place", ENTRY_ID, NUMBER)["call"]
                self.assertEqual(self.first_state_after_connecting(conversation, call), "Connected")
                before.stop(SIGKILL)
                port = urlsplit(before.url).port
                listen = f"http.listen=tcp:{port}:interface=127.0.0.1"
                with UmdProcess("serve", "-o", journal, "-o", listen) as after:
                    self.assertEqual(conversation.ask("state", call)["state"], "Connected")
                    self.assertEqual(conversation.ask("end", call), {"ended": True})
                    self.assertEqual(conversation.ask("state", call)["state"], "Disconnected")
                    self.assert_invalid_call_id_fault(conversation.ask("end", UNKNOWN), fault)
                    self.assertEqual(after.stop(), 0)
        (placed,) = before.events("call.placed")
        (opened,) = after.events("journal.opened")
        self.assertEqual(opened["live_calls"], 1)
        (ended,) = after.events("call.disconnected")
        self.assertEqual(ended["call"], placed["call"])
        self.assertEqual((ended["outcome"], ended["by"]), ("ended", "client"))
        self.assertEqual(before.events("call.disconnected"), [])
        answers = [line["outcome"] for line in after.events("soap.answered")]
        self.assertEqual(answers, ["ok", "ended", "ok", "unknown"])

    def test_zeep(self) -> None:
        self.assert_call_survives_a_restart("zeep", "Fault")

    def test_suds(self) -> None:
        self.assert_call_survives_a_restart("suds", "WebFault")

    def test_php(self) -> None:
        self.assert_call_survives_a_restart("php", "SoapFault")

    def test_perl(self) -> None:
        self.assert_call_survives_a_restart("perl", "SOAP::SOM")

    def test_gsoap(self) -> None:
        self.assert_call_survives_a_restart("gsoap", "SOAP_ENV__Fault")

    def test_node(self) -> None:
        self.assert_call_survives_a_restart("node", "Error")
