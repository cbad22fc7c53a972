#!/usr/bin/env bash
# kernel.sh  Run tests on a kernel of Debian's, in a machine that qemu emulates: a minimal root, the wheel built from this checkout,
# no network. The exit code is that of the tests. Needs root, and: qemu-system-x86 mmdebstrap e2fsprogs.
#
#   KERNEL=6.1           the newest kernel package of this version that the suite has (bookworm: 6.1, 6.12)
#   FLAVOUR=amd64        or cloud-amd64, rt-amd64
#   MODULES="..."        what is loaded beforehand, beside tun (default: br_netfilter); "all": whatever puts links into new namespaces
#   WHO="root user"      as whom, each in a machine of its own
#   TESTS="..."          arguments of pytest (default: what meets the kernel most)
#   PROFILES="..."       profiles of AppArmor that are enforced: usr.bin.passt usr.sbin.dnsmasq
#   SUITE=bookworm       the Debian of the root
#   ACCEL=tcg            or kvm, where that works
#   LIMIT=1800           seconds for the tests in one machine
#   KEEP=DIR             where root and kernels are kept, so that the next run need not fetch them (default: made anew each time)
#   MIRROR=URL           where the suite comes from (default: what mmdebstrap knows)
#
# Emulation is ten times slower than the machine, and starting programs thirty times.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
suite=${SUITE:-bookworm} kernel=${KERNEL:-6.1} flavour=${FLAVOUR:-amd64} who=${WHO:-root user} limit=${LIMIT:-1800}
modules=${MODULES-br_netfilter}
told=${modules:-none}
[ "$modules" != all ] ||
    modules='br_netfilter sit ip_gre ipip ip_vti ip6_gre ip6_tunnel ip6_vti dummy ifb bonding vrf 8021q macvlan ipvlan vxlan wireguard'
tests=${TESTS:-"tests/host tests/kernel tests/test_sandbox.py $(cd "$here" && echo tests/live/test_{seed,passage,names,modes,uplink,addresses,undisturbed,autoconf}.py)"}
accel=${ACCEL:-tcg}
for one in $who; do
    case $one in root | user) ;; *) echo "WHO is root, user, or both, and not '$one'" >&2 && exit 2 ;; esac
done
[ "$(id -u)" = 0 ] || { echo "a root file system is made by root only: sudo make test-kernel" >&2 && exit 2; }

umask 022
work=$(mktemp -d /var/tmp/kernel.XXXXXX)
machine=''
trap '[ -z "$machine" ] || kill "$machine"; rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
keep=${KEEP:-$work}
mkdir -p "$keep"
keep=$(cd "$keep" && pwd)
root=$work/root

# shellcheck source=tools/roots.sh
. "$here/tools/roots.sh"

# The root with the tools that tests need, and a virtual environment with the wheel.
install_root() {
    local kept=$keep/$suite-tools.tar
    mkdir "$root"
    if [ -s "$kept" ]; then
        tar -C "$root" -xf "$kept"
    else
        [ -s "$keep/$suite.tar" ] || make_root "$suite" "$keep/$suite.tar"
        tar -C "$root" -xf "$keep/$suite.tar"
        take_along "$root"
        inside "$root" outside '
            useradd -m -u 1000 me
            apt-get update -q >/dev/null
            apt-get install -y -q --no-install-recommends busybox-static apparmor apparmor-profiles >/dev/null 2>&1'
    fi
    take_along "$root"
    inside "$root" outside '
        cd /opt/bascule
        make -s setup-tools
        [ -x /opt/venv/bin/python ] || "$(tools/python.sh)" -m venv /opt/venv
        rm -rf /var/tmp/wheel
        /opt/venv/bin/pip wheel -q --disable-pip-version-check --no-deps -w /var/tmp/wheel .
        /opt/venv/bin/pip install -q --disable-pip-version-check "$(echo /var/tmp/wheel/bascule-*.whl)[test]"
        /opt/venv/bin/pip install -q --disable-pip-version-check --no-deps --force-reinstall /var/tmp/wheel/bascule-*.whl
        rm -rf src build /var/tmp/wheel
        /opt/venv/bin/python -m compileall -q /opt/venv/lib tests fuzz'
    [ "$keep" = "$work" ] || [ -s "$kept" ] || tar -C "$root" -cf "$kept" .
}

# The kernel's package is unpacked and not installed; of its modules what a machine without hardware can use.
unpack_kernel() {
    package=$(inside "$root" outside 'apt-cache pkgnames linux-image-' |
        grep -E "^linux-image-${kernel//./\\.}\.[0-9.]+(-[0-9]+)?(\+[a-z0-9.]+)*-$flavour\$" | sort -V | tail -n 1) ||
        { echo "$suite has no kernel $kernel of flavour $flavour" >&2 && exit 2; }
    release=${package#linux-image-}
    if ! ls "$keep/${package}"_*.deb >/dev/null 2>&1; then
        inside "$root" outside "cd /var/tmp; apt-get download -q $package >/dev/null"
        mv "$root/var/tmp/${package}"_*.deb "$keep"
    fi
    mkdir "$work/kernel"
    dpkg-deb --fsys-tarfile "$keep/${package}"_*.deb | tar -C "$work/kernel" -x --wildcards \
        --exclude='*/drivers/net/ethernet' --exclude='*/drivers/net/wireless' --exclude='*/drivers/net/usb' \
        './boot/vmlinuz-*' '*/modules.*' '*/kernel/net/*' '*/kernel/crypto/*' '*/kernel/lib/*' '*/kernel/arch/*' '*/kernel/fs/*' \
        '*/kernel/drivers/net/*' '*/kernel/drivers/virtio/*' '*/kernel/drivers/block/virtio_blk.ko*'
    mkdir -p "$root/usr/lib/modules"
    mv "$work"/kernel/*lib/modules/"$release" "$root/usr/lib/modules/" 2>/dev/null ||
        mv "$work/kernel/usr/lib/modules/$release" "$root/usr/lib/modules/"
    inside "$root" outside "depmod $release"
}

# What finds the root's disk: busybox, and the modules for that.
make_initramfs() {
    mkdir -p "$root/initramfs"/{bin,dev,proc,new,mod}
    cp "$here/tools/kernel-init.sh" "$root/init"
    chmod 755 "$root/init"
    inside "$root" outside "
        cd /initramfs
        cp /bin/busybox bin/
        for one in virtio_pci virtio_blk ext4 crc32c_generic; do
            modprobe -S $release --show-depends \$one
        done | awk '\$1 == \"insmod\" && !seen[\$2]++ { print \$2 }' >order
        while read -r file; do
            name=\$(basename \"\$file\" .xz)
            case \$file in *.xz) busybox xzcat \"\$file\" ;; *) cat \"\$file\" ;; esac >mod/\$name
            echo \$name
        done <order >mod/order"
    cat >"$root/initramfs/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
while read -r name; do /bin/busybox insmod "/mod/$name"; done </mod/order
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /new
/bin/busybox mount --move /dev /new/dev
exec /bin/busybox switch_root /new /init
INIT
    chmod 755 "$root/initramfs/init"
    inside "$root" outside 'cd /initramfs; find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 >/var/tmp/initramfs'
    mv "$root/var/tmp/initramfs" "$work/initramfs"
    rm -rf "$root/initramfs"
}

make_image() {
    truncate -s 3G "$work/disk"
    mke2fs -q -t ext4 -O '^has_journal,^metadata_csum' -m 0 -d "$root" "$work/disk"
    rm -rf --one-file-system "$root"
}

# boot WHO: show what the tests print, as long as the machine runs. It leaves their exit code at the head of the disk that gave it
# its job.
boot() {
    {
        printf '%s=%q\n' WHO "$1" MODULES "$modules" PROFILES "${PROFILES:-}" LIMIT "$limit"
        echo "set -- $tests"
    } >"$work/job"
    truncate -s 64K "$work/job"
    : >"$work/log"
    timeout -k 5 $((limit + 120)) qemu-system-x86_64 -machine q35 -accel "$accel" -cpu max,la57=off -smp 2 -m 4G \
        -nodefaults -display none -no-reboot -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initramfs" \
        -append 'console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on tsc=reliable nokaslr' \
        -drive "file=$work/disk,if=virtio,format=raw,snapshot=on,cache=unsafe" -drive "file=$work/job,if=virtio,format=raw" \
        -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng \
        -serial "file:$work/console" -serial "file:$work/log" </dev/null &
    machine=$!
    tail -n +1 -f --pid="$machine" "$work/log" &
    wait "$machine" || true
    machine=''
    wait
    code=$(head -n 1 "$work/job" | tr -d '\0')
    case $code in '' | *[!0-9]*) tail -n 20 "$work/console" && echo "the machine did not come to its end" && code=99 ;; esac
}

step "$suite: a root with the tools of the tests and the wheel"
install_root
unpack_kernel
make_initramfs
make_image
failed=0
for one in $who; do
    step "Linux $release ($accel), as $one, modules: $told${PROFILES:+, profiles: $PROFILES}"
    SECONDS=0
    boot "$one"
    echo "$release, modules: $told, $one: $(grep -E '[0-9]+ (passed|failed|skipped|error)' "$work/log" | tail -n 1 | tr -d '=\r'); $SECONDS s with boot" >>"$work/summary"
    [ "$code" = 0 ] || failed=$code
done
step "done"
cat "$work/summary"
exit "$failed"
