"""The verbs of `network`, `node` and `system`, as rows: Docker's, live."""

from __future__ import annotations

from bascule.cli.arguments import (
    DRY_RUN,
    FILTER,
    JSON,
    KILL,
    LAB,
    LISTED,
    NETWORK,
    NETWORKS,
    NO_WAIT,
    NODE,
    NODES,
    RUN,
    SHOWN,
    WORLD,
    Row,
    argument,
    flag,
)

_FORCE = flag("--force", "also where nodes are attached: disconnect them first")

NETWORK_VERBS = (
    Row(
        "create",
        "make a network: a bridge",
        "live:network_create",
        (argument("name", metavar="NAME"), LAB, WORLD, *RUN),
        noun="network",
        examples=("network create lan", "network create lan --subnet 10.1.0.0/24 --nat"),
    ),
    Row(
        "rm",
        "remove networks",
        "live:network_rm",
        (NETWORKS, _FORCE, LAB, *RUN),
        examples=("network rm lan", "network rm --force lan dmz"),
    ),
    Row(
        "ls",
        "list the networks",
        "live:network_ls",
        (LAB, FILTER, *LISTED),
        examples=("network ls", "network ls --filter label=tier=front -q"),
        served="reads",
    ),
    Row(
        "inspect",
        "show one network",
        "live:network_inspect",
        (argument("name", metavar="NETWORK"), LAB, SHOWN, JSON),
        examples=("network inspect lan", "network inspect lan --lab home"),
        served="reads",
    ),
    Row(
        "connect",
        "attach a node to a network",
        "live:network_connect",
        (NETWORK, NODE, LAB, *RUN),
        noun="attachment",
        examples=("network connect lan web", "network connect lan web --ip 10.1.0.9"),
    ),
    Row(
        "disconnect",
        "detach a node from a network",
        "live:network_disconnect",
        (NETWORK, NODE, LAB, *RUN),
        examples=("network disconnect lan web", "network disconnect lan home/web"),
    ),
    Row(
        "prune",
        "remove all networks without nodes",
        "live:network_prune",
        (LAB, *RUN),
        examples=("network prune", "network prune --dry-run"),
    ),
)
NODE_VERBS = (
    Row(
        "add",
        "make a node: a network namespace",
        "live:node_add",
        (argument("name", metavar="NAME"), LAB, WORLD, *RUN),
        noun="node",
        examples=("node add web --network lan", "node add web --network lan --publish 8080:80"),
    ),
    Row(
        "rm",
        "remove nodes",
        "live:node_rm",
        (NODES, KILL, LAB, *RUN),
        examples=("node rm web", "node rm --kill web db"),
    ),
    Row(
        "ls",
        "list the nodes",
        "live:node_ls",
        (LAB, FILTER, *LISTED),
        examples=("node ls", "node ls --format json"),
        served="reads",
    ),
)
SYSTEM_VERBS = (
    Row(
        "prune",
        "take away what is left of labs that nobody knows any more",
        "machine:system_prune",
        (
            flag("--all", "also what may be of a lab in another state directory"),
            argument("--force", "-f", action="store_true", help="do not ask"),
            DRY_RUN,
            NO_WAIT,
            JSON,
        ),
        examples=("system prune", "system prune --all --dry-run"),
        codes="1: something could not be taken away",
    ),
)
