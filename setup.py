"""
The metadata is in setup.cfg. This file adds what setup.cfg cannot express:

    UMD_COMPILE=1 pip install .

installs umd with its core compiled by mypyc. This needs a C compiler and Python's headers.
"""

import os

from setuptools import setup

# The modules that every call goes through. mypyc gains nothing with modules that call Twisted,
# pydantic or SQLite all the time.
COMPILED = [
    f"umd/{name}.py"
    for name in (
        "backends/sim/network",
        "call/alias",
        "call/call",
        "call/call_id",
        "call/cause",
        "call/events",
        "call/leg",
        "call/record",
        "journal/replay",
        "sip/build",
        "sip/dialog",
        "sip/endpoint",
        "sip/framing",
        "sip/message",
        "sip/outgoing",
        "sip/parser",
        "sip/session/callee",
        "sip/session/caller",
        "sip/session/established",
        "sip/session/events",
        "sip/session/headers",
        "sip/session/rejoined",
        "sip/session/session",
        "sip/session/states",
        "sip/targets",
        "sip/transaction/hop",
        "sip/transaction/layer",
        "sip/transaction/states",
        "sip/transaction/transaction",
        "sip/validate",
        "backends/sip_legs/cause",
        "backends/sip_legs/legs",
        "backends/sip_legs/record",
        "timers",
        "text",
    )
]
COMPILER = "mypy>=2.0"
# The types are checked elsewhere, with a plug-in and packages that a build does not need.
UNCHECKED = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]


def compiled() -> dict[str, object]:
    """Return what setup() needs to compile the core."""
    try:
        from mypyc.build import mypycify
    except ImportError:
        # pip first asks what the build needs. It installs the compiler and calls this file again.
        return {"setup_requires": [COMPILER]}
    extensions = mypycify([*UNCHECKED, *COMPILED], group_name="umd")
    return {"setup_requires": [COMPILER], "ext_modules": extensions}


setup(**(compiled() if os.environ.get("UMD_COMPILE") == "1" else {}))
