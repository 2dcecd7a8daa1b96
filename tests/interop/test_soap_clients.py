"""
umd against SOAP clients that others wrote: each loads the WSDL from the running daemon and carries
a call through its life over real HTTP.

What a client makes of a fault is told in `clients/README.md`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.soap_clients import CLIENTS, Conversation
from umd.testing import UmdProcess

ENTRY_ID = "AAAA"
NUMBER = "+1 555 0100"
"""It rings, answers and stays."""
UNKNOWN = "bm9uZUBub3doZXJl"
"""none@nowhere."""


class SoapClientTests(SynchronousTestCase):
    def assert_a_call_is_carried_through(self, name: str, fault: str, query: str = "wsdl") -> None:
        """
        Place it, see it connected, end it, and ask for the end of one that never was.

        Args:
            name: of the client.
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
                self.assert_the_fault(conversation.ask("end", UNKNOWN), fault)
            self.assertEqual(umd.stop(), 0)
            (placed,) = umd.events("call.placed")
            (ended,) = umd.events("call.disconnected")
            self.assertEqual((ended["call"], ended["by"]), (placed["call"], "client"))
            self.assertEqual(ended["outcome"], "ended")

    def first_state_after_connecting(self, conversation: Conversation, call: str) -> str:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            answer = conversation.ask("state", call)
            self.assertEqual(answer["cause"], "None")
            if answer["state"] != "Connecting":
                return str(answer["state"])
        self.fail("the call stayed Connecting")

    def assert_the_fault(self, answer: dict[str, Any], kind: str) -> None:
        fault = answer["fault"]
        self.assertEqual(fault["type"], kind)
        # Some show a prefix or the namespace before it.
        self.assertEqual(fault["code"].rpartition(":")[2], "InvalidCallIdException")
        self.assertEqual(fault["text"], "The call identifier isn't valid.")
        self.assertIn("InvalidCallIdException", fault["detail"])

    def test_zeep(self) -> None:
        self.assert_a_call_is_carried_through("zeep", "Fault")

    def test_zeep_by_soap_1_2(self) -> None:
        self.assert_a_call_is_carried_through("zeep, SOAP 1.2", "Fault", "wsdl=soap12")

    def test_suds(self) -> None:
        self.assert_a_call_is_carried_through("suds", "WebFault")

    def test_php(self) -> None:
        self.assert_a_call_is_carried_through("php", "SoapFault")

    def test_perl(self) -> None:
        self.assert_a_call_is_carried_through("perl", "SOAP::SOM")

    def test_gsoap(self) -> None:
        self.assert_a_call_is_carried_through("gsoap", "SOAP_ENV__Fault")

    def test_gsoap_by_soap_1_2(self) -> None:
        """It takes the last binding that is declared, faults of SOAP 1.2 included."""
        self.assert_a_call_is_carried_through("gsoap, SOAP 1.2", "SOAP_ENV__Fault", "wsdl=soap12")

    def test_node(self) -> None:
        self.assert_a_call_is_carried_through("node", "Error")
