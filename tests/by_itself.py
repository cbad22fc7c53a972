"""What the kernel changes by itself, or counts: all that machine.py leaves out when it compares,
each with its reason. Whatever is not named here is compared, known to anybody or not.

An attribute is named by its numbers from the outside in, under the name of its message's kind
(linux/if_link.h, if_addr.h, rtnetlink.h, neighbour.h, if_bridge.h, nexthop.h, nf_tables.h).
"""

from __future__ import annotations

import re

CARRIER = "comes with the carrier, up to a second later"
COUNTS = "counts"
TIMER = "a timer"
NUMBERED = "a number that the kernel gives out by counting"
ELECTED = "of the spanning tree's election"
OTHERWISE = "told otherwise"

LEFT_OUT: dict[str, dict[str, str]] = {
    "link": {
        "5": f"{OTHERWISE}: the other end by its name",
        "7": COUNTS,  # IFLA_STATS
        "10": f"{OTHERWISE}: the master by its name",
        "16": CARRIER,  # IFLA_OPERSTATE
        "23": COUNTS,  # IFLA_STATS64
        "33": CARRIER,  # IFLA_CARRIER
        "35": COUNTS,  # IFLA_CARRIER_CHANGES
        "37": NUMBERED,  # IFLA_LINK_NETNSID
        "47": COUNTS,  # IFLA_CARRIER_UP_COUNT
        "48": COUNTS,  # IFLA_CARRIER_DOWN_COUNT
        # IFLA_TSO_MAX_SIZE, _SEGS: nobody can set them
        "59": "what the hardware is able to; a bridge takes it from its ports, and keeps it",
        "60": "the same",
        # IFLA_PERM_ADDRESS
        "54": "nobody can set it; drawn for tunnels that come with each namespace",
        "18/3": COUNTS,  # IFLA_INFO_XSTATS
        "26/10/1": CARRIER,  # IFLA_INET6_FLAGS: IF_READY, IF_RA_RCVD
        "26/10/3": COUNTS,  # IFLA_INET6_STATS
        "26/10/4": COUNTS,  # IFLA_INET6_MCAST
        "26/10/5": f"{TIMER}, and a random time",  # IFLA_INET6_CACHEINFO
        "26/10/6": COUNTS,  # IFLA_INET6_ICMP6STATS
    },
    "bridge": {  # IFLA_INFO_DATA
        "10": ELECTED,  # IFLA_BR_ROOT_ID
        "12": ELECTED,  # IFLA_BR_ROOT_PORT
        "13": ELECTED,  # IFLA_BR_ROOT_PATH_COST
        "14": ELECTED,  # IFLA_BR_TOPOLOGY_CHANGE
        "15": ELECTED,  # IFLA_BR_TOPOLOGY_CHANGE_DETECTED
        "16": TIMER,  # IFLA_BR_HELLO_TIMER
        "17": TIMER,  # IFLA_BR_TCN_TIMER
        "18": TIMER,  # IFLA_BR_TOPOLOGY_CHANGE_TIMER
        "19": TIMER,  # IFLA_BR_GC_TIMER
        "43": COUNTS,  # IFLA_BR_MCAST_STATS
        "47": TIMER,  # IFLA_BR_MCAST_QUERIER_STATE
        "48": COUNTS,  # IFLA_BR_FDB_N_LEARNED
    },
    "bridge port": {  # IFLA_INFO_SLAVE_DATA
        "1": CARRIER,  # IFLA_BRPORT_STATE
        "13": ELECTED,  # IFLA_BRPORT_ROOT_ID
        "14": ELECTED,  # IFLA_BRPORT_BRIDGE_ID
        "15": NUMBERED,  # IFLA_BRPORT_DESIGNATED_PORT
        "16": ELECTED,  # IFLA_BRPORT_DESIGNATED_COST
        "17": NUMBERED,  # IFLA_BRPORT_ID
        "18": NUMBERED,  # IFLA_BRPORT_NO
        "19": ELECTED,  # IFLA_BRPORT_TOPOLOGY_CHANGE_ACK
        "20": ELECTED,  # IFLA_BRPORT_CONFIG_PENDING
        "21": TIMER,  # IFLA_BRPORT_MESSAGE_AGE_TIMER
        "22": TIMER,  # IFLA_BRPORT_FORWARD_DELAY_TIMER
        "23": TIMER,  # IFLA_BRPORT_HOLD_TIMER
        "38": COUNTS,  # IFLA_BRPORT_MCAST_EHT_HOSTS_CNT
        "41": COUNTS,  # IFLA_BRPORT_MCAST_N_GROUPS
    },
    "address": {
        "6": TIMER,  # IFA_CACHEINFO: lifetimes, and when it was made
        "8": f"{OTHERWISE}: the flags that last",
    },
    "route": {
        "12": TIMER,  # RTA_CACHEINFO
        "17": COUNTS,  # RTA_MFC_STATS
        "23": TIMER,  # RTA_EXPIRES
    },
    "neighbour": {
        "3": TIMER,  # NDA_CACHEINFO
        "4": COUNTS,  # NDA_PROBES
    },
    "neighbour table": {
        "5": COUNTS,  # NDTA_CONFIG: entries, when one was last flushed
        "7": COUNTS,  # NDTA_STATS
        "6/2": COUNTS,  # NDTPA_REFCNT
        "6/3": "drawn anew every five minutes",  # NDTPA_REACHABLE_TIME
    },
    "qdisc": {"3": COUNTS, "4": COUNTS, "5": COUNTS, "7": COUNTS},  # TCA_STATS, _XSTATS, _RATE
    "class": {"3": COUNTS, "4": COUNTS, "5": COUNTS, "7": COUNTS},
    "chain": {"3": COUNTS, "4": COUNTS, "5": COUNTS, "7": COUNTS},
    "filter": {"3": COUNTS, "4": COUNTS, "5": COUNTS, "7": COUNTS},
    "action": {
        "4": COUNTS,  # TCA_ACT_STATS
        "2/1": TIMER,  # TCA_GACT_TM, TCA_MIRRED_TM and most others': installed, used
    },
    "nexthop": {"12/4": TIMER, "15": COUNTS},  # NHA_RES_GROUP_UNBALANCED_TIME, NHA_GROUP_STATS
    "nexthop bucket": {"13/2": TIMER},  # NHA_RES_BUCKET_IDLE_TIME
    # of nf_tables
    "nft table": {"3": COUNTS, "4": NUMBERED},  # _USE, _HANDLE
    "nft chain": {"2": NUMBERED, "6": COUNTS, "8": COUNTS, "11": NUMBERED},  # _HANDLE, _USE, …
    "nft rule": {"3": NUMBERED, "6": NUMBERED, "9": NUMBERED},  # _HANDLE, _POSITION, _ID
    "nft set": {"10": NUMBERED, "16": NUMBERED, "20": COUNTS},  # _ID, _HANDLE, _COUNT
    "nft element": {"5": TIMER},  # _EXPIRATION
    "nft object": {"5": COUNTS, "6": NUMBERED},  # _USE, _HANDLE
    "nft flow table": {"4": COUNTS, "5": NUMBERED},
    "nft counter": {"1": COUNTS, "2": COUNTS},  # NFTA_COUNTER_BYTES, _PACKETS
    "nft quota": {"4": COUNTS},  # NFTA_QUOTA_CONSUMED
    "nft lookup": {"4": NUMBERED},  # NFTA_LOOKUP_SET_ID
}

# Kinds of rtnetlink dumps that are not asked for.
NOT_ASKED = {
    50: "RTM_GETACTION: answers for one kind of action; those in use stand in their filters",
    58: "RTM_GETMULTICAST: the kernel joins groups by itself for each address, with the carrier",
    62: "RTM_GETANYCAST: the same",
    94: "RTM_GETSTATS: counts",
}

# Bits of flags that come and go.
LINK_FLAGS = 0x40 | 0x10000 | 0x20000  # IFF_RUNNING, _LOWER_UP, _DORMANT: with the carrier
ADDRESS_FLAGS = 0x04 | 0x20 | 0x40  # IFA_F_OPTIMISTIC, _DEPRECATED, _TENTATIVE: by timers
NEXT_HOP_FLAGS = 0x01 | 0x10 | 0x40  # RTNH_F_DEAD, _LINKDOWN, _TRAP: with the carrier

# Files below /proc/sys.
SYSCTLS = {
    r"fs/(aio-nr|dentry-state|file-nr|inode-nr|inode-state)": COUNTS,
    r"fs/quota/.*": COUNTS,
    r"fs/binfmt_misc.*": "a file system of its own, which is mounted",
    r"kernel/(ns_last_pid|pty/nr|random/.*)": "counts, or is random",
    r"kernel/(perf_event_max_sample_rate|perf_cpu_time_max_percent)": "the kernel turns it down",
    r"kernel/(tainted|warn_count|oops_count|printk_ratelimit.*)": COUNTS,
    r"kernel/keys/.*": "of the user's sessions",
    r"vm/(stat_refresh|drop_caches|compact_memory)": "to look at it, or to write, is an order",
    r"vm/nr_.*hugepages.*|vm/.*_ratio.*": "whoever administers the machine",
    r"net/ipv4/tcp_fastopen_key": "random",
    r"net/ipv[46]/route/flush": "is only written",
    r"net/netfilter/nf_conntrack_count": COUNTS,
    r"net/ipv[46]/(conf|neigh)/(?!all/|default/).+": f"{OTHERWISE}: with its link, over netlink",
    r"net/ipv[46]/neigh/.+": f"{OTHERWISE}: the tables of neighbours, over netlink",
}
is_left_out = re.compile("|".join(f"(?:{pattern})" for pattern in SYSCTLS)).fullmatch
