"""What each operation does, whatever its family: a method each, named in `umd.soap`'s tables."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Coroutine
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from umd.call.call import Call, CallState
from umd.call.call_id import CallId
from umd.call.cause import EventCause
from umd.call.leg import Media
from umd.call.principal import Principal, Scope
from umd.control.control import Control
from umd.errors import UmdError
from umd.messaging.dialplan import DialPlan
from umd.messaging.pin import PinDelivery, PinNotSent, hash_pin, make_pin
from umd.messaging.prompts import Prompt, Prompts
from umd.messaging.users import Users
from umd.sip.number import NotDialable
from umd.soap.document import InvalidRequest
from umd.soap.operations import Values


class NotEnabled(UmdError):
    """The user is not enabled for unified messaging."""


class MayNotSet(NotEnabled):
    """Somebody asks for settings who may not see or change their own."""


class InvalidFolder(UmdError):
    """The text is no folder id."""


@dataclass(slots=True)
class Asker:
    """Who asks, and by which request; nobody changes it, and to freeze it costs time."""

    principal: Principal
    request_id: str

    @property
    def name(self) -> str:
        return self.principal.name


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagingSettings:
    """What unified messaging can be told."""

    extended: bool = False
    """Whether to tell states and causes too that the published protocol cannot reach."""
    enabled: tuple[str, ...] = ("*",)
    """Patterns of the names of the users who are enabled for unified messaging."""
    access_numbers: tuple[str, ...] = ()
    """Where users call to hear their messages."""
    pin_length: int = 6
    mail_domain: str = ""
    """Of the mail address of a user whose name is none."""


# The causes that the published protocol can tell (reference um-web-service, 5.2).
_REACHABLE: Final = (EventCause.NONE, EventCause.USER_BUSY)


class UseCases:
    """
    Every operation's use case.

    Each takes who asks and the values of the request, by the keys of its operation, and gives the
    values of the answer. What it raises is told by the table in `umd.messaging.service`.
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
        """These four may be replaced while running."""
        self._control = control
        self._users = users

    # -- calls

    async def disconnect(self, asker: Asker, *, call_id: str) -> Values:
        outcome = await self._control.disconnect(
            asker.principal, CallId(call_id), asker.request_id
        )
        return {"outcome": outcome.value}

    async def get_call_info(self, asker: Asker, *, call_id: str) -> Values:
        call = self._control.inform(asker.principal, CallId(call_id))
        return {"state": self._state_of(call), "cause": self._cause_of(call)}

    async def play_on_phone(self, asker: Asker, *, entry_id: str, dial_string: str) -> Values:
        self._check_enabled(asker)
        prompt = self.prompts.of_entry(entry_id)
        return await self._call(asker, dial_string, _media(prompt))

    async def play_on_phone_greeting(
        self, asker: Asker, *, greeting: str, dial_string: str
    ) -> Values:
        self._check_settings(asker)  # it is recorded over
        prompt = self.prompts.greeting(asker.name, greeting)
        path = self.prompts.greeting_path(asker.name, greeting)
        record_to = "" if path is None else str(path)
        return await self._call(asker, dial_string, _media(prompt, record_to))

    async def _call(self, asker: Asker, dial_string: str, media: Media) -> Values:
        if not dial_string:
            dial_string = (await self._users.get(asker.name)).dial_string
        if not dial_string:
            raise NotDialable("the DialString is empty, and there is no default one")
        destination = self.plan.find(dial_string)
        call = self._control.place(
            asker.principal,
            destination.number,
            backend=destination.backend,
            media=media,
            request_id=asker.request_id,
        )
        await self._control.dialled(call)
        return {"call_id": call.id}

    def _state_of(self, call: Call) -> str:
        """The word of both families for the state of a call (reference um-web-service, 5.1)."""
        if call.ended:
            return "Disconnected"
        if call.state is CallState.CONNECTED or call.connected_at:
            return "Connected"
        if call.state is CallState.ALERTING and self.settings.extended:
            return "Alerted"
        return "Connecting"

    def _cause_of(self, call: Call) -> str:
        if not call.ended or call.cause is None:
            return EventCause.NONE
        cause = call.cause.event_cause
        if cause in _REACHABLE or self.settings.extended:
            return cause
        return EventCause.NONE

    # -- settings

    async def is_um_enabled(self, asker: Asker) -> Values:
        return {"enabled": self._is_enabled(asker)}

    async def get_um_properties(self, asker: Asker) -> Values:
        self._check_settings(asker)
        user = await self._users.get(asker.name)
        return {
            "oof_status": user.oof_status,
            "missed_call_notification": user.missed_call_notification,
            "dial_string": user.dial_string or None,
            "access_numbers": self.settings.access_numbers or None,
            "access_folder": user.access_folder or None,
        }

    async def get_service_configuration(
        self, asker: Asker, *, names: tuple[str, ...]
    ) -> Values:
        if "UnifiedMessagingConfiguration" not in names:
            raise InvalidRequest("only UnifiedMessagingConfiguration is to be had here")
        dial_string = ""
        if Scope.SETTINGS in asker.principal.scopes:
            dial_string = (await self._users.get(asker.name)).dial_string
        return {
            "response_class": "Success",
            "response_code": "NoError",
            "enabled": self._is_enabled(asker),
            "dial_string": dial_string,
        }

    async def set_oof_status(self, asker: Asker, *, status: bool) -> Values:
        return await self._change(asker, oof_status=status)

    async def set_missed_call_notification_enabled(self, asker: Asker, *, status: bool) -> Values:
        return await self._change(asker, missed_call_notification=status)

    async def set_play_on_phone_dial_string(self, asker: Asker, *, dial_string: str) -> Values:
        if dial_string:
            self.plan.find(dial_string)
        return await self._change(asker, dial_string=dial_string)

    async def set_telephone_access_folder_email(self, asker: Asker, *, folder_id: str) -> Values:
        try:
            valid = bool(base64.b64decode(folder_id, validate=True))
        except (binascii.Error, ValueError):
            valid = False
        if not valid:
            raise InvalidFolder("the folder id is not base64, or empty")
        return await self._change(asker, access_folder=folder_id)

    async def reset_pin(self, asker: Asker) -> Values:
        self._check_settings(asker)
        address = asker.name
        if "@" not in address:
            if not self.settings.mail_domain:
                raise PinNotSent(f"{address} has no mail address; see pin.mail_domain")
            address = f"{address}@{self.settings.mail_domain}"
        # A client that leaves stops waiting; the PIN is not left half made.
        await _to_the_end(self._hand_out_pin(asker.name, address))
        return {}

    async def _hand_out_pin(self, name: str, address: str) -> None:
        """Keep a new PIN, then send it: a disk that is full is found before anything is sent."""
        old = (await self._users.get(name)).pin_hash
        # Each hash takes the processor for some time: not on the reactor's thread.
        pin = await deferToThread(make_pin, self.settings.pin_length, old)
        await self._users.change(name, pin_hash=await deferToThread(hash_pin, pin))
        try:
            await self.pins.deliver(address, pin)
        except Exception:
            await self._users.change(name, pin_hash=old)
            raise

    async def _change(self, asker: Asker, **settings: bool | str) -> Values:
        self._check_settings(asker)
        await self._users.change(asker.name, **settings)
        return {}

    def _is_enabled(self, asker: Asker) -> bool:
        return any(fnmatchcase(asker.name, pattern) for pattern in self.settings.enabled)

    def _check_enabled(self, asker: Asker) -> None:
        if not self._is_enabled(asker):
            raise NotEnabled(f"{asker.name} is not enabled for unified messaging: users.enabled")

    def _check_settings(self, asker: Asker) -> None:
        self._check_enabled(asker)
        if Scope.SETTINGS not in asker.principal.scopes:
            raise MayNotSet(f"{asker.name} may not see or change settings: auth.scopes")


def _media(prompt: Prompt, record_to: str | None = None) -> Media:
    return Media(prompt=prompt.path, prompt_s=prompt.duration, record_to=record_to)


async def _to_the_end(work: Coroutine[Deferred[Any], Any, None]) -> None:
    """
    Wait for something that goes on when nobody waits any more.

    What goes wrong then is an unhandled error, which is logged.
    """
    waiting: Deferred[None] = Deferred()

    def done(result: Any) -> Any:
        if waiting.called:
            return result
        if isinstance(result, Failure):
            waiting.errback(result)
        else:
            waiting.callback(None)
        return None

    _ = ensureDeferred(work).addBoth(done)
    await waiting
