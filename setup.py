"""
Everything is in setup.cfg; this only adds the compiled form of the core for who asks for it:

    UMD_COMPILE=1 pip install .

The same modules, translated to C by mypyc. It needs a C compiler and Python's headers; without the
variable nothing of this happens, and nothing but Python is needed.
"""

import os

from setuptools import setup

# What each call goes through, and knows neither Twisted nor pydantic: mypyc gains nothing there.
COMPILED = [
    f"umd/{name}.py"
    for name in (
        "backends/sim/network",
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
        "sip/transaction/hop",
        "sip/transaction/layer",
        "sip/transaction/states",
        "sip/transaction/transaction",
        "sip/validate",
        "backends/sip_legs/legs",
        "timers",
        "text",
    )
]
COMPILER = "mypy>=2.0"
UNCHECKED = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]


def compiled() -> None:
    try:
        from mypyc.build import mypycify
    except ImportError:
        # pip asks first what the build needs, installs that, and comes again.
        setup(setup_requires=[COMPILER])
        return
    setup(
        setup_requires=[COMPILER],
        # The types are checked elsewhere, with a plug-in and packages that are not needed here.
        ext_modules=mypycify([*UNCHECKED, *COMPILED], group_name="umd"),
    )


if os.environ.get("UMD_COMPILE") == "1":
    compiled()
else:
    setup()
