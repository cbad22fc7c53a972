"""Labs of the host world whose servers serve, and can be neither found nor ended by this process:
in another PID namespace than theirs (a container, ``unshare --pid``), or without the rights to look
into them."""

from __future__ import annotations

from bascule.engine import worlds
from bascule.errors import Elsewhere
from bascule.host import dnsmasq
from bascule.plan.servers import servers_folder
from bascule.state.record import Stored
from bascule.topology.model import Assigned


def refuse(stored: Stored, lab: Assigned | None) -> None:
    """Raises :class:`Elsewhere` for such a lab: its servers would live on when it goes, and keep
    their ports."""
    record = stored.newest
    if record is None or record.keeper is not None or lab is None or not worlds.is_here(record):
        return
    gateways = {gateway for network in lab.networks for gateway in network.gateways}
    if dnsmasq.is_out_of_reach(servers_folder(record.name), gateways):
        raise Elsewhere(
            f"the name server of lab {record.name} is out of reach: this is another PID "
            f"namespace than that in which it runs, or "
            "a process that may not look into it; run the command where the lab was built"
        )
