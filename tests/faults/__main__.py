"""
The long form of the fault kit: crashes at random moments under load.

    python -m tests.faults [--kills 1000] [--power-cuts 200] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from tests.faults.crash import Run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="kill -9 so often")
    parser.add_argument("--power-cuts", type=int, default=200, help="cut the power so often (root)")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--durability", choices=("full", "relaxed"), default="full",
                        help="relaxed: see how the kit finds what is lost")  # fmt: skip
    parser.add_argument("--keep", metavar="DIRECTORY",
                        help="for journal and logs of what went wrong")  # fmt: skip
    options = parser.parse_args()
    began = time.monotonic()

    def tell(run: Run) -> None:
        done = run.seen["kills"], run.seen["cuts"]
        bad = {name: number for name, number in run.wrong.items() if number}
        print(
            f"{time.monotonic() - began:6.0f} s  kills {done[0]}/{options.kills}  "
            f"power cuts {done[1]}/{options.power_cuts}  wrong: {bad or 'nothing'}",
            file=sys.stderr,
        )

    run = Run(
        clients=options.clients, seed=options.seed, durability=options.durability, keep=options.keep
    )
    run.crash(options.kills, options.power_cuts, tell)
    print(json.dumps({**run.found(), "took_s": round(time.monotonic() - began)}, indent=1))
    return 0 if run.good else 1


if __name__ == "__main__":
    sys.exit(main())
