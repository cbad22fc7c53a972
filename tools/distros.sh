#!/usr/bin/env bash
# distros.sh SUITE...  On a fresh minimal root of each of these Debian or Ubuntu suites (bookworm, trixie, sid, jammy, noble) do
# what the README says: `make demo` and `make test`, as root and as an ordinary user. Needs root, and mmdebstrap.
#
#   WHO="root user"   as whom
#   KEEP=DIR          where the roots are kept, so that the next run need not make them (default: made anew each time)
#   MIRROR=URL        where the suite comes from (default: what mmdebstrap knows)
#   TESTS="..."       what of the tests (default: tests)
#   OPTIONAL=1        a suite that is not to be had from here is told and left out
#
# The roots are installed from the network of this machine; demo and tests run in a network namespace of their own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
who=${WHO:-root user}
work=$(mktemp -d /var/tmp/distros.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
keep=${KEEP:-$work}
mkdir -p "$keep"

# shellcheck source=tools/roots.sh
. "$here/tools/roots.sh"

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
    mkdir "$root"
    tar -C "$root" -xf "$keep/$suite.tar" || return 1
    take_along "$root"
    inside "$root" outside 'apt-get update -q >/dev/null; make -s -C /opt/bascule run-tools .venv/.run' || return 1
    failed_as=''
    for one in $who; do
        step "$suite: make demo, make test as $one"
        "as_$one" "$root" || failed_as="$failed_as $one"
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

# Each to its end, whatever the others say.
failed=''
for suite in "$@"; do
    one "$suite" 2>&1 | tee "$work/$suite.log" || failed="$failed $suite"
    rm -rf --one-file-system "${work:?}/$suite"
    printf '%s: %s\n' "$suite" "$(grep -E '[0-9]+ passed' "$work/$suite.log" | tr '\n' ';')" >>"$work/summary"
done
step "${failed:+failed:$failed; }done"
cat "$work/summary"
[ -z "$failed" ]
