"""What an interface says when an address has moved to it: a gratuitous ARP request (RFC 5227
section 3) and an unsolicited neighbour advertisement (RFC 4861 section 7.2.6). Whoever knows the
address under another MAC takes the new one at once."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from bascule.wire.inet import pack_mac

_BROADCAST = b"\xff" * 6
_ETHERTYPE_ARP = 0x0806
# struct arphdr for Ethernet and IPv4: hardware, protocol, their lengths, operation; sender and
# target, each MAC and address
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_REQUEST = 1
# ICMPv6 type, code, checksum (the kernel's affair), flags, target; then one option: type, length in
# 8 bytes, MAC
_ADVERTISEMENT = struct.Struct("!BBHI16sBB6s")
_NEIGHBOUR_ADVERTISEMENT, _OVERRIDE, _TARGET_LINK_LAYER_ADDRESS = 136, 0x20000000, 2


def gratuitous_arp(mac: str, address: IPv4Address) -> bytes:
    """A whole Ethernet frame, to all."""
    own = pack_mac(mac)
    body = _ARP.pack(1, 0x0800, 6, 4, _REQUEST, own, address.packed, bytes(6), address.packed)
    return _BROADCAST + own + struct.pack("!H", _ETHERTYPE_ARP) + body


def unsolicited_advertisement(mac: str, address: IPv6Address) -> bytes:
    """The ICMPv6 message, for ff02::1, without its checksum."""
    option = (_TARGET_LINK_LAYER_ADDRESS, 1, pack_mac(mac))
    return _ADVERTISEMENT.pack(_NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE, address.packed, *option)
