"""Which principal may place calls, and which calls it may read or end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from structlog.typing import FilteringBoundLogger

from umd.call.call import Call
from umd.call.principal import Principal, Scope
from umd.control.errors import Forbidden, MayNotOperate, MayNotPlace


class Authorisation:
    """
    Checks the scopes of a principal before control acts.

    Args:
        log: gets `control.forbidden` for each refusal.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def require_place(self, principal: Principal, request_id: str) -> None:
        """
        Raises:
            MayNotPlace: the principal lacks the scope `calls:place`.
        """
        if Scope.PLACE not in principal.scopes:
            self._log.warning(
                "control.forbidden", principal=principal.name, action="place", request_id=request_id
            )
            raise MayNotPlace(f"{principal.name} may not place calls")

    def require_end(self, principal: Principal, call: Call, request_id: str) -> None:
        """
        Raises:
            Forbidden: the principal may neither end any call nor end its own and own this one.
        """
        if not self.may_end(principal, call):
            self._refuse(principal, call, "end", request_id)

    def may_end(self, principal: Principal, call: Call) -> bool:
        """Return whether the principal may end any call, or its own and owns this one."""
        return Scope.END_ANY in principal.scopes or _owns(principal, call)

    def require_operate(self, principal: Principal, call: Call, request_id: str) -> None:
        """
        Raises:
            MayNotOperate: the principal lacks the scope `operate`.
        """
        if Scope.OPERATE not in principal.scopes:
            self._log.warning(
                "control.forbidden",
                principal=principal.name,
                address=principal.address,
                action="operate",
                call=call.id,
                request_id=request_id,
            )
            raise MayNotOperate(f"{principal.name} may not operate umd; see auth.scopes")

    def require_read(self, principal: Principal, call: Call) -> None:
        """
        Raises:
            Forbidden: the principal may neither read nor end this call.
        """
        if not _may_read(principal, call):
            self._refuse(principal, call, "inform", "")

    def reader(self, principal: Principal | None) -> Callable[[Call], bool] | None:
        """Return what says which calls a principal may read; None: no principal was given."""
        return None if principal is None else partial(_may_read, principal)

    def _refuse(self, principal: Principal, call: Call, action: str, request_id: str) -> None:
        self._log.warning(
            "control.forbidden",
            principal=principal.name,
            address=principal.address,
            action=action,
            call=call.id,
            request_id=request_id,
        )
        raise Forbidden(f"no call {call.id!r}")


def _may_read(principal: Principal, call: Call) -> bool:
    scopes = principal.scopes
    return Scope.READ in scopes or Scope.END_ANY in scopes or _owns(principal, call)


def _owns(principal: Principal, call: Call) -> bool:
    """Whether the principal placed the call and may end its own; found calls have no owner."""
    return Scope.END_OWN in principal.scopes and bool(call.owner) and call.owner == principal.name
