"""
Everything is in setup.cfg; this only adds the compiled form of the SIP core for who asks for it:

    UMD_COMPILE=1 pip install .

The same modules, translated to C by mypyc. It needs a C compiler and Python's headers; without the
variable nothing of this happens, and nothing but Python is needed.
"""

import os

from setuptools import setup

COMPILED = ["umd/timers.py"] + [
    f"umd/sip/{name}.py"
    for name in (
        "build",
        "dialog",
        "endpoint",
        "framing",
        "message",
        "outgoing",
        "session",
        "transaction",
        "validate",
    )
]
COMPILER = "mypy>=2.0"


def compiled() -> None:
    try:
        from mypyc.build import mypycify
    except ImportError:
        # pip asks first what the build needs, installs that, and comes again.
        setup(setup_requires=[COMPILER])
        return
    setup(
        setup_requires=[COMPILER],
        # The types are checked elsewhere, with a plug-in that is not needed here.
        ext_modules=mypycify(["--config-file=", *COMPILED], group_name="umd"),
    )


if os.environ.get("UMD_COMPILE") == "1":
    compiled()
else:
    setup()
