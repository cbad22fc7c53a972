#!/bin/sh
# package.sh install|use DEB  What a fresh machine does with the .deb: install it, use it as root and as an ordinary
# user, with no network, and purge it, after which nothing is left. tools/distros.sh calls it, inside a root.
set -eux
mark=/var/tmp/before

# All files but those of dpkg's own, of apt's, and logs.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log \
        -o -path /var/tmp -o -path /tmp -o -path /home \) -prune -o -print | LC_ALL=C sort
}

case $1 in
install)
    # What the package stands on stays: what is measured is the package.
    dpkg-deb -f "$2" Depends Recommends | tr ',' '\n' | sed 's/.*: //; s/ *(.*//; s/ //g' >/var/tmp/needs
    xargs apt-get install -y -q man-db </var/tmp/needs >/dev/null
    files >$mark
    apt-get install -y -q "$2" >/dev/null
    bascule --version
    python3 -c 'import bascule; print(bascule.__version__)'
    man -w bascule bascule.yaml
    bascule doctor # exit code 1 where something is missing
    ;;
use)
    lab=/usr/share/doc/bascule/examples/docker-bridge.yaml
    for become in '' "setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all env HOME=/home/me"; do
        $become bascule up "$lab"
        $become bascule ping
        $become bascule exec ns1 -- ping -c1 ns2
        $become bascule down
    done
    # A lab that is up is named, and stays, and the package that comes back takes it away.
    bascule up "$lab"
    bascule install-unit
    apt-get remove -y -q bascule 2>&1 | grep 'labs stay up.*docker-bridge'
    ip netns exec ns1 ping -c1 172.16.1.2
    apt-get install -y -q "$2" >/dev/null
    bascule plan docker-bridge | grep 'nothing to do'
    bascule down --all
    apt-get purge -y -q bascule >/dev/null
    files | diff $mark -
    ;;
esac
