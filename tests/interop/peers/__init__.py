"""
Real peers for the tests: Asterisk, Kamailio, baresip and SIPp, each a process on loopback.

    python -m tests.interop.peers install

installs them on Debian, as root. This package imports nothing of umd and no dependency of it at
import, so that the command works on a bare machine.
"""
