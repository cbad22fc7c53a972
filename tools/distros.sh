#!/usr/bin/env bash
# distros.sh SUITE...  On a fresh minimal root of each of these Debian or Ubuntu suites (bookworm, trixie, sid, jammy, noble) do
# what the README says: `make demo` and `make test`, as root and as an ordinary user; the lines that install it, word for word, as somebody
# who has only git, make and sudo; and the .deb, from its making to its purge. Needs root, and mmdebstrap.
#
#   WHO="..."         some of: root user newcomer package (default: all)
#   KEEP=DIR          where the roots are kept, so that the next run need not make them (default: made anew each time)
#   MIRROR=URL        where the suite comes from (default: what mmdebstrap knows)
#   TESTS="..."       what of the tests (default: tests)
#   OPTIONAL=1        a suite that is not to be had from here is told and left out
#
# The roots are installed from the network of this machine; demo and tests run in a network namespace of their own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
who=${WHO:-root user newcomer package}
work=$(mktemp -d /var/tmp/distros.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
keep=${KEEP:-$work}
mkdir -p "$keep"

# shellcheck source=tools/roots.sh
. "$here/tools/roots.sh"

# fresh FOLDER: a root as the suite has it, with the sources in /opt/bascule.
fresh() {
    mkdir "$1"
    tar -C "$1" -xf "$keep/$suite.tar" && take_along "$1"
}

me='setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all env HOME=/home/me'

# No `set -e` here: who calls it asks how it ended.
one() {
    suite=$1 root=$work/$1
    step "$suite: a fresh root"
    if ! [ -s "$keep/$suite.tar" ] && ! make_root "$suite" "$keep/$suite.tar"; then
        echo "$suite: its packages are not to be had from here"
        [ -n "${OPTIONAL:-}" ]
        return
    fi
    fresh "$root" || return 1
    inside "$root" outside 'apt-get update -q >/dev/null; make -s -C /opt/bascule run-tools .venv/.run' || return 1
    failed_as=''
    for one in $who; do
        step "$suite: $one"
        if "as_$one" "$root"; then echo "$suite: $one passed"; else failed_as="$failed_as $one"; fi
    done
    [ -z "$failed_as" ]
}

as_root() {
    inside "$1" own 'make -C /opt/bascule demo' &&
        inside "$1" outside 'make -s -C /opt/bascule setup' &&
        inside "$1" own "make -C /opt/bascule test TESTS='${TESTS:-tests}'"
}

as_user() {
    inside "$1" outside "useradd -m -u 1000 me; cp -r /opt/bascule /home/me; rm -rf /home/me/bascule/.venv*
        chown -R me: /home/me; make -s -C /opt/bascule setup-tools
        $me make -s -C /home/me/bascule setup" &&
        inside "$1" own "$me make -C /home/me/bascule demo" &&
        inside "$1" own "$me make -C /home/me/bascule test TESTS='${TESTS:-tests}'"
}

# The lines of the README that install it; then the network in it, and the way out.
as_newcomer() {
    local lines
    lines=$(sed -n '/^## Install/,/^## /p' "$here/README.md" | sed -n '/^```sh$/,/^```$/p' | sed '1d; /^```$/,$d; s|REPOSITORY bascule|/opt/bascule bascule|')
    fresh "$1.newcomer" &&
        inside "$1.newcomer" outside "apt-get update -q >/dev/null; apt-get install -y -q --no-install-recommends git sudo >/dev/null
            useradd -m -u 1000 -s /bin/bash me; echo 'me ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/me; chown -R me: /opt/bascule
            $me git -C /opt/bascule init -q; $me git -C /opt/bascule add -A
            $me git -C /opt/bascule -c user.name=me -c user.email=me@fresh commit -qm all
            cat >/home/me/lines; cd /home/me; $me bash -euxc '. ./lines
                bascule up examples/docker-bridge.yaml; bascule ping; bascule exec ns1 -- ping -c1 ns2; bascule down
                sudo bascule --version; bascule help | grep -q restore; sudo make uninstall; test ! -e /usr/local/bin/bascule'" <<<"$lines"
}

as_package() {
    fresh "$1.package" &&
        inside "$1" outside 'make -s -C /opt/bascule deb' && cp "$1"/opt/bascule/build/*.deb "$1.package/opt/" &&
        inside "$1.package" outside 'useradd -m -u 1000 me; apt-get update -q >/dev/null
            /opt/bascule/tools/package.sh install /opt/bascule_*.deb' &&
        inside "$1.package" own '/opt/bascule/tools/package.sh use /opt/bascule_*.deb'
}

# Each to its end, whatever the others say.
failed=''
for suite in "$@"; do
    one "$suite" 2>&1 | tee "$work/$suite.log" || failed="$failed $suite"
    rm -rf --one-file-system "${work:?}/$suite" "$work/$suite".*/
    printf '%s: %s\n' "$suite" "$(grep -E '([0-9]+|newcomer|package) passed' "$work/$suite.log" | tr '\n' ';')" >>"$work/summary"
done
step "${failed:+failed:$failed; }done"
cat "$work/summary"
[ -z "$failed" ]
