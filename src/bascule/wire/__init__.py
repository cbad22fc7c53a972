"""Bytes ⇄ values: netlink messages and attributes (netlink(7), rtnetlink(7)). No I/O, no
sockets."""
