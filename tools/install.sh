#!/bin/sh
# install.sh [--remove] PREFIX  Install bascule below PREFIX, in an environment of its own, with the completion of bash, zsh and
# fish where these look; or take that away again.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
remove=
[ "$1" = --remove ] && remove=yes && shift
prefix=$1 home=$1/lib/bascule
program=$prefix/bin/bascule
bash=$prefix/share/bash-completion/completions/bascule
zsh=$prefix/share/zsh/site-functions/_bascule
fish=$prefix/share/fish/vendor_completions.d/bascule.fish

if [ -n "$remove" ]; then
    if [ -x "$program" ]; then
        up=$("$program" ls -q 2>/dev/null || true)
        [ -z "$up" ] || {
            echo "labs are up: $(echo "$up" | tr '\n' ' ')- take them down first: bascule down --all" >&2
            exit 1
        }
    fi
    rm -rf "$home" "$program" "$bash" "$zsh" "$fish"
    echo "bascule is gone from $prefix"
    exit 0
fi

case $home in "$here"/*)
    echo "$prefix is within the sources; choose another PREFIX" >&2
    exit 1
    ;;
esac
echo "installing bascule into $home …"
umask 022
rm -rf "$home"
"$here/tools/python.sh" >/dev/null
"$("$here/tools/python.sh")" -m venv "$home"
"$home/bin/pip" install -q --disable-pip-version-check "$here"
mkdir -p "$prefix/bin" "$(dirname "$bash")" "$(dirname "$zsh")" "$(dirname "$fish")"
ln -sf ../lib/bascule/bin/bascule "$program"
"$program" completion bash >"$bash"
"$program" completion zsh >"$zsh"
"$program" completion fish >"$fish"
"$program" --version
case ":$PATH:" in *":$prefix/bin:"*) ;; *) echo "put it on your PATH: export PATH=\"$prefix/bin:\$PATH\"" ;; esac
