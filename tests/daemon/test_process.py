"""A running umd serves clients, reloads, drains and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.call.test_call_id import DOCUMENTED
from tests.daemon.processes import ACTIVATED, ROOT, ProcessCase, as_systemd, seed_id, seeds, umd
from tests.soap.test_contract import canonical, disconnect
from umd.soap.namespaces import MESSAGES_PASTED
from umd.testing import UmdProcess

RESPONSE = (
    '<?xml version="1.0" encoding="utf-8"?><soap:Envelope'
    ' xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soap:Body>'
    '<DisconnectResponse xmlns="{}"/></soap:Body></soap:Envelope>'
)
MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"


class MainJobTests(ProcessCase):
    def test_the_documented_request_gets_the_documented_response(self) -> None:
        with UmdProcess("demo") as process:
            status, body, headers = process.disconnect(DOCUMENTED)
            self.assertEqual((status, headers["X-UMD-Outcome"]), (200, "ended"))
            self.assertEqual(canonical(body), canonical(RESPONSE.format(MESSAGES).encode()))
            self.assertEqual(headers["Content-Type"], "text/xml; charset=utf-8")
            process.wait_for("soap.answered", outcome="ended", call=DOCUMENTED)
            self.assertEqual(len(process.events("call.disconnect-requested")), 1)
            ends = [e for e in process.events("call.disconnected") if e["call"] == DOCUMENTED]
            self.assertEqual([(e["confirmed"], e["sip_status"]) for e in ends], [(True, 200)])
            again = process.disconnect(DOCUMENTED)
            self.assertEqual(again[2]["X-UMD-Outcome"], "already-ended")
            self.assertEqual(again[1], body)

    def test_the_example_configuration_serves(self) -> None:
        with UmdProcess("serve", "-c", str(ROOT / "conf" / "umd.toml")) as process:
            status, body, _ = process.disconnect(DOCUMENTED, MESSAGES_PASTED)
            self.assertEqual(status, 200)
            self.assertEqual(canonical(body), canonical(RESPONSE.format(MESSAGES_PASTED).encode()))
            self.assertEqual(process.disconnect("nothing")[0], 500)

    def test_a_thousand_calls_by_fifty_clients_each_asked_three_times(self) -> None:
        """3,000 requests for 1,000 calls get 3,000 replies and cause 1,000 end events."""
        total = 1000
        with self.serving(seeds(*["5550100"] * total)) as process:
            call_ids = [seed_id(index) for index in range(total) for _ in range(3)]
            with ThreadPoolExecutor(50) as clients:
                outcomes = Counter(clients.map(self.client(process.url), call_ids))
            self.assertEqual(outcomes.total(), 3 * total)
            self.assertEqual(set(outcomes) - {(200, "ended"), (200, "already-ended")}, set())
            self.assertGreaterEqual(outcomes[200, "ended"], total)
            process.stop()
            ends = Counter(event["call"] for event in process.events("call.disconnected"))
            self.assertEqual(ends, Counter({seed_id(index): 1 for index in range(total)}))
            self.assertEqual(process.events("daemon.stopped")[0]["live_calls"], 0)

    def client(self, url: str) -> Any:
        """A keep-alive client for each thread, without the library's own pool of them."""
        import threading

        local = threading.local()
        address = urlsplit(url)

        def ask(call_id: str) -> tuple[int, str | None]:
            if not hasattr(local, "connection"):
                local.connection = HTTPConnection(str(address.hostname), address.port, timeout=30)
            body = disconnect(call_id).encode()
            local.connection.request("POST", address.path, body, {"Content-Type": "text/xml"})
            with local.connection.getresponse() as reply:
                reply.read()
                return reply.status, reply.headers["X-UMD-Outcome"]

        return ask

    def test_a_far_end_that_never_answers(self) -> None:
        arguments = ("-o", "call.deadline=200ms", "-o", "drain.deadline=100ms")
        with self.serving(seeds("5550199"), *arguments) as process:
            status, body, headers = process.disconnect(seed_id(0))
            self.assertEqual((status, headers["X-UMD-Outcome"]), (200, "ended-unconfirmed"))
            process.wait_for("call.disconnect-unconfirmed", call=seed_id(0))
            self.assertEqual(process.events("call.disconnected"), [])


class OperatorTests(ProcessCase):
    def test_sigterm_finishes_the_disconnect_in_flight(self) -> None:
        """A Disconnect in flight is answered while umd stops; exit status 0."""
        with self.serving(seeds("5550100"), "-o", "backend.sim.delay=1s") as process:
            with ThreadPoolExecutor(1) as client:
                request = client.submit(process.disconnect, seed_id(0))
                process.wait_for("call.disconnect-requested")
                self.assertEqual(process.stop(), 0)
                status, _, headers = request.result()
            self.assertEqual((status, headers["X-UMD-Outcome"]), (200, "ended"))
            self.assertEqual(headers["Connection"], "close")
            self.assertEqual(process.log[-1]["event"], "daemon.stopped")

    def test_a_stop_answers_every_disconnect_in_flight(self) -> None:
        """Each of twenty Disconnects gets a complete answer with `Connection: close`."""
        text = seeds(*["5550100"] * 20)
        with self.serving(text, "-o", "backend.sim.delay=500ms") as process:
            with ThreadPoolExecutor(20) as clients:
                requests = [clients.submit(process.disconnect, seed_id(n)) for n in range(20)]
                for n in range(20):
                    process.wait_for("call.disconnect-requested", call=seed_id(n))
                self.assertEqual(process.stop(), 0)
                answers = [request.result() for request in requests]
        self.assertEqual({answer[2]["X-UMD-Outcome"] for answer in answers}, {"ended"})
        self.assertEqual({answer[2]["Connection"] for answer in answers}, {"close"})

    def test_at_the_drain_deadline_clients_are_asked_to_try_again(self) -> None:
        with self.serving(seeds("5550199"), "-o", "drain.deadline=200ms") as process:
            with ThreadPoolExecutor(1) as client:
                request = client.submit(process.disconnect, seed_id(0))
                process.wait_for("call.disconnect-requested")
                self.assertEqual(process.stop(), 0)
                status, _, headers = request.result()
        self.assertEqual((status, headers["X-UMD-Outcome"]), (500, "backend-unavailable"))

    def test_two_signals_at_once_are_one_clean_stop(self) -> None:
        with self.serving() as process:
            process.process.send_signal(signal.SIGTERM)
            self.assertEqual(process.stop(signal.SIGINT), 0)
            self.assertEqual(process.events("daemon.failed"), [])

    def test_the_drain_has_a_deadline_and_a_second_signal_ends_it(self) -> None:
        arguments = ("-o", "drain.deadline=300ms", "-o", "call.deadline=100ms")
        with self.serving(seeds("5550199"), *arguments) as process:
            process.disconnect(seed_id(0))
            self.assertEqual(process.stop(), 0)
            process.wait_for("daemon.drain-expired")
        with self.serving(seeds("5550199"), "-o", "call.deadline=100ms") as process:
            process.disconnect(seed_id(0))
            process.process.send_signal(signal.SIGTERM)
            process.wait_for("daemon.stopping")
            self.assertEqual(process.stop(), 0)
            self.assertEqual(process.events("daemon.drain-expired"), [])

    def test_a_reload_applies_changes_and_refuses_mistakes(self) -> None:
        with self.serving('[call]\nended_is = "success"\n' + seeds("5550100")) as process:
            file = Path(process._command[process._command.index("-c") + 1])
            process.disconnect(seed_id(0))
            self.assertEqual(process.disconnect(seed_id(0))[0], 200)
            file.write_text("[call]\nended_iz = 1\n")
            process.process.send_signal(signal.SIGHUP)
            refused = process.wait_for("config.refused")
            self.assertEqual(
                refused["mistakes"],
                [f"{file}:2: call.ended_iz is not a setting; did you mean call.ended_is?"],
            )
            self.assertEqual(process.disconnect(seed_id(0))[0], 200)
            file.write_text(
                'node = "other"\n[call]\nended_is = "fault"\n[trace]\nmessages = 1\n'
            )
            process.process.send_signal(signal.SIGHUP)
            process.wait_for("config.reloaded")
            restart = process.wait_for("config.needs-restart")["keys"]
            self.assertEqual(restart, ["node", "backend", "trace"])
            self.assertEqual(process.disconnect(seed_id(0))[0], 500)

    def test_notifications_of_systemd(self) -> None:
        """Readiness after the listener is open, the watchdog fed, reload, stopping."""
        name = f"umd-notify-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind("\0" + name)
            listener.settimeout(10)
            environ = {"NOTIFY_SOCKET": "@" + name, "WATCHDOG_USEC": "100000"}
            with self.serving(environ=environ) as process:
                datagram = self.receive(listener, "READY=1")
                self.assertIn("STATUS=serving 127.0.0.1:", datagram)
                self.assertEqual(process.disconnect("x")[0], 500)
                self.receive(listener, "WATCHDOG=1")
                process.process.send_signal(signal.SIGHUP)
                self.assertIn("MONOTONIC_USEC=", self.receive(listener, "RELOADING=1"))
                self.receive(listener, "READY=1")
                process.process.send_signal(signal.SIGTERM)
                self.receive(listener, "STOPPING=1")

    def test_systemctl_status_shows_a_refused_reload(self) -> None:
        """systemd has no state for a failed reload, so STATUS= has the reason."""
        name = f"umd-reload-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind("\0" + name)
            listener.settimeout(10)
            with self.serving(environ={"NOTIFY_SOCKET": "@" + name}) as process:
                self.receive(listener, "READY=1")
                file = Path(process._command[process._command.index("-c") + 1])
                for text, state, words in (
                    ("[cal]\n", "refused", f"{file}:1: cal is not a setting"),
                    ("[prompts]\nfolder = '/no\\nwhere'\n", "refused", "prompts.folder"),
                    ("", "done", "STATUS=serving 127.0.0.1:"),
                ):
                    file.write_text(text)
                    process.process.send_signal(signal.SIGHUP)
                    self.receive(listener, "RELOADING=1")
                    datagram = self.receive(listener, "READY=1")
                    self.assertIn(words, datagram)
                    self.assertEqual("STATUS=reload refused at" in datagram, state == "refused")
                    self.assertEqual(len(datagram.split("\n")), 2, datagram)
                    status = umd("status", "--json", "--socket", process.control_socket).stdout
                    self.assertEqual(json.loads(status)["last_reload"], state)

    def receive(self, listener: socket.socket, state: str) -> str:
        while True:
            datagram = listener.recv(1000).decode()
            if state in datagram.split("\n"):
                return datagram

    def test_socket_activation(self) -> None:
        """umd serves on a socket that systemd has opened."""
        with ExitStack() as stack:
            taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            process = stack.enter_context(
                UmdProcess(*ACTIVATED, launcher=as_systemd(taken), pass_fds=[taken.fileno()])
            )
            self.assertIn(f":{taken.getsockname()[1]}/", process.url)
            self.assertEqual(process.disconnect("x")[0], 500)

    def test_twisted_logs_as_json_too(self) -> None:
        with self.serving("", "-o", "log.level=debug") as process:
            process.wait_for("twisted.said")
        self.assertEqual(process.events("not-json"), [])
