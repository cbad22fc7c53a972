#!/bin/sh
# The first process of the machine that kernel.sh boots: it sets up what a Debian has, runs the tests that /dev/vdb asks for,
# writes their exit code there and powers off.
export PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb CI=true
export BASCULE_TEST_PROFILES=1 # nobody else uses this machine
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp
mkdir -p /dev/pts /dev/shm /run/lock
mount -t devpts -o mode=620,ptmxmode=000 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount --make-rshared /
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
ip link set lo up
hostname vm
echo vm >/etc/hostname
printf '127.0.0.1 localhost vm\n::1 localhost\n' >/etc/hosts
: >/etc/resolv.conf
# As systemd does (sysctl.d/50-default.conf, 50-pid-max.conf; its own limits).
sysctl -q -w net.ipv4.conf.default.rp_filter=2 net.ipv4.conf.all.rp_filter=2 net.ipv4.ping_group_range='0 2147483647' \
    kernel.pid_max=4194304
ulimit -Hn 1048576
ulimit -Sn 1024
stty -F /dev/ttyS1 raw -echo

run() {
    cd /opt/bascule || return
    . /run/job
    # shellcheck disable=SC2086 # a list of names
    modprobe -a tun $MODULES || return
    chmod 666 /dev/net/tun # as udev does
    for profile in $PROFILES; do
        sed -i -E 's/^(profile |\/)(.*)complain/\1\2/' "/etc/apparmor.d/$profile"
        apparmor_parser --replace "/etc/apparmor.d/$profile" || return
    done
    become=''
    if [ "$WHO" = user ]; then
        chown -R me: /opt/bascule
        become='setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all env HOME=/home/me'
    fi
    # A test of a slow machine is not stuck after two minutes. pytest that is interrupted tells what has failed so far.
    $become timeout -s INT -k 60 "$LIMIT" pytest -n 2 --maxschedchunk=1 -p no:cacheprovider -q -o faulthandler_timeout=600 "$@"
}

tr -d '\0' </dev/vdb >/run/job
{
    run
    echo $? >/run/code
    dmesg | grep -E 'Out of memory|BUG:|WARNING:|Oops|unregister_netdevice|apparmor="DENIED"'
} </dev/null 2>&1 | cat >/dev/ttyS1
dd if=/run/code of=/dev/vdb bs=512 conv=sync,fsync 2>/dev/null
echo o >/proc/sysrq-trigger
sleep 60
