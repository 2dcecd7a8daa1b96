"""
If umd reports that a call has ended, the call has ended at the far end: forty behaviours.

`tests.interop.truth` has the table of the behaviours; the numbers in the name of a test are its
rows. Each test runs `umd serve` with real peers, and compares the log of the far end, the reply to
the client and the journal of umd.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.peers.asterisk import Asterisk
from tests.interop.peers.baresip import Baresip
from tests.interop.peers.kamailio import Kamailio
from tests.interop.peers.process import LOOPBACK, Peer, wait_until
from tests.interop.peers.scenario import PASSWORD
from tests.interop.peers.sipp import FarEnd
from tests.interop.trunk import PlacedCall, Reply, Trunk

LONG: Final = os.environ.get("UMD_INTEROP") == "long"
ENDED: Final = Reply(200, "ended")
UNCONFIRMED: Final = Reply(200, "ended-unconfirmed")
ALREADY: Final = Reply(200, "already-ended")
P = TypeVar("P", bound=Peer)

CANCELLED: Final = """
    goto done
    :cancelled
    > 200 CANCEL
    > 487 INVITE
    < ACK
    :done
"""
ANSWERS: Final = """
    * CANCEL cancelled
    < INVITE
    > 180 INVITE
    > 200 INVITE
    < ACK
"""
PROBED: Final = ANSWERS.replace("200 INVITE", "200 INVITE Allow: INVITE, ACK, BYE, OPTIONS")
"""As `ANSWERS`, and the far end answers OPTIONS: umd can probe the call."""
TALKS: Final = ANSWERS + "< BYE\n > 200 BYE" + CANCELLED
RINGS: Final = "* CANCEL cancelled\n < INVITE\n > 180 INVITE\n pause 600000" + CANCELLED
CROSSES: Final = """
    * CANCEL cancelled
    < INVITE
    > 180 INVITE
    pause 600000
    :cancelled
    > 200 CANCEL
    > 200 INVITE
    < ACK
    < BYE
    > 200 BYE
"""


class TruthCase(SynchronousTestCase):
    """Starts peers and umd, which end with the test, and reads how a call ended."""

    def started(self, peer: P) -> P:
        """Start a peer, and end it after the test."""
        self.addCleanup(peer.stop)
        peer.start()
        return peer

    def far_end(self, script: str, port: int | None = None) -> FarEnd:
        return self.started(FarEnd(self.mktemp(), script, port=port))

    def trunk(self, peer: int, **keys: str) -> Trunk:
        """Start a umd that sends its calls to a port."""
        trunk = Trunk(self.mktemp(), peer, **keys)
        trunk.start()
        self.addCleanup(trunk.__exit__, None, None, None)
        return trunk

    def connected(self, trunk: Trunk, number: str) -> PlacedCall:
        call = trunk.place(number)
        trunk.wait_for("call.connected", call)
        return call

    def ringing(self, trunk: Trunk, number: str) -> PlacedCall:
        call = trunk.place(number)
        trunk.wait_for("call.alerting", call)
        return call

    def end_of(self, trunk: Trunk, call: PlacedCall) -> dict[str, Any]:
        """Wait until the journal has an end event of the call; return it. It is the only one."""

        def ends() -> list[dict[str, Any]]:
            record = trunk.record(call)
            return [e for e in record if e["event"] in ("call.disconnected", "call.lost")]

        wait_until(lambda: bool(ends()), f"the end of {call.leg} in the journal")
        (end,) = ends()
        return end

    def assert_ended(self, trunk: Trunk, call: PlacedCall, **wanted: Any) -> dict[str, Any]:
        """Assert that a call has one end event, with these values."""
        end = self.end_of(trunk, call)
        self.assertEqual({key: end.get(key) for key in wanted}, wanted, end)
        return end

    def assert_logged(self, far: FarEnd, call: PlacedCall, *wanted: str) -> None:
        """Assert that the far end has logged these messages of a call, and no others."""
        wait_until(lambda: len(far.logged(call.leg)) >= len(wanted), f"{wanted} at the far end")
        self.assertEqual(far.logged(call.leg), list(wanted))


class FarEndRows:
    """The rows whose far end is SIPp, called directly or by way of a proxy."""

    by_proxy: bool
    serve: Callable[..., tuple[Trunk, str]]
    """Start umd for a far end; return the umd and the number to dial."""
    far_end: Callable[..., FarEnd]
    connected: Callable[[Trunk, str], PlacedCall]
    ringing: Callable[[Trunk, str], PlacedCall]
    end_of: Callable[[Trunk, PlacedCall], dict[str, Any]]
    assert_ended: Callable[..., dict[str, Any]]
    assert_logged: Callable[..., None]
    assertEqual: Callable[..., Any]
    assertIn: Callable[..., Any]
    assertGreater: Callable[..., Any]

    # The state of the call

    def test_02_only_100_heard(self) -> None:
        far = self.far_end("* CANCEL cancelled\n< INVITE\n> 100 INVITE\npause 600000" + CANCELLED)
        trunk, number = self.serve(far)
        call = trunk.place(number)
        far.wait_for("INVITE", call.leg)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "CANCEL", "ACK")
        self.assert_ended(trunk, call, outcome="ended", by="client", sip_status=487)

    def test_03_ringing(self) -> None:
        far = self.far_end(RINGS)
        trunk, number = self.serve(far)
        call = self.ringing(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "CANCEL", "ACK")
        self.assert_ended(trunk, call, outcome="ended", by="client", sip_status=487, cause=16)

    def test_04_early_media(self) -> None:
        far = self.far_end(RINGS.replace("180", "183"))
        trunk, number = self.serve(far)
        call = self.ringing(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "CANCEL", "ACK")
        self.assert_ended(trunk, call, outcome="ended", by="client", sip_status=487)

    def test_06_answered_and_not_acknowledged(self) -> None:
        """umd is paused: the 200 and the Disconnect arrive at the same moment."""
        far = self.far_end(
            "< INVITE\n > 180 INVITE\n pause 600\n > 200 INVITE\n < ACK\n < BYE\n > 200 BYE"
        )
        trunk, number = self.serve(far)
        call = self.ringing(trunk, number)
        trunk.pause()
        pending = trunk.start_disconnect(call)
        wait_until(lambda: _sent(far, "SIP/2.0 200"), "the far end's 200")
        trunk.resume()
        self.assertEqual(pending.reply(), ENDED)
        logged = [entry for entry in far.logged(call.leg) if entry != "CANCEL"]
        self.assertEqual(logged, ["INVITE", "ACK", "BYE"])
        self.assert_ended(trunk, call, outcome="ended", by="client")

    def test_07_16_talking(self) -> None:
        far = self.far_end(TALKS)
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assert_ended(
            trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200, cause=16
        )

    def test_08_on_hold(self) -> None:
        far = self.far_end(
            ANSWERS + ">> INVITE\n < 200\n >> ACK\n < BYE\n > 200 BYE" + CANCELLED
        )
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        far.wait_for("200", call.leg)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "ACK", "200", "BYE")
        self.assert_ended(trunk, call, outcome="ended", by="client", sip_status=200)

    def test_09_reinvite_under_way(self) -> None:
        """umd is paused: the far end's re-INVITE and the Disconnect arrive at the same moment."""
        far = self.far_end(
            ANSWERS + "pause 600\n >> INVITE\n ? 200 answered\n ? 481 given-up\n ? 500 given-up\n"
            "< BYE\n > 200 BYE\n goto done\n"
            ":answered\n >> ACK\n :given-up\n ? BYE over\n < BYE\n :over\n > 200 BYE" + CANCELLED
        )
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        far.wait_for("ACK", call.leg)
        trunk.pause()
        pending = trunk.start_disconnect(call)
        wait_until(lambda: _sent(far, "INVITE "), "the far end's re-INVITE")
        trunk.resume()
        self.assertEqual(pending.reply(), ENDED)
        wait_until(lambda: "BYE" in far.logged(call.leg), "BYE at the far end")
        self.assertEqual(far.logged(call.leg).count("BYE"), 1)
        self.assert_ended(trunk, call, outcome="ended", by="client", sip_status=200)

    def test_12_ending_already(self) -> None:
        far = self.far_end(ANSWERS + "< BYE\n pause 700\n > 200 BYE" + CANCELLED)
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        first = trunk.start_disconnect(call)
        far.wait_for("BYE", call.leg)
        self.assertEqual((trunk.disconnect(call), first.reply()), (ENDED, ENDED))
        self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assert_ended(trunk, call, outcome="ended", by="client")

    def test_13_28_ended_by_itself(self) -> None:
        """The far end ends the call just before, with or without a Reason; umd keeps its cause."""
        for reason, cause in (("", 16), (" Reason: Q.850;cause=31", 31)):
            far = self.far_end(ANSWERS + f">> BYE{reason}\n < 200" + CANCELLED)
            trunk, number = self.serve(far)
            call = self.connected(trunk, number)
            far.wait_for("200", call.leg)
            self.assertEqual(trunk.disconnect(call), ALREADY)
            self.assert_logged(far, call, "INVITE", "ACK", "200")
            self.assert_ended(trunk, call, outcome="ended", by="far-end", cause=cause)

    def test_14_ended_long_ago(self) -> None:
        """umd remembers the end of a call over a restart."""
        far = self.far_end(TALKS)
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        trunk.kill()
        trunk.start()
        self.assertEqual(trunk.disconnect(call), ALREADY)
        self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assert_ended(trunk, call, outcome="ended", by="client")

    def test_15_never_existed(self) -> None:
        far = self.far_end(TALKS)
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        for garbage in ("", "AAAA", call.id[:-4], "\U0001f4de" * 100):
            self.assertEqual(trunk.disconnect(PlacedCall(garbage, "")), Reply(500, "unknown"))
        self.assert_logged(far, call, "INVITE", "ACK")
        self.assertEqual(trunk.disconnect(call), ENDED)

    # What the far end does

    def test_17_481_to_bye(self) -> None:
        far = self.far_end(ANSWERS + "< BYE\n > 481 BYE" + CANCELLED)
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=481)

    def test_18_other_answers_to_bye(self) -> None:
        """Other errors do not show that the call has ended; the status is recorded."""
        for status in (408, 500, 503):
            far = self.far_end(ANSWERS + f"< BYE\n > {status} BYE" + CANCELLED)
            trunk, number = self.serve(far)
            call = self.connected(trunk, number)
            self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
            self.assert_logged(far, call, "INVITE", "ACK", "BYE")
            # A proxy may answer 500 instead of 503 (RFC 3261 section 16.7).
            seen = 500 if self.by_proxy and status == 503 else status
            self.assert_ended(trunk, call, confirmed=False, by="client", sip_status=seen)

    def test_19_bye_challenged_without_credentials(self) -> None:
        far = self.far_end(
            ANSWERS + '< BYE\n > 401 BYE WWW-Authenticate: Digest realm="far",nonce="1"' + CANCELLED
        )
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assert_ended(trunk, call, confirmed=False, by="client", sip_status=401)

    def test_19_bye_challenged(self) -> None:
        """umd answers the challenge of the BYE."""
        ask = '> 401 BYE WWW-Authenticate: Digest realm="far",nonce="{}",qop="auth"'
        far = self.far_end(
            ANSWERS + f"< BYE\n {ask.format(1)}\n < BYE\n > 200 BYE" + CANCELLED
        )
        password = Path(str(far.directory / "password"))
        password.write_text("secret\n")
        trunk, number = self.serve(far, username="umd", password_file=str(password))
        call = self.connected(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "ACK", "BYE", "BYE")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_20_mute_to_bye(self) -> None:
        """umd replies at the deadline, repeats BYE until 64 T1, and then the call ends."""
        far = self.far_end(ANSWERS + "< BYE\n pause 600000" + CANCELLED)
        trunk, number = self.serve(far, deadline="300ms", t1="500ms" if LONG else "50ms")
        call = self.connected(trunk, number)
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        self.assertEqual(trunk.live(), {call.id})
        self.assert_ended(trunk, call, confirmed=False, by="client", sip_status=408)
        self.assertEqual(trunk.live(), set())
        self.assertGreater(far.count_received("BYE", call.leg), 2)
        self.assertEqual(far.logged(call.leg), ["INVITE", "ACK", "BYE"])

    def test_21_vanished(self) -> None:
        far = self.far_end(TALKS)
        trunk, number = self.serve(far, deadline="300ms", t1="500ms" if LONG else "50ms")
        call = self.connected(trunk, number)
        far.kill()
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        self.assert_ended(trunk, call, confirmed=False, by="client")

    def test_22_slow_to_bye(self) -> None:
        far = self.far_end(ANSWERS + "< BYE\n pause 2000\n > 200 BYE" + CANCELLED)
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assertGreater(far.count_received("BYE", call.leg), 1)
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_23_answer_crosses_cancel(self) -> None:
        far = self.far_end(CROSSES)
        trunk, number = self.serve(far)
        call = self.ringing(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "CANCEL", "ACK", "BYE")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client")

    def test_24_cancel_refused(self) -> None:
        """The telephone keeps ringing: the end is unconfirmed. Its answer gets ACK and BYE."""
        far = self.far_end(
            "* CANCEL cancelled\n < INVITE\n > 180 INVITE\n pause 600000\n :cancelled\n"
            "> 481 CANCEL\n pause 8000\n > 200 INVITE\n < ACK\n < BYE\n > 200 BYE"
        )
        trunk, number = self.serve(far, rings_for=1.0, deadline="300ms", t1="50ms")
        call = self.ringing(trunk, number)
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        self.assert_ended(trunk, call, confirmed=False, by="client")
        self.assert_logged(far, call, "INVITE", "CANCEL")
        far.wait_for("BYE", call.leg)
        self.assert_logged(far, call, "INVITE", "CANCEL", "ACK", "BYE")
        self.assert_ended(trunk, call, confirmed=False, by="client")

    def test_25_39_mute_to_cancel(self) -> None:
        """
        umd repeats CANCEL until 64 T1; then the end is unconfirmed, as the telephone keeps ringing.

        A proxy answers the CANCEL itself, and later the INVITE by its own 487.
        """
        far = self.far_end(
            "* CANCEL cancelled\n < INVITE\n > 180 INVITE\n pause 600000\n :cancelled\n"
            "pause 600000"
        )
        trunk, number = self.serve(
            far, rings_for=1.0, deadline="300ms", t1="500ms" if LONG else "200ms"
        )
        call = self.ringing(trunk, number)
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        self.assertEqual(trunk.live(), {call.id})
        self.assert_ended(trunk, call, outcome="ended-unconfirmed", confirmed=False, by="client")
        self.assertEqual(trunk.live(), set())
        self.assertGreater(far.count_received("CANCEL", call.leg), 2)
        self.assertEqual(far.logged(call.leg), ["INVITE", "CANCEL"])

    def test_26_ack_of_the_487_lost(self) -> None:
        """umd acknowledges the repeated 487 again; the call ends once."""
        far = self.far_end(
            "* CANCEL cancelled\n < INVITE\n > 180 INVITE\n pause 600000\n :cancelled\n"
            "> 200 CANCEL\n > 487 INVITE\n < ACK\n > 487 INVITE\n pause 300"
        )
        trunk, number = self.serve(far)
        call = self.ringing(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        wait_until(
            lambda: far.count_received("ACK", call.leg) >= 2 or self.by_proxy, "the second ACK"
        )
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=487)

    def test_27_both_hang_up(self) -> None:
        """The BYEs cross; the far end answers that of umd after umd has answered its own."""
        far = self.far_end(ANSWERS + "< BYE\n >> BYE\n < 200\n > 200 BYE" + CANCELLED)
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "ACK", "BYE", "200")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client")

    def test_29_30_refused(self) -> None:
        """umd records status and cause; it does not follow a redirection."""
        for status, cause in ((404, 1), (480, 18), (486, 17), (603, 21), (302, 127)):
            far = self.far_end(f"< INVITE\n > 180 INVITE\n > {status} INVITE\n < ACK")
            trunk, number = self.serve(far)
            call = trunk.place(number)
            self.assert_ended(
                trunk, call, outcome="ended", by="far-end", sip_status=status, cause=cause
            )
            self.assertEqual(trunk.disconnect(call), ALREADY)
            self.assert_logged(far, call, "INVITE", "ACK")

    # umd and its restarts

    def test_31_killed_between_request_and_teardown(self) -> None:
        far = self.far_end(ANSWERS + "< BYE\n < BYE\n > 200 BYE" + CANCELLED)
        trunk, number = self.serve(far, deadline="300ms")
        call = self.connected(trunk, number)
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        far.wait_for("BYE", call.leg)
        trunk.kill()
        trunk.start()
        self.assertIn(trunk.disconnect(call), (ENDED, ALREADY))
        self.assert_logged(far, call, "INVITE", "ACK", "BYE", "BYE")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_32_restarted_with_live_calls(self) -> None:
        far = self.far_end(TALKS)
        trunk, number = self.serve(far)
        calls = [self.connected(trunk, number) for _ in range(3)]
        for call in calls:
            far.wait_for("ACK", call.leg)
        trunk.kill()
        trunk.start()
        self.assertEqual(trunk.live(), {call.id for call in calls})
        for call in calls:
            self.assertEqual(trunk.disconnect(call), ENDED)
            self.assert_logged(far, call, "INVITE", "ACK", "BYE")
            self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client")

    def test_34_ended_while_umd_was_down(self) -> None:
        """umd probes the call at its start. The BYE was lost, and so the cause is unknown."""
        given_up = "< 408\n" if self.by_proxy else ""
        far = self.far_end(
            PROBED + f"pause 1500\n >> BYE\n {given_up} < OPTIONS\n > 481 OPTIONS" + CANCELLED
        )
        trunk, number = self.serve(far, patience=0.5)
        call = self.connected(trunk, number)
        far.wait_for("ACK", call.leg)
        trunk.kill()
        wait_until(lambda: _sent(far, "BYE "), "the far end's BYE")
        if given_up:
            far.wait_for("408", call.leg)
        trunk.start()
        self.assert_ended(trunk, call, outcome="lost", confirmed=False)
        self.assertIn("481", self.end_of(trunk, call)["reason"])
        self.assertEqual(trunk.disconnect(call), ALREADY)
        self.assertEqual(far.logged(call.leg)[-1], "OPTIONS")

    def test_38_far_end_restarted(self) -> None:
        """The far end has forgotten its calls: each is lost, with that reason, and unconfirmed."""
        far = self.far_end(PROBED + "< BYE\n > 200 BYE" + CANCELLED)
        trunk, number = self.serve(far, probe_interval="2s")
        calls = [self.connected(trunk, number) for _ in range(3)]
        for call in calls:
            far.wait_for("ACK", call.leg)
        far.kill()
        again = self.far_end("< OPTIONS\n > 481 OPTIONS", far.port)
        for call in calls:
            self.assert_ended(trunk, call, outcome="lost", confirmed=False)
            self.assertIn("481", self.end_of(trunk, call)["reason"])
            self.assert_logged(again, call, "OPTIONS")
            self.assertEqual(trunk.disconnect(call), ALREADY)
        self.assertEqual(trunk.live(), set())

    def test_40_many_clients(self) -> None:
        """Fifty clients end one call at once; then many calls end at once. Another call stays."""
        far = self.far_end(TALKS)
        trunk, number = self.serve(far)
        other = self.connected(trunk, number)
        call = self.connected(trunk, number)
        pending = [trunk.start_disconnect(call) for _ in range(50)]
        self.assertEqual(
            {request.reply().outcome for request in pending} - {"ended", "already-ended"}, set()
        )
        self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        calls = [trunk.place(number) for _ in range(500 if LONG else 50)]
        for call in calls:
            trunk.wait_for("call.connected", call)
        for request in [trunk.start_disconnect(call) for call in calls]:
            self.assertEqual(request.reply(), ENDED)
        for call in calls:
            self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assertEqual(trunk.live(), {other.id})
        self.assert_logged(far, other, "INVITE", "ACK")


def _sent(far: FarEnd, start: str) -> bool:
    return any(not sent.received and sent.text.startswith(start) for sent in far.messages())


class SippTruthTests(FarEndRows, TruthCase):
    """umd calls SIPp."""

    by_proxy = False

    def serve(
        self, far: FarEnd, *, patience: float = 0, rings_for: float = 0, **keys: str
    ) -> tuple[Trunk, str]:
        return self.trunk(far.port, **keys), "callee"

    def test_01_nothing_heard_yet(self) -> None:
        """umd sends CANCEL only after a provisional response; then no telephone rings."""
        far = self.far_end(
            "* CANCEL cancelled\n< INVITE\npause 1500\n> 180 INVITE\npause 600000" + CANCELLED
        )
        trunk, number = self.serve(far, deadline="300ms")
        call = trunk.place(number)
        far.wait_for("INVITE", call.leg)
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        self.assert_logged(far, call, "INVITE")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=487)
        self.assert_logged(far, call, "INVITE", "CANCEL", "ACK")

    def test_05_two_forks_ringing(self) -> None:
        far = self.far_end(
            "* CANCEL cancelled\n< INVITE\n> 180 INVITE tag=b\n> 180 INVITE\npause 600000"
            + CANCELLED
        )
        trunk, number = self.serve(far)
        call = self.ringing(trunk, number)
        self.assertEqual(trunk.disconnect(call).status, 200)
        self.assert_logged(far, call, "INVITE", "CANCEL", "ACK")


class KamailioTruthTests(FarEndRows, TruthCase):
    """umd calls SIPp by way of Kamailio, which stays in the path."""

    by_proxy = True
    proxy: Kamailio

    def serve(
        self, far: FarEnd, *, patience: float = 5.0, rings_for: float = 120.0, **keys: str
    ) -> tuple[Trunk, str]:
        proxy = Kamailio(self.mktemp(), patience=patience, rings_for=rings_for)
        self.proxy = self.started(proxy)
        return self.trunk(self.proxy.port, **keys), f"sip:callee@{LOOPBACK}:{far.port}"

    def test_05_two_forks_ringing(self) -> None:
        """Both forks stop ringing."""
        far, other = self.far_end(RINGS), self.far_end(RINGS)
        proxy = self.started(Kamailio(self.mktemp(), fork_to=other.port))
        trunk = self.trunk(proxy.port)
        call = self.ringing(trunk, f"sip:callee@{LOOPBACK}:{far.port}")
        far.wait_for("INVITE", call.leg)
        other.wait_for("INVITE", call.leg)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "CANCEL", "ACK")
        self.assert_logged(other, call, "INVITE", "CANCEL", "ACK")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=487)

    def test_30_rings_out(self) -> None:
        """The proxy gives up and answers 408."""
        far = self.far_end(RINGS)
        trunk, number = self.serve(far, rings_for=1.0)
        call = self.ringing(trunk, number)
        self.assert_ended(trunk, call, outcome="ended", by="far-end", sip_status=408, cause=102)
        self.assertEqual(trunk.disconnect(call), ALREADY)
        self.assert_logged(far, call, "INVITE", "CANCEL", "ACK")

    def phone(self, **keywords: Any) -> tuple[Baresip, Trunk, str]:
        """Start a telephone behind the proxy, and umd."""
        phone = self.started(Baresip(self.mktemp(), **keywords))
        self.proxy = self.started(Kamailio(self.mktemp()))
        trunk = self.trunk(self.proxy.port, probe_interval="1s")
        return phone, trunk, f"sip:phone@{LOOPBACK}:{phone.port}"

    def test_08_telephone_holds(self) -> None:
        phone, trunk, number = self.phone()
        call = self.connected(trunk, number)
        phone.wait_for("Call established")
        phone.command("hold")
        wait_until(lambda: self.proxy.lines(call.leg).count("200 INVITE") >= 2, "a re-INVITE")
        wait_until(lambda: "200 OPTIONS" in self.proxy.lines(call.leg), "an answer to OPTIONS")
        self.assertEqual(trunk.disconnect(call), ENDED)
        phone.wait_for("session closed")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_28_telephone_hangs_up(self) -> None:
        phone, trunk, number = self.phone()
        call = self.connected(trunk, number)
        phone.wait_for("Call established")
        phone.command("hangup")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="far-end", cause=16)
        self.assertEqual(trunk.disconnect(call), ALREADY)
        self.assertEqual(self.proxy.lines(call.leg).count("BYE"), 1)

    def test_29_telephone_declines(self) -> None:
        phone, trunk, number = self.phone(answers=False)
        call = self.ringing(trunk, number)
        phone.wait_for("Incoming call")
        phone.command("hangup")
        self.assert_ended(trunk, call, outcome="ended", by="far-end", sip_status=486, cause=17)
        self.assertEqual(trunk.disconnect(call), ALREADY)

    def test_34_bye_repeated_until_umd_is_back(self) -> None:
        """The far end repeats BYE until umd is back, so umd knows the cause."""
        far = self.far_end(
            ANSWERS + "pause 1500\n >> BYE Reason: Q.850;cause=31\n < 200" + CANCELLED
        )
        trunk, number = self.serve(far, patience=30.0)
        call = self.connected(trunk, number)
        far.wait_for("ACK", call.leg)
        trunk.kill()
        wait_until(lambda: _sent(far, "BYE "), "the far end's BYE")
        trunk.start()
        self.assert_logged(far, call, "INVITE", "ACK", "200")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="far-end", cause=31)

    def challenging(self, far: FarEnd, **more: Any) -> tuple[Trunk, str]:
        """Start umd for a far end behind a proxy that challenges every request."""
        self.proxy = proxy = self.started(Kamailio(self.mktemp(), password=PASSWORD, **more))
        password = Path(self.mktemp())
        password.write_text(f"{PASSWORD}\n")
        trunk = self.trunk(
            proxy.port, username="umd", password_file=str(password.absolute()), probe_interval="2s"
        )
        return trunk, f"sip:callee@{LOOPBACK}:{far.port}"

    def test_19_32_challenged_after_a_restart(self) -> None:
        far = self.far_end(TALKS)
        trunk, number = self.challenging(far)
        call = self.connected(trunk, number)
        far.wait_for("ACK", call.leg)
        trunk.kill()
        trunk.start()
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_19_23_challenged_where_the_answer_crosses_cancel(self) -> None:
        far = self.far_end(CROSSES)
        trunk, number = self.challenging(far)
        call = self.ringing(trunk, number)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "CANCEL", "ACK", "BYE")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_05_19_both_forks_answer(self) -> None:
        """The second fork gets ACK and BYE, with credentials; the first stays up until its end."""
        answers = "< INVITE\n pause 200\n > 200 INVITE\n < ACK\n < BYE\n > 200 BYE"
        ends = [self.far_end(answers), self.far_end(answers)]
        trunk, number = self.challenging(ends[0], fork_to=ends[1].port)
        call = self.connected(trunk, number)
        for far in ends:
            far.wait_for("ACK", call.leg)
        wait_until(lambda: any("BYE" in far.logged(call.leg) for far in ends), "a BYE at one fork")
        self.assertEqual(trunk.live(), {call.id})
        self.assertEqual(trunk.disconnect(call), ENDED)
        for far in ends:
            self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_19_38_challenged_when_it_asks(self) -> None:
        """The probe passes the proxy with credentials."""
        far = self.far_end(PROBED + "< OPTIONS\n > 481 OPTIONS" + CANCELLED)
        trunk, number = self.challenging(far)
        call = self.connected(trunk, number)
        self.assert_ended(trunk, call, outcome="lost", confirmed=False)
        self.assert_logged(far, call, "INVITE", "ACK", "OPTIONS")

    def test_19_38_challenging_proxy_restarted(self) -> None:
        """The old nonces are invalid; the proxy challenges the BYE again."""
        far = self.far_end(TALKS)
        trunk, number = self.challenging(far)
        call = self.connected(trunk, number)
        far.wait_for("ACK", call.leg)
        self.proxy.kill()
        self.proxy.start()
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_38_proxy_restarted_while_it_rings(self) -> None:
        """The new proxy knows no INVITE to cancel and is silent: the telephone keeps ringing."""
        far = self.far_end(RINGS)
        trunk, number = self.serve(far, deadline="300ms", t1="50ms")
        call = self.ringing(trunk, number)
        self.proxy.kill()
        self.proxy.start()
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        self.assert_ended(trunk, call, outcome="ended-unconfirmed", confirmed=False, by="client")
        self.assertEqual(far.logged(call.leg), ["INVITE"])

    def test_38_proxy_restarted(self) -> None:
        """The proxy keeps no state of calls: they stay up, and umd can end each."""
        far = self.far_end(TALKS)
        trunk, number = self.serve(far)
        call = self.connected(trunk, number)
        far.wait_for("ACK", call.leg)
        self.proxy.kill()
        self.proxy.start()
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_logged(far, call, "INVITE", "ACK", "BYE")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)


class AsteriskTruthTests(TruthCase):
    """umd calls Asterisk, which answers by itself or calls a telephone."""

    def setUp(self) -> None:
        # Not below the working directory: the path of its socket has at most 107 bytes.
        directory = tempfile.mkdtemp(prefix="umd-asterisk-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        self.asterisk = self.started(Asterisk(directory))
        self.asterisk.trace()

    def serve(self, **keys: str) -> Trunk:
        return self.trunk(self.asterisk.port, **keys)

    def acknowledged(self, trunk: Trunk, number: str) -> PlacedCall:
        """Place a call and wait for its ACK, which umd sends after the answer is recorded."""
        call = self.connected(trunk, number)
        wait_until(lambda: "< ACK" in self.asterisk.lines(call.leg), "an ACK at Asterisk")
        return call

    def test_03_ringing(self) -> None:
        trunk = self.serve()
        call = self.ringing(trunk, "ring")
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.asterisk.wait_for_channels(0)
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=487)

    def test_04_early_media(self) -> None:
        trunk = self.serve()
        call = self.ringing(trunk, "early")
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.asterisk.wait_for_channels(0)
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=487)

    def test_07_16_talking(self) -> None:
        trunk = self.serve()
        call = self.connected(trunk, "answer")
        self.assertEqual(len(self.asterisk.channels()), 1)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.asterisk.wait_for_channels(0)
        self.assertEqual(self.asterisk.lines(call.leg)[-2:], ["< BYE", "> 200 BYE"])
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_07_11_talking_to_a_telephone_behind_it(self) -> None:
        """Both legs of the PBX end, and so does the call at the telephone."""
        phone = self.started(Baresip(self.mktemp()))
        trunk = self.serve()
        call = self.connected(trunk, f"ua-{phone.port}")
        phone.wait_for("Call established")
        self.assertEqual(trunk.disconnect(call), ENDED)
        phone.wait_for("session closed")
        self.asterisk.wait_for_channels(0)
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_03_ringing_telephone_behind_it(self) -> None:
        phone = self.started(Baresip(self.mktemp(), answers=False))
        trunk = self.serve()
        call = self.ringing(trunk, f"ua-{phone.port}")
        phone.wait_for("Incoming call")
        self.assertEqual(trunk.disconnect(call), ENDED)
        phone.wait_for("session closed")
        self.asterisk.wait_for_channels(0)
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=487)

    def test_09_media_past_the_pbx(self) -> None:
        """Asterisk sends a re-INVITE after the answer, and asks for a session timer."""
        phone = self.started(Baresip(self.mktemp()))
        trunk = self.trunk(self.asterisk.port, **{"from": f"sip:media@{LOOPBACK}"})
        call = self.connected(trunk, f"ua-{phone.port}")
        phone.wait_for("Call established")
        wait_until(
            lambda: "> INVITE" in self.asterisk.lines(call.leg), "a re-INVITE of Asterisk", 10
        )
        self.assertEqual(trunk.disconnect(call), ENDED)
        phone.wait_for("session closed")
        self.asterisk.wait_for_channels(0)
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_13_28_ended_by_itself(self) -> None:
        trunk = self.serve()
        call = self.connected(trunk, "hangs-up")
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="far-end", cause=21)
        self.assertEqual(trunk.disconnect(call), ALREADY)
        self.assertEqual(self.asterisk.lines(call.leg)[-2:], ["> BYE", "< 200 BYE"])

    def test_29_refused(self) -> None:
        trunk = self.serve()
        for number, status, cause in (("busy", 486, 17), ("congested", 503, 34), ("none", 404, 1)):
            call = trunk.place(number)
            self.assert_ended(
                trunk, call, outcome="ended", by="far-end", sip_status=status, cause=cause
            )
            self.assertEqual(trunk.disconnect(call), ALREADY)

    def test_20_mute_to_bye(self) -> None:
        """Asterisk is paused; when it continues, the call has no second end."""
        trunk = self.serve(deadline="300ms", t1="500ms" if LONG else "50ms")
        call = self.connected(trunk, "answer")
        self.asterisk.pause()
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        self.assert_ended(trunk, call, confirmed=False, by="client", sip_status=408)
        self.asterisk.resume()
        self.asterisk.wait_for_channels(0)
        self.assert_ended(trunk, call, confirmed=False, by="client", sip_status=408)

    def test_25_mute_to_cancel(self) -> None:
        """Asterisk is paused while it rings."""
        trunk = self.serve(deadline="300ms", t1="500ms" if LONG else "50ms")
        call = self.ringing(trunk, "ring")
        self.asterisk.pause()
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        self.assert_ended(trunk, call, outcome="ended-unconfirmed", confirmed=False, by="client")
        self.asterisk.resume()
        self.asterisk.wait_for_channels(0)
        self.assert_ended(trunk, call, outcome="ended-unconfirmed", confirmed=False, by="client")

    def test_21_vanished(self) -> None:
        trunk = self.serve(deadline="300ms", t1="50ms")
        call = self.connected(trunk, "answer")
        self.asterisk.kill()
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        self.assert_ended(trunk, call, confirmed=False, by="client", sip_status=408)

    def test_21_vanished_without_a_request(self) -> None:
        """umd notices it by a probe; silence does not confirm that the call has ended."""
        trunk = self.serve(probe_interval="1s", t1="50ms")
        call = self.connected(trunk, "answer")
        self.asterisk.kill()
        self.assert_ended(trunk, call, confirmed=False, by="daemon", sip_status=408)
        self.assertEqual(trunk.disconnect(call), ALREADY)

    def test_32_restarted_with_live_calls(self) -> None:
        trunk = self.serve()
        calls = [self.acknowledged(trunk, "answer") for _ in range(3)]
        trunk.kill()
        trunk.start()
        self.assertEqual(trunk.live(), {call.id for call in calls})
        for call in calls:
            self.assertEqual(trunk.disconnect(call), ENDED)
            self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client")
        self.asterisk.wait_for_channels(0)

    def test_32_restarted_while_it_rings(self) -> None:
        """umd repeats the same INVITE, so Asterisk has one call, which is then ended."""
        trunk = self.serve()
        call = self.ringing(trunk, "ring")
        trunk.kill()
        trunk.start()
        self.assertEqual(len(self.asterisk.channels()), 1)
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.asterisk.wait_for_channels(0)
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=487)

    def test_31_killed_while_it_is_cancelled(self) -> None:
        """Asterisk is paused, so that it answers nothing before umd is killed."""
        trunk = self.serve(deadline="300ms")
        call = self.ringing(trunk, "ring")
        self.asterisk.pause()
        self.assertEqual(trunk.disconnect(call), UNCONFIRMED)
        trunk.kill()
        self.asterisk.resume()
        self.asterisk.wait_for_channels(0)
        trunk.start()
        self.end_of(trunk, call)
        self.assertEqual(trunk.live(), set())

    def test_34_ended_while_umd_was_down(self) -> None:
        """Asterisk repeats its BYE for 32 s, and umd is back before."""
        trunk = self.serve()
        call = self.acknowledged(trunk, "hangs-up-later")
        trunk.kill()
        self.asterisk.wait_for_channels(0)
        trunk.start()
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="far-end", cause=16)
        self.assertEqual(trunk.disconnect(call), ALREADY)

    def test_34_38_both_restarted(self) -> None:
        """Asterisk has forgotten the call: it is lost, with that reason."""
        trunk = self.serve()
        call = self.acknowledged(trunk, "answer")
        trunk.kill()
        self.asterisk.kill()
        self.asterisk.start()
        trunk.start()
        self.assert_ended(trunk, call, outcome="lost", confirmed=False)
        self.assertIn("481", self.end_of(trunk, call)["reason"])
        self.assertEqual(trunk.disconnect(call), ALREADY)

    def test_38_pbx_restarted(self) -> None:
        """Asterisk has forgotten its calls: each is lost, with that reason, and unconfirmed."""
        trunk = self.serve(probe_interval="2s")
        calls = [self.connected(trunk, "answer") for _ in range(3)]
        self.asterisk.kill()
        self.asterisk.start()
        for call in calls:
            self.assert_ended(trunk, call, outcome="lost", confirmed=False)
            self.assertIn("481", self.end_of(trunk, call)["reason"])
            self.assertEqual(trunk.disconnect(call), ALREADY)
        self.assertEqual(trunk.live(), set())

    def test_38_asked_and_there(self) -> None:
        """Asterisk does not answer OPTIONS in a dialog but answers UPDATE: the call stays up."""
        trunk = self.serve(probe_interval="1s", t1="50ms")
        call = self.connected(trunk, "answer")
        wait_until(
            lambda: self.asterisk.lines(call.leg).count("> 200 UPDATE") >= 3, "answers to UPDATE"
        )
        self.assertEqual(trunk.live(), {call.id})
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.asterisk.wait_for_channels(0)
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=200)

    def test_38_ended_after_the_restart(self) -> None:
        """A Disconnect comes before umd has noticed; the 481 to BYE confirms the end."""
        trunk = self.serve()
        call = self.connected(trunk, "answer")
        self.asterisk.kill()
        self.asterisk.start()
        self.assertEqual(trunk.disconnect(call), ENDED)
        self.assert_ended(trunk, call, outcome="ended", confirmed=True, by="client", sip_status=481)

    def test_40_many_clients(self) -> None:
        trunk = self.serve()
        other = self.connected(trunk, "answer")
        calls = [trunk.place("answer") for _ in range(500 if LONG else 50)]
        for call in calls:
            trunk.wait_for("call.connected", call)
        for request in [trunk.start_disconnect(call) for call in calls]:
            self.assertEqual(request.reply(), ENDED)
        self.asterisk.wait_for_channels(1)
        self.assertEqual(trunk.live(), {other.id})
