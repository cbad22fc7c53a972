"""One measurement a process, in namespaces of its own; prints one line of JSON, times in
milliseconds."""

from __future__ import annotations

import json
import os
import resource
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bascule import syscalls

BASCULE = os.environ.get("BASCULE", "bascule")


def _own_machine() -> None:
    """Namespaces in which this process, a child of the one that calls, plays root on a machine of
    its own. Like root of a whole one, it may mount procfs, which takes a PID namespace."""
    uid, gid = os.getuid(), os.getgid()
    syscalls.unshare(
        syscalls.CLONE_NEWNET
        | syscalls.CLONE_NEWNS
        | syscalls.CLONE_NEWUSER
        | syscalls.CLONE_NEWPID
    )
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{file}").write_text(text)
    child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    syscalls.mount("none", "/", "none", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("proc", "/proc", "proc", 0)
    syscalls.mount("tmpfs", "/run", "tmpfs", 0)
    for layer in ("upper", "work"):
        os.mkdir(f"/run/{layer}")
    syscalls.mount(
        "overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir=/run/upper,workdir=/run/work"
    )


def _timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1000


def _data(count: int) -> dict[str, object]:
    return {
        "networks": {"lan": {"subnet": "10.1.0.0/16"}},
        "nodes": {"n": {"count": count, "networks": ["lan"]}},
    }


def cycle(count: int) -> dict[str, float]:
    """Up, up again, down, by call."""
    import bascule

    lab = bascule.Lab.from_data(_data(count), world="host", name="bench")
    up, again = _timed(lab.up), _timed(lab.up)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    down = _timed(lab.down) + _timed(_namespaces_freed)
    return {"up": up, "again": again, "down": down, "rss": rss}


def _namespaces_freed() -> None:
    """Wait until the kernel has freed all but ours: our user namespace may have one more, and a
    child tries to make it."""
    Path("/proc/sys/user/max_net_namespaces").write_text("2")
    for _attempt in range(60_000):
        child = os.fork()
        if child == 0:
            try:
                syscalls.unshare(syscalls.CLONE_NEWNET)
            except OSError:
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return
        time.sleep(0.0005)
    raise SystemExit("namespaces are not freed")


def more(count: int) -> dict[str, float]:
    """One node more, less what `up` with nothing to do costs."""
    import bascule

    lab = bascule.Lab.from_data(_data(count), world="host", name="bench")
    lab.up()
    found = []
    for extra in range(1, 6):
        nothing = _timed(lab.up)
        lab = bascule.Lab.from_data(_data(count + extra), world="host", name="bench")
        found.append(_timed(lab.up) - nothing)
    lab.down()
    return {"more": statistics.median(found)}


def command(count: int) -> dict[str, float]:
    """The whole command, interpreter and all."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lab.yaml"
        file.write_text(
            f"name: bench\nnetworks: {{lan: {{subnet: 10.1.0.0/16}}}}\nnodes: {{n: {{count: "
            f"{count}, networks: [lan]}}}}\n"
        )
        up = _timed(
            lambda: subprocess.run([BASCULE, "up", str(file)], check=True, capture_output=True)
        )
        subprocess.run([BASCULE, "down", "bench"], check=True, capture_output=True)
    return {"up": up}


def grow(count: int) -> dict[str, float]:
    """Commands that are about one node, and one that shows all, where so many are there."""
    import bascule

    networks = {f"lan{number}": {"subnet": f"10.{number}.0.0/16"} for number in range(20)}
    nodes = {f"n{number}": [f"lan{number % 20}"] for number in range(count)}
    lab = bascule.Lab.from_data({"networks": networks, "nodes": nodes}, world="host", name="bench")
    lab.up()

    def timed(*words: str) -> float:
        return _timed(lambda: subprocess.run([BASCULE, *words], check=True, capture_output=True))

    found = [timed("node", "add", f"more{n}", "--network", "lan1") for n in range(5)]
    show = timed("show", "bench", "--json")
    lab.down()
    return {"add": statistics.median(found), "show": show}


def ping(count: int) -> dict[str, float]:
    """Every ordered pair."""
    import bascule

    with bascule.Lab.from_data(_data(count), world="host", name="bench") as lab:
        lab.ping()
        spent = _timed(lambda: None)
        start = time.perf_counter()
        echoes = lab.ping()
        spent = (time.perf_counter() - start) * 1000
    if any(echo.seconds is None for echo in echoes):
        raise SystemExit("a pair failed")
    return {"pair": spent / len(echoes)}


def _calls(world: str) -> dict[str, float]:
    import bascule

    with bascule.Lab.from_data(_data(2), world=world, name="bench") as lab:
        node = lab.node("n1")
        node.run(["/bin/true"])
        call = min(
            _timed(lambda: [node.run(["/bin/true"]) for _ in range(20)]) / 20 for _ in range(3)
        )
        argv = [BASCULE, "exec", "n1", "/bin/true"]
        command = min(_timed(lambda: subprocess.run(argv, check=True)) for _ in range(8))
    return {"call": call, "command": command}


def execute(_count: int) -> dict[str, float]:
    """exec, as a command and as a call."""
    return _calls("host")


def private(_count: int) -> dict[str, float]:
    """The same in a private world."""
    return _calls("private")


def serve(count: int) -> dict[str, float]:
    """Calls of a server, and the same as commands: medians, by their words."""
    import bascule

    looks = ("ls", "show bench", "port bench/n1", "network ls -l bench", "exec bench/n1 -- true")
    lab = bascule.Lab.from_data(_data(count), world="host", name="bench")
    lab.up()
    argv = [BASCULE, "serve", "--socket", "/run/s"]
    with (
        subprocess.Popen(argv, stderr=subprocess.PIPE) as server,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        os.read(server.stderr.fileno(), 1)  # type: ignore[union-attr]
        connection.connect("/run/s")
        lines = connection.makefile("rw")

        def call(words: str) -> None:
            print(json.dumps({"command": words.split()}), file=lines, flush=True)
            if json.loads(lines.readline())["code"] != 0:
                raise SystemExit(words)

        def command(words: str) -> None:
            subprocess.run([BASCULE, *words.split()], check=True, capture_output=True)

        found = {words: _median(call, [words] * 50) for words in looks}
        found |= {f"command {words}": _median(command, [words] * 7) for words in looks}
        for name, run in (("add", call), ("command add", command)):
            nodes = [f"node add {name[0]}{at} -l bench --network lan" for at in range(7)]
            found[name] = _median(run, nodes)
        server.terminate()
    lab.down()
    return found


def _median(run: Callable[[str], None], each: list[str]) -> float:
    return statistics.median(_timed(partial(run, words)) for words in each)


def version(_count: int) -> dict[str, float]:
    """What the smallest command costs."""
    return {
        "version": min(
            _timed(lambda: subprocess.run([BASCULE, "--version"], check=True, capture_output=True))
            for _ in range(10)
        )
    }


def _shell_lines(count: int) -> list[str]:
    lines = ["link add lan type bridge", "addr add 10.1.0.1/16 dev lan", "link set lan up"]
    for number in range(count):
        address = f"10.1.{(number + 2) >> 8}.{(number + 2) & 255}/16"
        lines += [
            f"netns add n{number}",
            f"link add v{number} type veth peer name eth0 netns n{number}",
            f"link set v{number} master lan up",
            f"-n n{number} link set lo up",
            f"-n n{number} link set eth0 up",
            f"-n n{number} addr add {address} dev eth0",
            f"-n n{number} route add default via 10.1.0.1",
        ]
    return lines


def ip_batch(count: int) -> dict[str, float]:
    """`ip -batch`: one process for the world, one for each node's inside."""

    def build() -> None:
        world = [line for line in _shell_lines(count) if not line.startswith("-n ")]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(world), text=True, check=True)
        inside: dict[str, list[str]] = {}
        for line in _shell_lines(count):
            if line.startswith("-n "):
                _flag, node, rest = line.split(" ", 2)
                inside.setdefault(node, []).append(rest)
        for node, lines in inside.items():
            subprocess.run(
                ["ip", "-n", node, "-batch", "-"], input="\n".join(lines), text=True, check=True
            )

    return {"up": _timed(build)}


def by_hand(count: int) -> dict[str, float]:
    """One `ip` process a step, as tutorials have it."""
    return {
        "up": _timed(
            lambda: [
                subprocess.run(["ip", *line.split()], check=True) for line in _shell_lines(count)
            ]
        )
    }


def pyroute2(count: int) -> dict[str, float]:
    """The same steps by pyroute2."""
    from pyroute2 import IPRoute, NetNS, netns  # type: ignore[import-not-found]

    def build() -> None:
        with IPRoute() as ip:
            ip.link("add", ifname="lan", kind="bridge")
            lan = ip.link_lookup(ifname="lan")[0]
            ip.addr("add", index=lan, address="10.1.0.1", prefixlen=16)
            ip.link("set", index=lan, state="up")
            for number in range(count):
                netns.create(f"n{number}")
                ip.link(
                    "add",
                    ifname=f"v{number}",
                    kind="veth",
                    peer={"ifname": "eth0", "net_ns_fd": f"n{number}"},
                )
                ip.link("set", index=ip.link_lookup(ifname=f"v{number}")[0], master=lan, state="up")
                with NetNS(f"n{number}") as inside:
                    eth0 = inside.link_lookup(ifname="eth0")[0]
                    inside.link("set", index=1, state="up")
                    inside.link("set", index=eth0, state="up")
                    inside.addr(
                        "add",
                        index=eth0,
                        address=f"10.1.{(number + 2) >> 8}.{(number + 2) & 255}",
                        prefixlen=16,
                    )
                    inside.route("add", dst="default", gateway="10.1.0.1")

    return {"up": _timed(build)}


def mininet(count: int) -> dict[str, float]:
    """Mininet with a Linux bridge, from its own Python (Debian's package)."""
    script = (
        "import sys, time, logging; sys.path.insert(0, '/usr/lib/python3/dist-packages')\n"
        "from mininet.net import Mininet; from mininet.nodelib import LinuxBridge\n"
        "start = time.perf_counter()\n"
        "net = Mininet(switch=LinuxBridge, controller=None)\n"
        "s = net.addSwitch('s1')\n"
        f"[net.addLink(net.addHost(f'h{{i}}'), s) for i in range({count})]\n"
        "net.start(); spent = time.perf_counter() - start; net.stop(); print(spent * 1000)\n"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return {"up": float(done.stdout.splitlines()[-1])}


def cni(count: int) -> dict[str, float]:
    """The CNI bridge plugin with host-local addresses, one process a node, as a container runtime
    calls it."""
    folder = "/usr/lib/cni"
    if not os.path.exists(f"{folder}/bridge"):
        raise SystemExit("the CNI plugins are not installed")
    network = {
        "cniVersion": "0.4.0",
        "name": "lan",
        "type": "bridge",
        "bridge": "lan",
        "isGateway": True,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni",
            "ranges": [[{"subnet": "10.1.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }

    def build() -> None:
        for number in range(count):
            subprocess.run(["ip", "netns", "add", f"n{number}"], check=True)
            names = {
                "CNI_COMMAND": "ADD",
                "CNI_CONTAINERID": f"n{number}",
                "CNI_NETNS": f"/run/netns/n{number}",
            }
            environment = {**os.environ, **names, "CNI_IFNAME": "eth0", "CNI_PATH": folder}
            subprocess.run(
                [f"{folder}/bridge"],
                input=json.dumps(network),
                text=True,
                env=environment,
                check=True,
                capture_output=True,
            )

    return {"up": _timed(build)}


def networks(count: int) -> dict[str, float]:
    """So many networks with two nodes each."""
    import bascule

    names = [f"lan{number}" for number in range(count)]
    data = {
        "networks": {
            name: {"subnet": f"10.{number >> 8}.{number & 255}.0/24"}
            for number, name in enumerate(names)
        },
        "nodes": {f"n{number}": [names[number // 2]] for number in range(2 * count)},
    }
    lab = bascule.Lab.from_data(data, world="host", name="bench")
    up = _timed(lab.up)
    lab.down()
    return {"up": up}


def _published(count: int) -> dict[str, object]:
    """So many ports, over a hundred nodes or as many as there are ports."""
    nodes = min(100, count)
    share = count // nodes
    return {
        "networks": {"lan": {"subnet": "10.1.0.0/16", "nat": True}},
        "nodes": {
            f"n{node}": {
                "networks": ["lan"],
                "ports": [
                    f"{10_000 + node * share + number}:{80 + number}" for number in range(share)
                ],
            }
            for node in range(nodes)
        },
    }


def ports(count: int) -> dict[str, float]:
    """A lab with so many published ports, beyond the same lab without."""
    import bascule

    found = []
    for _turn in range(3):
        data = _published(count)
        lab = bascule.Lab.from_data(data, world="host", name="bench")
        whole = _timed(lab.up)
        lab.down()
        for node in data["nodes"].values():  # type: ignore[attr-defined]
            del node["ports"]
        lab = bascule.Lab.from_data(data, world="host", name="bench")
        found.append(whole - _timed(lab.up))
        lab.down()
    return {"more": statistics.median(found)}


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _neighbour() -> None:
    """Another machine on a cable: namespace `out`, 192.0.2.2; we are 192.0.2.1."""
    Path("/run/netns").mkdir(exist_ok=True)
    _ip("netns", "add", "out")
    _ip("link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", "out")
    _ip("address", "add", "192.0.2.1/24", "dev", "up0")
    _ip("link", "set", "up0", "up")
    _ip("-n", "out", "address", "add", "192.0.2.2/24", "dev", "eth0")
    _ip("-n", "out", "link", "set", "eth0", "up")
    _ip("link", "set", "lo", "up")


def _socket_in(name: str) -> socket.socket:
    home, there = (
        os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", f"/run/netns/{name}")
    )
    syscalls.setns(there, syscalls.CLONE_NEWNET)
    made = socket.socket()
    syscalls.setns(home, syscalls.CLONE_NEWNET)
    os.close(home)
    os.close(there)
    return made


def _connections(node: str, port: int, rounds: int = 2000) -> float:
    """The median of connect(2) from outside through a port of the machine, in microseconds: the
    whole handshake happens in it. On one processor: to be moved to another costs more than all the
    rules."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    server = _socket_in(node)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", 80))
    server.listen(64)
    spent = []
    for _round in range(rounds):
        client = _socket_in("out")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        start = time.perf_counter()
        client.connect(("192.0.2.1", port))
        spent.append(time.perf_counter() - start)
        server.accept()[0].close()
        client.close()
    server.close()
    return statistics.median(spent[rounds // 10 :]) * 1e6


def latency(count: int) -> dict[str, float]:
    """A new connection to the last of so many published ports."""
    import bascule

    _neighbour()
    data = _published(count)
    last = list(data["nodes"])[-1]  # type: ignore[call-overload]
    with bascule.Lab.from_data(data, world="host", name="bench") as lab:
        port = next(
            each for node in lab.topology.nodes if node.name == last for each in node.ports
        ).published
        return {"connect": _connections(last, port)}


def _hand_made(count: int) -> None:
    """A bridge with so many nodes, as a person makes it."""
    Path("/run/netns").mkdir(exist_ok=True)
    for line in _shell_lines(count):
        _ip(*line.split())


def latency_bare(_count: int) -> dict[str, float]:
    """The same with one DNAT rule by hand."""
    _neighbour()
    _hand_made(1)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    rules = (
        "table ip t { chain pre { type nat hook prerouting priority dstnat; tcp dport 10000 "
        "dnat to 10.1.0.2:80; }\n"
    )
    rules += (
        'chain post { type nat hook postrouting priority srcnat; oifname "up0" masquerade; }\n}\n'
    )
    subprocess.run(
        ["nft", "-f", "-"],
        input=rules.replace("; }", "\n}").replace("dstnat;", "dstnat\n"),
        text=True,
        check=True,
    )
    return {"connect": _connections("n0", 10_000)}


def _stream(source: str, target: str, address: str, seconds: float = 2) -> float:
    """TCP from node to node, in megabytes a second."""
    server, client = _socket_in(target), _socket_in(source)
    server.bind(("", 9))
    server.listen(1)
    client.connect((address, 9))
    other = server.accept()[0]
    child = os.fork()
    if child == 0:
        block = bytes(1 << 18)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            client.sendall(block)
        os._exit(0)
    client.close()
    place, total, start = bytearray(1 << 20), 0, time.perf_counter()
    while got := other.recv_into(place):
        total += got
    spent = time.perf_counter() - start
    os.waitpid(child, 0)
    return total / spent / 1e6


def _bridged(value: int) -> None:
    """Whether bridged frames pass the firewall (br_netfilter), as they do where Docker or
    Kubernetes has been."""
    place = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if place.exists():
        place.write_text(str(value))


def throughput(bridged: int) -> dict[str, float]:
    """Between two nodes of a network with everything: a way out, published ports."""
    import bascule

    _bridged(bridged)
    with bascule.Lab.from_data(_published(100), world="host", name="bench"):
        return {"rate": _stream("n0", "n1", "10.1.0.3")}


def throughput_bare(bridged: int) -> dict[str, float]:
    """Between two nodes of a bridge made by hand."""
    _bridged(bridged)
    _hand_made(100)
    return {"rate": _stream("n0", "n1", "10.1.0.3")}


MEASURES: dict[str, Callable[[int], dict[str, float]]] = {
    "cycle": cycle,
    "more": more,
    "command": command,
    "grow": grow,
    "ping": ping,
    "exec": execute,
    "private": private,
    "version": version,
    "serve": serve,
    "networks": networks,
    "ports": ports,
    "latency": latency,
    "latency-bare": latency_bare,
    "throughput": throughput,
    "throughput-bare": throughput_bare,
    "ip-batch": ip_batch,
    "by-hand": by_hand,
    "pyroute2": pyroute2,
    "mininet": mininet,
    "cni": cni,
}


def main() -> None:
    """Run the measurement named."""
    _own_machine()
    print(json.dumps(MEASURES[sys.argv[1]](int(sys.argv[2]))))


if __name__ == "__main__":
    main()
