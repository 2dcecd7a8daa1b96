"""Builds the parts of unified messaging from the settings."""

from __future__ import annotations

import os
from typing import Any

from umd.config import Settings
from umd.config.sections import DialSection, PinSection, PromptsSection, UsersSection
from umd.control.control import Control
from umd.daemon.paths import users_path
from umd.errors import UmdError
from umd.messaging.dialplan import DialPlan, Rule
from umd.messaging.pin import NoDelivery, PinDelivery, SmtpDelivery, SpoolDelivery
from umd.messaging.prompts import TONE, NoSuchPrompt, Prompts
from umd.messaging.use_cases import MessagingSettings, UseCases
from umd.messaging.users import Users


class UnusablePath(UmdError):
    """A setting names a file or folder that umd cannot use; the text says which and why."""


def check(settings: Settings) -> None:
    """
    Check the folders and files of `[prompts]` and `[pin]`.

    Raises:
        UnusablePath
    """
    folder, spool = settings.prompts.folder, settings.pin.spool
    if folder is not None and not os.access(folder, os.R_OK | os.X_OK):
        raise UnusablePath(f"prompts.folder = {folder!r}: no folder that umd can read")
    if settings.pin.delivery == "spool" and spool is not None:
        if not os.access(spool, os.R_OK | os.W_OK | os.X_OK):
            raise UnusablePath(f"pin.spool = {spool!r}: no folder that umd can write to")
    try:
        _prompts(settings.prompts).check_default()
    except NoSuchPrompt as error:
        raise UnusablePath(f"prompts.default = {settings.prompts.default!r}: {error}") from error


def make_users(section: UsersSection, reactor: Any) -> Users:
    """Make the store of users, not open yet."""
    return Users(users_path(section), reactor)


def make_use_cases(settings: Settings, control: Control, users: Users, reactor: Any) -> UseCases:
    """Make the use cases of all operations."""
    use_cases = UseCases(control, users=users, pins=NoDelivery())
    apply(settings, use_cases, reactor)
    return use_cases


def apply(settings: Settings, use_cases: UseCases, reactor: Any) -> None:
    """Apply the settings that may change while umd runs: all but `users.store`."""
    use_cases.plan = _plan(settings.dial)
    use_cases.prompts = _prompts(settings.prompts)
    use_cases.pins = _delivery(settings.pin, reactor)
    use_cases.settings = MessagingSettings(
        extended=settings.um.profile == "extended",
        accept_aliases=settings.um.accept_aliases,
        enabled=tuple(settings.users.enabled),
        access_numbers=tuple(settings.users.access_numbers),
        pin_length=settings.pin.length,
        mail_domain=settings.pin.mail_domain,
    )


def _plan(section: DialSection) -> DialPlan:
    return DialPlan(
        [
            Rule(rule.match, rule.to, rule.backend, refuse=rule.refuse)
            for rule in section.rule
        ]
    )


def _prompts(section: PromptsSection) -> Prompts:
    default: str | None = section.default
    if default == "tone" or (default == "auto" and section.folder is None):
        default = TONE
    elif default in ("auto", "none"):
        default = None
    return Prompts(section.folder, default)


def _delivery(section: PinSection, reactor: Any) -> PinDelivery:
    match section.delivery:
        case "none":
            return NoDelivery()
        case "spool":
            assert section.spool is not None
            return SpoolDelivery(section.spool, section.sender)
        case "smtp":
            assert section.smtp is not None
            host, _, port = section.smtp.rpartition(":")
            return SmtpDelivery(host, int(port), section.sender, reactor, section.smtp_tls)
