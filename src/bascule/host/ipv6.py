"""Where IPv6 is off: by the kernel's command line, by a setting of a namespace, by one of an
interface (ip-sysctl.rst).

What an interface is made with comes from its namespace's ``default``, and what a namespace is made
with from the module (addrconf_init_net, net/ipv6/addrconf.c). Writing to ``all`` writes to each,
and to ``default``; what it says counts for nothing.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterator
from contextlib import suppress

from bascule.host.seen import Observation
from bascule.kernel.op import WORLD
from bascule.kernel.without_ipv6 import IPv6Off, LinkLocalOff

_OF_DEFAULT = "net.ipv6.conf.default.disable_ipv6"
_MODE, _NONE = "/proc/sys/net/ipv6/conf/{}/addr_gen_mode", "1"  # IN6_ADDR_GEN_MODE_NONE
_OF_MODULE = "/sys/module/ipv6/parameters/disable_ipv6"


def is_known() -> bool:
    """Whether the kernel has IPv6 at all: it has not where it was started with ipv6.disable=1
    (af_inet6.c). That its settings are not to be seen says nothing: a container may not see any."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC).close()
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    return True


def off_here(node: str, interfaces: Collection[str]) -> Iterator[tuple[tuple[str, str], str]]:
    """Of these interfaces in the namespace that the thread is in, which has this name: those that
    have no IPv6, or would be made without, each with the setting that says so."""
    for name in interfaces:
        own = _value(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
        if (own or _value("/proc/sys/net/ipv6/conf/default/disable_ipv6")) == "1":
            yield (node, name), f"net.ipv6.conf.{name}.disable_ipv6" if own else _OF_DEFAULT


def look(node: str, interfaces: Collection[str], seen: Observation) -> None:
    """Note what is off of these interfaces: as a fact where it is so of one that is there, and as
    something that only the owner of the namespace can change where one made now would be so."""
    usual = _value("/proc/sys/net/ipv6/conf/default/disable_ipv6") == "1"
    for place, key in off_here(node, interfaces):
        own = key != _OF_DEFAULT
        if own:
            seen.facts.append(IPv6Off(*place, usual))
        if usual or not own:
            seen.without_ipv6[place] = key
    mode = _value(_MODE.format("default"))
    for name in interfaces if node == WORLD and mode != _NONE else ():
        if _value(_MODE.format(name)) == _NONE:
            seen.facts.append(LinkLocalOff(node, name, mode))


def off_in_new(node: str, interfaces: Collection[str]) -> Iterator[tuple[tuple[str, str], str]]:
    """The same for a namespace that is still to be made."""
    if interfaces and _value(_OF_MODULE) == "1":
        yield from (((node, name), "ipv6.disable_ipv6") for name in interfaces)


def _value(path: str) -> str:
    with suppress(OSError), open(path) as file:
        return file.read().strip()
    return ""
