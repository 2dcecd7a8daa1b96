"""The command `umd backend-contract`, which tests a backend by the rules of the backend door."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from umd.cli import exit_status
from umd.cli.errors import exit_with_mistakes, print_error
from umd.cli.options import complete_file

if TYPE_CHECKING:
    from umd.lab.contract_matrix import Row

STATUSES = (
    "Exit status: 0 every behaviour passes or is not offered, 1 a behaviour fails, 2 wrong usage "
    "or a backend without a contract."
)
NOTHING_TESTED = "nothing was tested"


@click.command(
    "backend-contract",
    epilog=f"Example: umd backend-contract sim -o delay=20ms --junit contract.xml. {STATUSES}",
)
@click.argument("type_name", metavar="TYPE")
@click.option(
    "-o",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set a key of the backend's section, for example delay=20ms. Repeatable.",
)
@click.option(
    "--number",
    "numbers",
    metavar="ROLE=NUMBER",
    multiple=True,
    help="Test in real time against the peer that -o names, where this number answers, rings, "
    "rejects, hangs-up (after its answer) or is silent (to a hang-up). Repeatable.",
)
@click.option(
    "--only",
    metavar="ID",
    multiple=True,
    help="Test only behaviours whose id begins so, for example end. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per behaviour.")
@click.option(
    "--junit",
    metavar="FILE",
    shell_complete=complete_file,
    help="Write the results as JUnit XML, too.",
)
def backend_contract(
    type_name: str,
    overrides: tuple[str, ...],
    numbers: tuple[str, ...],
    only: tuple[str, ...],
    as_json: bool,
    junit: str | None,
) -> None:
    """
    Test a backend of this type by the rules for backends.

    TYPE is a type of backend as in the configuration: sim, sip, sim-pbx, or that of a plugin. Each
    rule is a behaviour with a stable id; the command prints a line for each.

    The peer is simulated, unless there is a --number. With numbers of a PBX, the command calls them
    through that PBX, which takes some minutes.
    """
    from umd.runtime.reactor import install

    install()  # before the module of a backend imports Twisted's reactor

    from umd.config import ConfigError
    from umd.lab.contract_matrix import NoContract, Result, run_matrix, write_junit

    try:
        rows = []
        for row in run_matrix(type_name, overrides, numbers, only):
            rows.append(row)
            click.echo(row.as_json(type_name) if as_json else _line(row))
    except ConfigError as error:
        exit_with_mistakes(error.mistakes, NOTHING_TESTED)
    except NoContract as error:
        print_error(f"{error}", "usage")
        sys.exit(exit_status.USAGE_ERROR)
    if not as_json:
        click.echo(_total(rows))
    failed = any(row.result is Result.FAIL for row in rows)
    status = exit_status.NEGATIVE if failed else exit_status.DONE
    if junit is not None:
        try:
            write_junit(junit, type_name, rows)
        except OSError as error:
            print_error(f"{junit}: {error.strerror}", "output")
            status = exit_status.USAGE_ERROR
    sys.exit(status)


WORDS = {
    "pass": click.style("pass       ", fg="green"),
    "fail": click.style("FAIL       ", fg="red"),
    "not-offered": click.style("not offered", fg="yellow"),
}


def _line(row: Row) -> str:
    from umd.trace.ladder import printable

    line = f"{WORDS[row.result]}  {row.behaviour.id:26}{row.behaviour.rule}"
    return f"{line}\n{'':39}{printable(row.why)}" if row.why else line


def _total(rows: list[Row]) -> str:
    count = Counter(str(row.result) for row in rows)
    return (
        f"{len(rows)} behaviours: {count['pass']} pass, {count['fail']} fail, "
        f"{count['not-offered']} not offered"
    )
