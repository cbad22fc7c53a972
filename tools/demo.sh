#!/bin/sh
# demo.sh BASCULE  Bring the seed's network up, look at it, use it, and take it down, whatever happens in between.
# Root does it on the machine itself, anybody else in a private world; the commands are the same.
set -eu
bascule=$1

say() {
    printf '\n$ bascule %s\n' "$*"
    "$bascule" "$@"
}

come_down() {
    status=$?
    trap - EXIT INT TERM
    say down bascule-demo || status=1
    [ "$status" != 0 ] || {
        printf '\n%s\n' "All is as it was before. What you may type next:"
        command -v bascule >/dev/null || echo "  export PATH=\"$(dirname "$(readlink -f "$bascule")"):\$PATH\""
        printf '%s\n' \
            "  bascule up examples/docker-bridge.yaml && bascule show" \
            "  bascule exec ns1 -- ping -c3 ns2" \
            "  bascule plan --help        and README.md for all the rest"
    }
    exit "$status"
}

# A name of its own: a lab that is up already is not the demo's to take down. Where `up` fails it has undone itself.
say up examples/docker-bridge.yaml --name bascule-demo
trap come_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
say show
say ping ns1 ns2
say exec ns1 -- ping -c1 172.16.1.2
