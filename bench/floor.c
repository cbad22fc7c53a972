/* The floor: what the kernel alone costs for N nodes on one bridge. Plain C, raw rtnetlink sockets, exactly the messages that
 * bascule sends, and nothing else: no plan, no journal, no names, no observation.
 *
 *   floor N cycle [order [P]] build N nodes, take them away, print one line of JSON with milliseconds; P: so many on each bridge
 *
 * A node is: unshare(CLONE_NEWNET), its pin in /run/netns, ONE message for the veth pair (both names, MACs and MTUs, the peer in
 * its namespace, the host's end in the bridge and up), eth0's accept_ra set to 0, and inside one send of four messages: lo up, eth0
 * up, address, route.
 *
 * Orders of taking away; time counts until no link is left and the kernel has freed all namespaces:
 *   pins    unmount all pins; the kernel frees the namespaces in batches and the veths with them; then the bridge
 *   links   delete each veth by its index, one send for many; then the pins; then the bridge
 *   bridge  the bridge first, then the pins
 *   group   all veths by one message (IFLA_GROUP), then the pins, then the bridge
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BRIDGE 100000
#define GROUP 77

static int per_bridge; /* 0: all nodes on one */

static int bridge_of(int n) { return per_bridge ? n / per_bridge : 0; }
static int bridge_index(int bridge) { return per_bridge ? 60000 + bridge : BRIDGE; }
static int prefix_length(void) { return per_bridge ? 24 : 16; }
/* The address number `at` of the bridge's subnet. */
static uint32_t address_on(int bridge, int at) { return per_bridge ? 0x0a000000 + (bridge << 8) + at : 0x0a010000 + at; }

static char buffer[65536];
static size_t used;
static uint32_t sequence;

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* Append raw bytes, padded to 4. */
static void *put(const void *data, size_t size)
{
	void *place = buffer + used;
	memcpy(place, data, size);
	memset(buffer + used + size, 0, -size & 3);
	used += (size + 3) & ~(size_t)3;
	return place;
}

static struct nlattr *attribute(uint16_t type, const void *data, size_t size)
{
	struct nlattr header = { .nla_len = sizeof header + size, .nla_type = type };
	struct nlattr *place = put(&header, sizeof header);
	if (size)
		put(data, size);
	return place;
}

static void number(uint16_t type, uint32_t value) { attribute(type, &value, sizeof value); }
static void text(uint16_t type, const char *value) { attribute(type, value, strlen(value) + 1); }
static void close_nest(struct nlattr *nest) { nest->nla_len = buffer + used - (char *)nest; }

static struct nlmsghdr *message(uint16_t type, uint16_t flags)
{
	struct nlmsghdr header = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++sequence };
	return put(&header, sizeof header);
}

static void close_message(struct nlmsghdr *header) { header->nlmsg_len = buffer + used - (char *)header; }

static int open_socket(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), one = 1;
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one);
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
	return fd;
}

/* Send what is in the buffer; the last message asks for the acknowledgement, failures come in any case. */
static void transact(int fd, struct nlmsghdr *last)
{
	last->nlmsg_flags |= NLM_F_ACK;
	if (send(fd, buffer, used, 0) < 0)
		die("send");
	used = 0;
	char answer[16384];
	for (;;) {
		ssize_t got = recv(fd, answer, sizeof answer, 0);
		if (got < 0)
			die("recv");
		struct nlmsghdr *h = (struct nlmsghdr *)answer;
		for (; NLMSG_OK(h, (unsigned)got); h = NLMSG_NEXT(h, got)) {
			struct nlmsgerr *e = NLMSG_DATA(h);
			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			if (e->error) {
				errno = -e->error;
				die("netlink");
			}
			if (h->nlmsg_seq == sequence)
				return;
		}
	}
}

static struct nlmsghdr *link_message(uint16_t type, uint16_t flags, int index, unsigned up)
{
	struct nlmsghdr *h = message(type, flags);
	struct ifinfomsg info = { .ifi_index = index, .ifi_flags = up, .ifi_change = up };
	put(&info, sizeof info);
	return h;
}

static void mac(unsigned char kind, int n)
{
	unsigned char address[6] = { 2, kind, 0, 0, n >> 8, n & 255 };
	attribute(IFLA_ADDRESS, address, sizeof address);
}

static void add_bridge(int fd, int bridge)
{
	char name[IFNAMSIZ];
	snprintf(name, sizeof name, "lan%d", bridge);
	struct nlmsghdr *h = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, bridge_index(bridge), IFF_UP);
	text(IFLA_IFNAME, name);
	number(IFLA_MTU, 1500);
	mac(1, bridge);
	struct nlattr *info = attribute(IFLA_LINKINFO | NLA_F_NESTED, 0, 0);
	text(IFLA_INFO_KIND, "bridge");
	close_nest(info);
	close_message(h);
	transact(fd, h);
}

static struct nlmsghdr *add_address(int index, uint32_t host_order)
{
	struct nlmsghdr *h = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	struct ifaddrmsg info = { .ifa_family = AF_INET, .ifa_prefixlen = prefix_length(), .ifa_index = index };
	uint32_t address = htonl(host_order);
	put(&info, sizeof info);
	attribute(IFA_LOCAL, &address, sizeof address);
	attribute(IFA_ADDRESS, &address, sizeof address);
	close_message(h);
	return h;
}

static void add_veth(int fd, int n, int namespace, int grouped)
{
	char name[IFNAMSIZ];
	snprintf(name, sizeof name, "veth-n%d", n);
	struct nlmsghdr *h = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, BRIDGE + 1 + n, IFF_UP);
	text(IFLA_IFNAME, name);
	number(IFLA_MTU, 1500);
	mac(2, n);
	number(IFLA_MASTER, bridge_index(bridge_of(n)));
	if (grouped)
		number(IFLA_GROUP, GROUP);
	struct nlattr *info = attribute(IFLA_LINKINFO | NLA_F_NESTED, 0, 0);
	text(IFLA_INFO_KIND, "veth");
	struct nlattr *data = attribute(IFLA_INFO_DATA | NLA_F_NESTED, 0, 0);
	struct nlattr *peer = attribute(VETH_INFO_PEER, 0, 0);
	struct ifinfomsg other = { .ifi_index = 100 };
	put(&other, sizeof other);
	text(IFLA_IFNAME, "eth0");
	number(IFLA_MTU, 1500);
	mac(3, n);
	number(IFLA_NET_NS_FD, namespace);
	close_nest(peer);
	close_nest(data);
	close_nest(info);
	close_message(h);
	transact(fd, h);
}

static void fill_node(int fd, int n)
{
	close_message(link_message(RTM_NEWLINK, 0, 100, IFF_UP));
	close_message(link_message(RTM_NEWLINK, 0, 1, IFF_UP));
	add_address(100, address_on(bridge_of(n), 2 + (per_bridge ? n % per_bridge : n)));
	struct nlmsghdr *h = message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
	struct rtmsg info = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT,
			      .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST };
	uint32_t gateway = htonl(address_on(bridge_of(n), 1));
	put(&info, sizeof info);
	attribute(RTA_GATEWAY, &gateway, sizeof gateway);
	number(RTA_OIF, 100);
	close_message(h);
	transact(fd, h);
}

static void refuse_announcements(const char *interface)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/accept_ra", interface);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) /* a kernel without IPv6 */
		return;
	if (fd < 0 || write(fd, "0", 1) != 1)
		die("accept_ra");
	close(fd);
}

static void add_node(int world, int n, int grouped)
{
	char path[64];
	snprintf(path, sizeof path, "/run/netns/n%d", n);
	int fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
	if (fd < 0)
		die(path);
	close(fd);
	if (unshare(CLONE_NEWNET))
		die("unshare");
	if (mount("/proc/thread-self/ns/net", path, "none", MS_BIND, 0))
		die("mount");
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		die(path);
	int inside = open_socket();
	add_veth(world, n, fd, grouped);
	refuse_announcements("eth0");
	fill_node(inside, n);
	close(inside);
	close(fd);
}

static void drop_pins(int count)
{
	char path[64];
	for (int n = 0; n < count; n++) {
		snprintf(path, sizeof path, "/run/netns/n%d", n);
		if (umount2(path, MNT_DETACH) || unlink(path))
			die(path);
	}
}

static void delete_link(int fd, int index)
{
	struct nlmsghdr *h = link_message(RTM_DELLINK, 0, index, 0);
	close_message(h);
	transact(fd, h);
}

static void delete_veths(int fd, int count)
{
	struct nlmsghdr *h = 0;
	for (int n = 0; n < count; n++) {
		h = link_message(RTM_DELLINK, 0, BRIDGE + 1 + n, 0);
		close_message(h);
		if (n % 128 == 127 || n == count - 1)
			transact(fd, h);
	}
}

static void delete_group(int fd)
{
	struct nlmsghdr *h = link_message(RTM_DELLINK, 0, 0, 0);
	number(IFLA_GROUP, GROUP);
	close_message(h);
	transact(fd, h);
}

static int links(int fd)
{
	struct nlmsghdr *h = link_message(RTM_GETLINK, NLM_F_DUMP, 0, 0);
	char answer[65536];
	int count = 0;
	close_message(h);
	if (send(fd, buffer, used, 0) < 0)
		die("send");
	used = 0;
	for (;;) {
		ssize_t got = recv(fd, answer, sizeof answer, 0);
		if (got < 0)
			die("recv");
		for (h = (struct nlmsghdr *)answer; NLMSG_OK(h, (unsigned)got); h = NLMSG_NEXT(h, got)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return count;
			count++;
		}
	}
}

static void put_file(const char *path, const char *content)
{
	int fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, content, strlen(content)) < 0)
		die(path);
	close(fd);
}

/* Wait until the kernel has freed all namespaces but ours: the limit of our user namespace is set to one more than ours, and a
 * child tries to make it. */
static void wait_until_freed(void)
{
	put_file("/proc/sys/user/max_net_namespaces", "2");
	for (int tries = 0; tries < 60000; tries++) {
		pid_t child = fork();
		int status;
		if (!child)
			_exit(unshare(CLONE_NEWNET) != 0);
		if (child < 0 || waitpid(child, &status, 0) < 0)
			die("fork");
		if (!status)
			return;
		usleep(500);
	}
	errno = ETIMEDOUT;
	die("namespaces are not freed");
}

static void own_machine(void)
{
	char map[64];
	unsigned uid = getuid(), gid = getgid();
	if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUSER))
		die("unshare");
	put_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "0 %u 1", uid);
	put_file("/proc/self/uid_map", map);
	snprintf(map, sizeof map, "0 %u 1", gid);
	put_file("/proc/self/gid_map", map);
	if (mount("none", "/", "none", MS_REC | MS_PRIVATE, 0) || mount("tmpfs", "/run", "tmpfs", 0, 0) || mkdir("/run/netns", 0755))
		die("mount");
	if (mount("/run/netns", "/run/netns", "none", MS_BIND | MS_REC, 0) || mount("", "/run/netns", "none", MS_SHARED | MS_REC, 0))
		die("mount /run/netns");
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 0;
	const char *order = argc > 3 ? argv[3] : "pins";
	per_bridge = argc > 4 ? atoi(argv[4]) : 0;
	int bridges = per_bridge ? (count + per_bridge - 1) / per_bridge : 1;
	if (count < 1 || (per_bridge ? per_bridge > 250 : count > 1023))
		return fprintf(stderr, "usage: floor N cycle [pins|links|bridge|group [P]]\n"), 2;
	own_machine();
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), world = open_socket(), grouped = !strcmp(order, "group");

	double start = now();
	for (int b = 0; b < bridges; b++) {
		char name[IFNAMSIZ];
		add_bridge(world, b);
		snprintf(name, sizeof name, "lan%d", b);
		refuse_announcements(name);
		transact(world, add_address(bridge_index(b), address_on(b, 1)));
	}
	for (int n = 0; n < count; n++)
		add_node(world, n, grouped);
	if (setns(home, CLONE_NEWNET))
		die("setns");
	double up = now() - start;

	start = now();
	if (!strcmp(order, "links"))
		delete_veths(world, count);
	for (int b = 0; !strcmp(order, "bridge") && b < bridges; b++)
		delete_link(world, bridge_index(b));
	if (grouped)
		delete_group(world);
	drop_pins(count);
	for (int b = 0; strcmp(order, "bridge") && b < bridges; b++)
		delete_link(world, bridge_index(b));
	while (links(world) > 1)
		usleep(500);
	double gone = now() - start;
	wait_until_freed();
	printf("{\"nodes\": %d, \"up_ms\": %.2f, \"links_gone_ms\": %.2f, \"down_ms\": %.2f, \"down_order\": \"%s\"}\n", count, up, gone,
	       now() - start, order);
	return 0;
}
