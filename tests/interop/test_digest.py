"""The short form of `python -m tests.interop.digest`: peers that challenge every request."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import structlog
from twisted.internet import reactor as the_reactor
from twisted.trial.unittest import TestCase

from tests.interop import digest
from tests.interop.digest import Figures

CALLS = 8
reactor: Any = the_reactor


class DigestTests(TestCase):
    """Each request is challenged, and each nonce is stale when umd sends the next request."""

    async def run_with(self, peer: str) -> Figures:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        self.addCleanup(structlog.reset_defaults)
        # Not below the working directory: the path of Asterisk's socket has at most 107 bytes.
        directory = Path(tempfile.mkdtemp(prefix="umd-digest-"))
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        with_peer = digest.PEERS[peer]
        figures = await with_peer(reactor, directory, calls=CALLS, at_once=CALLS)
        print(f"{peer}: {figures}")
        self.assertEqual(figures.failed, 0, figures)
        return figures

    async def test_sipp(self) -> None:
        figures = await self.run_with("SIPp")
        self.assertGreaterEqual(figures.challenges["401 INVITE"], 2 * CALLS)
        self.assertGreaterEqual(figures.challenges["401 BYE"], CALLS)
        self.assertGreaterEqual(figures.stale, 2 * CALLS)

    async def test_kamailio(self) -> None:
        figures = await self.run_with("Kamailio")
        self.assertGreaterEqual(figures.challenges["407 INVITE"], 2 * CALLS)
        self.assertGreaterEqual(figures.challenges["407 BYE"], CALLS)
        self.assertGreaterEqual(figures.challenges["401 BYE"], CALLS)
        self.assertGreaterEqual(figures.stale, 2 * CALLS)

    async def test_asterisk(self) -> None:
        figures = await self.run_with("Asterisk")
        self.assertGreaterEqual(figures.challenges["401 INVITE"], CALLS)

    async def test_kamailio_and_asterisk(self) -> None:
        """Both peers challenge the INVITE."""
        figures = await self.run_with("Kamailio and Asterisk")
        self.assertGreaterEqual(figures.challenges["407 INVITE"], 2 * CALLS)
        self.assertGreaterEqual(figures.challenges["401 INVITE"], CALLS)
        self.assertGreaterEqual(figures.challenges["401 BYE"], CALLS)
