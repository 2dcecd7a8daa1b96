"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import click

Decorator: TypeAlias = Callable[[Any], Any]

override_option: Decorator = click.option(
    "-o",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a key of the configuration, for example call.deadline=2s. Repeatable.",
)
socket_option: Decorator = click.option(
    "--socket",
    "path",
    metavar="PATH",
    help="Control socket of the umd to ask. Default: that of this user, else of the service.",
)
json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line, for programs."
)
journal_option: Decorator = click.option(
    "--journal",
    metavar="FILE",
    help="Read this journal file, which no running umd may have open. Default: that of the "
    "running umd, else of the service.",
)
