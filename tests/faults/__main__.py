"""
Runs the long form of the fault kit: random crashes under load, and the tests of single faults.

    python -m tests.faults
    python -m tests.faults --kills 1000 --power-cuts 200 --seed 1

With --kills or --power-cuts, only those crashes are run; without, 1,000 kills, 200 power cuts, and
the tests of single faults.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

from twisted.trial.unittest import SkipTest

from tests.faults.crash import Run


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, help="how often to kill -9")
    parser.add_argument("--power-cuts", type=int, help="how often to cut the power; needs root")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--durability", choices=("full", "relaxed"), default="full",
                        help="relaxed: the kit finds lost records")  # fmt: skip
    parser.add_argument("--keep", metavar="DIRECTORY",
                        help="where to keep the journal and logs of failures")  # fmt: skip
    options = parser.parse_args()
    began = time.monotonic()
    everything = options.kills is None and options.power_cuts is None
    kills = 1000 if everything else options.kills or 0
    cuts = 200 if everything else options.power_cuts or 0

    def tell(run: Run) -> None:
        done = run.seen["kills"], run.seen["cuts"]
        bad = {name: number for name, number in run.wrong.items() if number}
        print(
            f"{time.monotonic() - began:6.0f} s  kills {done[0]}/{kills}  "
            f"power cuts {done[1]}/{cuts}  wrong: {bad or 'nothing'}",
            file=sys.stderr,
        )

    run = Run(
        clients=options.clients, seed=options.seed, durability=options.durability, keep=options.keep
    )
    try:
        run.crash(kills, cuts, tell)
    except SkipTest as skipped:
        print(f"this machine cannot run it: {skipped}", file=sys.stderr)
        return 1
    print(json.dumps({**run.found(), "took_s": round(time.monotonic() - began)}, indent=1))
    return 0 if run.good and (not everything or tell_stories()) else 1


def tell_stories() -> bool:
    """Run the tests of single faults in their long form; return whether they pass."""
    command = [sys.executable, "-m", "twisted.trial", "tests.faults"]
    return subprocess.run(command, env={**os.environ, "UMD_FAULTS": "long"}).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
