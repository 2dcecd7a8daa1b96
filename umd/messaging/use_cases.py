"""The use cases of unified messaging: calls that play messages, and the settings of users."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Coroutine
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from umd.call.call import Call
from umd.call.call_id import CallId
from umd.call.leg import Media
from umd.call.principal import Principal, Scope
from umd.control.control import Control
from umd.control.outcome import Outcome
from umd.errors import UmdError
from umd.messaging.dialplan import DialPlan
from umd.messaging.pin import PinDelivery, PinNotSent, hash_pin, make_pin
from umd.messaging.prompts import Prompt, Prompts
from umd.messaging.users import Users, UserSettings
from umd.sip.number import NotDialable


class NotEnabled(UmdError):
    """The user is not enabled for unified messaging."""


class MayNotSet(NotEnabled):
    """The user may not see or change their own settings."""


class InvalidFolder(UmdError):
    """The text is not a folder id."""


@dataclass(slots=True)
class Requester:
    """
    The principal that makes a request, and the request's id.

    Not frozen: a frozen dataclass takes longer to make, once a request.
    """

    principal: Principal
    request_id: str

    @property
    def name(self) -> str:
        return self.principal.name


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagingSettings:
    """The settings of unified messaging."""

    extended: bool = False
    """Whether to return states and causes too that Exchange UM never returned."""
    accept_aliases: bool = True
    """Whether a CallId of a request may also be another id of the call."""
    enabled: tuple[str, ...] = ("*",)
    """Patterns (fnmatch) of the names of users who are enabled for unified messaging."""
    access_numbers: tuple[str, ...] = ()
    """The telephone numbers that users call to hear their messages."""
    pin_length: int = 6
    """Digits of a new PIN."""
    mail_domain: str = ""
    """The domain of users whose name is not a mail address; empty: no PIN can be sent to them."""


class UseCases:
    """
    What a user of unified messaging can do. Knows no SOAP.

    Args:
        plan: maps a dialled number to a backend's number; None: every number is dialled as it is.
        prompts: the messages and greetings that can be played.
        pins: sends a new PIN to its owner.

    A method raises an error that `umd.messaging.service.PROBLEMS` maps to a fault.
    """

    def __init__(
        self,
        control: Control,
        *,
        users: Users,
        plan: DialPlan | None = None,
        prompts: Prompts | None = None,
        pins: PinDelivery,
        settings: MessagingSettings | None = None,
    ) -> None:
        self.plan = plan or DialPlan()
        self.prompts = prompts or Prompts()
        self.pins = pins
        self.settings = settings or MessagingSettings()
        """A reload replaces these four."""
        self._control = control
        self._users = users

    # -- calls

    def find(self, requester: Requester, call_id: str) -> Call:
        """Return the call that a request names, without authorisation; see `Control.find`."""
        return self._control.find(
            CallId(call_id),
            accept_alias=self.settings.accept_aliases,
            principal=requester.principal,
        )

    def disconnect(
        self, requester: Requester, call: Call
    ) -> Coroutine[Deferred[Any], Any, Outcome]:
        """End a call that `find` has returned just now; see `Control.disconnect`."""
        return self._control.end(requester.principal, call, requester.request_id)

    def get_call(self, requester: Requester, call_id: str) -> Call:
        """Return a call, live or remembered; see `Control.inform`."""
        return self._control.inform(
            requester.principal, CallId(call_id), accept_alias=self.settings.accept_aliases
        )

    async def play_message(self, requester: Requester, entry_id: str, dial_string: str) -> Call:
        """
        Place a call that plays a message; return it once the backend has dialled.

        Args:
            entry_id: names the message; see `umd.messaging.prompts.name_of_entry`.
            dial_string: the number to call; empty: the user's default.
        """
        self._check_enabled(requester)
        prompt = self.prompts.of_entry(entry_id)
        return await self._place(requester, dial_string, _media(prompt))

    async def play_greeting(self, requester: Requester, greeting: str, dial_string: str) -> Call:
        """
        Place a call that plays the user's greeting and records a new one.

        Args:
            greeting: `NormalCustom` or `OofCustom`.
            dial_string: the number to call; empty: the user's default.
        """
        # The recording replaces a setting of the user.
        self._check_settings(requester)
        prompt = self.prompts.greeting(requester.name, greeting)
        path = self.prompts.greeting_path(requester.name, greeting)
        record_to = "" if path is None else str(path)
        return await self._place(requester, dial_string, _media(prompt, record_to))

    async def _place(self, requester: Requester, dial_string: str, media: Media) -> Call:
        if not dial_string:
            dial_string = (await self._users.get(requester.name)).dial_string
        if not dial_string:
            raise NotDialable("the DialString is empty, and the user has no default number")
        destination = self.plan.find(dial_string)
        call = self._control.place(
            requester.principal,
            destination.number,
            backend=destination.backend,
            media=media,
            request_id=requester.request_id,
        )
        await self._control.dialled(call)
        return call

    # -- settings

    def is_enabled(self, requester: Requester) -> bool:
        """Return whether the user is enabled for unified messaging."""
        return any(fnmatchcase(requester.name, pattern) for pattern in self.settings.enabled)

    async def get_settings(self, requester: Requester) -> UserSettings:
        """Return the user's settings."""
        self._check_settings(requester)
        return await self._users.get(requester.name)

    async def default_dial_string(self, requester: Requester) -> str:
        """Return the user's default number; empty if there is none, or the user may not see it."""
        if Scope.SETTINGS not in requester.principal.scopes:
            return ""
        return (await self._users.get(requester.name)).dial_string

    async def set_oof_status(self, requester: Requester, status: bool) -> None:
        """Set whether the out-of-office greeting is played."""
        await self._change(requester, oof_status=status)

    async def set_missed_call_notification(self, requester: Requester, status: bool) -> None:
        """Set whether the user is notified of missed calls."""
        await self._change(requester, missed_call_notification=status)

    async def set_dial_string(self, requester: Requester, dial_string: str) -> None:
        """Set the user's default number; empty removes it."""
        if dial_string:
            self.plan.find(dial_string)
        await self._change(requester, dial_string=dial_string)

    async def set_access_folder(self, requester: Requester, folder_id: str) -> None:
        """
        Set the mail folder that is read on the telephone.

        Args:
            folder_id: in base64.
        """
        try:
            valid = bool(base64.b64decode(folder_id, validate=True))
        except (binascii.Error, ValueError):
            valid = False
        if not valid:
            raise InvalidFolder("the folder id is not base64, or empty")
        await self._change(requester, access_folder=folder_id)

    async def reset_pin(self, requester: Requester) -> None:
        """Make a new PIN and send it to the user. If it cannot be sent, the old PIN stays."""
        self._check_settings(requester)
        address = requester.name
        if "@" not in address:
            if not self.settings.mail_domain:
                raise PinNotSent(f"{address} has no mail address; see pin.mail_domain")
            address = f"{address}@{self.settings.mail_domain}"
        # A client that disconnects meanwhile must not leave a PIN that was sent and not stored.
        await _shield(self._replace_pin(requester.name, address))

    async def _replace_pin(self, name: str, address: str) -> None:
        """Store a new PIN, then send it, so that a full disk is found before anything is sent."""
        old_hash = (await self._users.get(name)).pin_hash
        # A hash takes some 50 ms of processor time: not on the reactor's thread.
        pin = await deferToThread(make_pin, self.settings.pin_length, old_hash)
        await self._users.change(name, pin_hash=await deferToThread(hash_pin, pin))
        try:
            await self.pins.deliver(address, pin)
        except Exception:
            await self._users.change(name, pin_hash=old_hash)
            raise

    async def _change(self, requester: Requester, **settings: bool | str) -> None:
        self._check_settings(requester)
        await self._users.change(requester.name, **settings)

    def _check_enabled(self, requester: Requester) -> None:
        if not self.is_enabled(requester):
            raise NotEnabled(
                f"{requester.name} is not enabled for unified messaging; see users.enabled"
            )

    def _check_settings(self, requester: Requester) -> None:
        self._check_enabled(requester)
        if Scope.SETTINGS not in requester.principal.scopes:
            raise MayNotSet(f"{requester.name} may not see or change settings; see auth.scopes")


def _media(prompt: Prompt, record_to: str | None = None) -> Media:
    return Media(prompt=prompt.path, prompt_s=prompt.duration, record_to=record_to)


async def _shield(work: Coroutine[Deferred[Any], Any, None]) -> None:
    """
    Wait for work that goes on if the waiting is cancelled.

    An error after that is unhandled, and Twisted logs it.
    """
    finished: Deferred[None] = Deferred()

    def finish(result: Any) -> Any:
        if finished.called:
            return result
        if isinstance(result, Failure):
            finished.errback(result)
        else:
            finished.callback(None)
        return None

    _ = ensureDeferred(work).addBoth(finish)
    await finished
