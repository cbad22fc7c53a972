# For others to source: a minimal Debian or Ubuntu root, and commands as root of a machine with that root. Needs root, mmdebstrap,
# and `here`, the checkout.
# shellcheck shell=bash

step() { printf '\n== %s\n' "$*"; }

# make_root SUITE TAR. Archives may be copies that stand still: their dates say nothing.
make_root() {
    mmdebstrap --quiet --variant=minbase --include=make,ca-certificates,passwd,util-linux \
        --aptopt='Acquire::Check-Valid-Until "false"' "$1" "$2" ${MIRROR:+"$MIRROR"}
}

# What this machine needs to reach its package indexes, the root needs, too.
take_along() {
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [ -e "$file" ] && cat "$file" >"$1$file"
    done
    rm -rf "$1/opt/bascule"
    mkdir "$1/opt/bascule"
    tar -C "$here" -c --exclude=./.git --exclude='./.venv*' --exclude=__pycache__ --exclude='./.*_cache' . | tar -C "$1/opt/bascule" -x
}

# inside ROOT NETWORK COMMAND: as root of a machine with this root; NETWORK is "outside", or "own". Not by chroot(2): there nobody
# may make a user namespace.
inside() {
    local network=()
    [ "$2" = own ] && network=(--net)
    unshare --mount --pid --fork --kill-child --ipc --uts "${network[@]}" bash -euc '
        root=$1
        mount --make-rprivate /
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount -t sysfs sysfs "$root/sys" 2>/dev/null || mount --rbind /sys "$root/sys"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs -o mode=755 tmpfs "$root/run"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        cd "$root"
        mkdir -p .old
        pivot_root . .old
        cd /
        umount -l /.old
        rmdir /.old
        mount --make-rshared /
        hostname fresh
        [ "$2" = outside ] || ip link set lo up
        export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
        export DEBIAN_FRONTEND=noninteractive PIP_ROOT_USER_ACTION=ignore
        unset XDG_RUNTIME_DIR TMPDIR PIP_FIND_LINKS
        exec bash -euc "$3"
    ' - "$1" "$2" "$3"
}
