"""What a word of the lab file is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto


class Kind(Enum):
    """What a field holds; ``nouns.READ`` has one function for each, ``schema.SCHEMA`` one
    fragment."""

    LAB_NAME = auto()
    NETWORKS = auto()
    NODES = auto()
    SUBNETS = auto()
    GATEWAYS = auto()
    MTU = auto()
    MAC = auto()
    ATTACHMENTS = auto()
    ADDRESSES = auto()
    ADDRESS4 = auto()
    ADDRESS6 = auto()
    INTERFACE = auto()
    ROUTES = auto()
    DESTINATION = auto()
    ADDRESS = auto()
    METRIC = auto()
    SYSCTLS = auto()
    FLAG = auto()
    NAMES = auto()
    PORTS = auto()
    PORT_SPAN = auto()
    WORD = auto()
    COUNT = auto()
    POOLS = auto()
    POOL_BASE = auto()
    POOL_SIZE = auto()
    SPANS = auto()
    AGEING = auto()
    PRIORITY = auto()
    LABELS = auto()
    MODE = auto()
    NETNS = auto()
    HOSTNAMES = auto()
    EXTRA_HOSTS = auto()
    HOSTNAME = auto()
    SERVERS = auto()
    DOMAINS = auto()
    RESOLVER_OPTIONS = auto()


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``other`` are further words for the same, mostly Compose's. ``empty`` says that no
    value is a value. ``model`` is the attribute of the model's class, where it is not called as the
    field."""

    name: str
    kind: Kind
    doc: str
    other: tuple[str, ...] = ()
    empty: bool = False
    model: str = ""

    @property
    def attribute(self) -> str:
        return self.model or self.name


@dataclass(slots=True)
class Noun:
    """A map with these fields. ``word`` is how messages call it, with its article. ``foreign``:
    words of Compose's that have no place here and look like one that has, and what to do without
    them."""

    word: str
    doc: str
    fields: tuple[Field, ...]
    foreign: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Field] = field(init=False)  # every key that is understood → its row

    def __post_init__(self) -> None:
        self.keys = {key: row for row in self.fields for key in (row.name, *row.other)}
