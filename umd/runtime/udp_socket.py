"""The receive buffer of a UDP socket, and how many datagrams the kernel dropped for want of it."""

from __future__ import annotations

import socket
import struct
from typing import Final

_SO_MEMINFO: Final = 55  # Linux 4.12, include/uapi/asm-generic/socket.h
_MEMINFO: Final = struct.Struct("9I")
_DROPS_INDEX: Final = 8  # SK_MEMINFO_DROPS, include/uapi/linux/sock_diag.h


def set_receive_buffer(udp: socket.socket, requested: int) -> int:
    """Request a receive buffer of so many octets from the kernel, and return the size granted."""
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, requested)
    # The kernel returns double the size, which includes its own bookkeeping (socket(7)).
    return udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def dropped_datagrams(udp: socket.socket) -> int | None:
    """
    Return how many received datagrams the kernel dropped; None if it does not provide the number.

    SO_MEMINFO has it. /proc/net/udp, which has it too, is hidden under systemd's ProcSubset=pid.
    """
    try:
        memory_info = udp.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:
        return None
    if len(memory_info) != _MEMINFO.size:
        return None  # an older kernel, without this counter
    drops: int = _MEMINFO.unpack(memory_info)[_DROPS_INDEX]
    return drops
