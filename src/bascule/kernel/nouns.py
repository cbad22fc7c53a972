"""All nouns: one row each. In this order they are read, and tried by `doctor`."""

from __future__ import annotations

from bascule.kernel import (
    address,
    bridge,
    forwarding,
    link,
    port,
    qdisc,
    route,
    stray,
    table,
    veth,
    zone,
)
from bascule.kernel.noun import Noun

NOUNS: tuple[Noun, ...] = (
    link.NOUN,
    stray.NOUN,
    bridge.NOUN,
    veth.NOUN,
    port.NOUN,
    qdisc.NOUN,
    address.NOUN,
    route.NOUN,
    forwarding.NOUN,
    table.NOUN,
    zone.NOUN,
)
