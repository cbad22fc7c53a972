"""firewalld(1), asked and told on the system's message bus (firewalld.dbus(5)).

Whether its rules are here, in this network namespace, the kernel tells; only then is there anything
to be asked, and the library for it imported. The program firewall-cmd would do, too, and take a
tenth of a second for each question.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bascule import syscalls
from bascule.errors import KernelError, Uncertain
from bascule.host.seen import Firewalld
from bascule.kernel.op import ChangeZone
from bascule.kernel.zone import SetZone, Zone
from bascule.wire import netfilter
from bascule.wire.message import Reply

if TYPE_CHECKING:
    from jeepney.io.blocking import DBusConnection

Place = tuple[str, str]
_TABLE = "firewalld"
# The chain of each interface's zone, in its backend that goes through iptables.
_OF_IPTABLES = b"INPUT_ZONES\0"
_BUS = "unix:path=/run/dbus/system_bus_socket"
_NAME, _PATH, _CONFIG = (
    "org.fedoraproject.FirewallD1",
    "/org/fedoraproject/FirewallD1",
    "/org/fedoraproject/FirewallD1/config",
)
_SECONDS = 20  # it reads all of its files anew at a reload, and answers after that
_ABSENT = (
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
)
# What it says of what is so already.
_SETTLED = ("UNKNOWN_INTERFACE", "NOT_ENABLED", "ZONE_ALREADY_SET", "ALREADY_ENABLED")
_FORBIDDEN = ("org.freedesktop.DBus.Error.AccessDenied", f"{_NAME}.NotAuthorizedException")


class _Gone(Exception):
    """It does not run."""


def tables(found: Iterable[tuple[str, str, str] | None], chains: Iterable[Reply]) -> set[Place]:
    """Family and name of the tables that are its own, of all that there are. There are none where
    it does not run."""
    places = {row[:2] for row in found if row is not None and row[1] == _TABLE}
    zoned = (netfilter.place(chain) for chain in chains if _OF_IPTABLES in chain.body)
    return places | {(family, table) for family, table, _name in zoned}


def look(bridges: Collection[str]) -> Firewalld:
    """Its zones; of these bridges also what its files say."""
    try:
        with _connected() as bus:
            active = _called(bus, _PATH, f"{_NAME}.zone", "getActiveZones")
            zones = {
                interface: zone
                for zone, members in active.items()
                for interface in members.get("interfaces", ())
            }
            ours = [bridge for bridge in bridges if bridge in zones]
            kept = [bridge for bridge in ours if _zone_on_file(bus, bridge)]
            return Firewalld(zones, frozenset(kept))
    except _Gone as error:
        return Firewalld(silent=str(error))
    except (OSError, KernelError) as error:
        said = error.said if isinstance(error, KernelError) else error.strerror
        return Firewalld(silent=f"it can't be asked: {said or error}")


def facts(found: Firewalld, bridges: Collection[str]) -> Iterator[Zone]:
    """The zones of these bridges."""
    for bridge, zone in found.zones.items():
        if bridge in bridges:
            yield Zone(bridge, zone, bridge in found.kept)


def change(effect: ChangeZone) -> None:
    """Put an interface into its zone or take it out. Where firewalld has gone, its rules have, too.
    Raises :class:`KernelError` with what it says."""
    interface, zone, leave = effect
    words = SetZone(*effect).words
    method = "removeInterface" if leave else "changeZoneOfInterface"
    try:
        with _connected() as bus:
            syscalls.ask(
                lambda: _called(bus, _PATH, f"{_NAME}.zone", method, zone, interface), words
            )
    except _Gone:
        return
    except KernelError as error:
        if not error.said.startswith(_SETTLED):
            kind = Uncertain if isinstance(error, Uncertain) else KernelError
            raise kind(words, error.errno, error.said, advice=error.advice) from error


def _zone_on_file(bus: DBusConnection, interface: str) -> str:
    found: str = _called(bus, _CONFIG, f"{_NAME}.config", "getZoneOfInterface", interface)
    return found


@contextmanager
def _connected() -> Iterator[DBusConnection]:
    """Raises :class:`_Gone` where there is no bus."""
    from jeepney import DBusErrorResponse
    from jeepney.auth import AuthenticationError
    from jeepney.io.blocking import open_dbus_connection

    try:
        bus = open_dbus_connection(_BUS)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise _Gone("there is no system bus (/run/dbus/system_bus_socket)") from error
    except (AuthenticationError, DBusErrorResponse) as error:
        raise KernelError(
            "firewalld", errno.EACCES, f"the system bus does not let us in: {error}"
        ) from error
    with bus:
        yield bus


def _called(bus: DBusConnection, path: str, interface: str, method: str, *arguments: str) -> Any:
    """The one value that a method answers; its arguments are strings. Raises :class:`_Gone`,
    :class:`KernelError` and, where no answer comes, :class:`Uncertain`."""
    from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call

    address = DBusAddress(path, _NAME, interface)
    message = new_method_call(address, method, "s" * len(arguments) or None, arguments)
    answer = _awaited(lambda: bus.send_and_get_reply(message, timeout=_SECONDS))
    if answer.header.message_type is not MessageType.error:
        return answer.body[0] if answer.body else None
    kind = answer.header.fields.get(HeaderFields.error_name, "")
    if kind in _ABSENT:
        raise _Gone("it does not run")
    said = str(answer.body[0]) if answer.body else kind
    raise KernelError("firewalld", errno.EACCES if kind in _FORBIDDEN else errno.EINVAL, said)


def _awaited(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except TimeoutError as error:
        raise Uncertain(
            "firewalld", errno.ETIMEDOUT, f"no answer in {_SECONDS} s", advice="run it again"
        ) from error
    except ConnectionError as error:  # it, or the bus, has just ended
        raise Uncertain("firewalld", errno.ECONNRESET, "the system bus has ended") from error
