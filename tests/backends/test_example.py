"""The out-of-tree backend of examples/: found when it is installed, and driven by `umd serve`."""

from __future__ import annotations

from importlib.util import find_spec

from twisted.trial.unittest import SynchronousTestCase

from umd.backend import load_backend_type
from umd.call.call_id import make_call_id
from umd.testing import UmdProcess


class ExampleTests(SynchronousTestCase):
    if find_spec("umd_loopback") is None:
        skip = "the example is not installed: pip install ./examples/umd-loopback"

    def test_it_is_found_by_its_entry_point(self) -> None:
        self.assertEqual(load_backend_type("loopback").__name__, "LoopbackBackend")

    def test_umd_ends_its_calls(self) -> None:
        """The legs that the backend carries can be ended by their CallIds, and no others."""
        options = ("-o", "backend.lab.type=loopback", "-o", "backend.lab.calls=2")
        with UmdProcess("serve", *options) as process:
            first = make_call_id("loop-1", "lab")
            self.assertEqual(process.disconnect(first)[2]["X-UMD-Outcome"], "ended")
            self.assertEqual(process.disconnect(first)[2]["X-UMD-Outcome"], "already-ended")
            none = make_call_id("loop-3", "lab")
            self.assertEqual(process.disconnect(none)[2]["X-UMD-Outcome"], "unknown")
            process.stop()
            self.assertEqual(len(process.events("call.disconnected")), 1)
            self.assertEqual(process.events("daemon.stopped")[0]["live_calls"], 1)

    def test_its_settings_are_checked_as_umds_own(self) -> None:
        with self.assertRaises(TimeoutError) as caught:
            with UmdProcess(
                "serve", "-o", "backend.lab.type=loopback", "-o", "backend.lab.answer_afer=1s"
            ):
                pass
        self.assertIn("did you mean backend.lab.answer_after?", str(caught.exception))
