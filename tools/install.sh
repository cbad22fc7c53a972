#!/bin/sh
# install.sh [--remove [--leave]] PREFIX  Install bascule below PREFIX, in an environment of its own, with its manual pages and
# the completion of bash, zsh and fish where these look; or take that away again, which labs that are up forbid, unless they
# are to be left.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
remove='' leave=''
[ "$1" = --remove ] && remove=yes && shift
[ "$1" = --leave ] && leave=yes && shift
prefix=$1 home=$1/lib/bascule
program=$prefix/bin/bascule
bash=$prefix/share/bash-completion/completions/bascule
zsh=$prefix/share/zsh/site-functions/_bascule
fish=$prefix/share/fish/vendor_completions.d/bascule.fish
man1=$prefix/share/man/man1/bascule.1
man5=$prefix/share/man/man5/bascule.yaml.5

if [ -n "$remove" ]; then
    up=''
    [ ! -x "$program" ] || up=$("$program" ls -q 2>/dev/null | tr '\n' ' ') || true
    if [ -n "$up" ] && [ -z "$leave" ]; then
        echo "labs are up, or kept for the next start: $up" >&2
        echo "take them down first: bascule down --all. To leave them as they are: make uninstall LEAVE=1" >&2
        exit 1
    fi
    rm -rf "$home" "$program" "$program.new" "$bash" "$zsh" "$fish" "$man1" "$man5"
    echo "bascule is gone from $prefix"
    [ -z "$up" ] || echo "left as they are: $up- installed again, bascule takes them away: bascule down --all"
    exit 0
fi

case $home in "$here"/*)
    echo "$prefix is within the sources; choose another PREFIX" >&2
    exit 1
    ;;
esac
umask 022
python=$("$here/tools/python.sh")
# Each installation has a folder of its own: until the new one is ready, the command is the old one.
new=$home/$(date +%s).$$
echo "installing bascule into $new, which takes some seconds …"
trap 'rm -rf "$new"; echo "bascule is not installed; what was there before still is" >&2' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$home"
"$python" -m venv "$new"
"$new/bin/pip" install -q --disable-pip-version-check "$here"
"$new/bin/bascule" --version
trap - EXIT INT TERM

for file in "$program" "$bash" "$zsh" "$fish" "$man1" "$man5"; do
    mkdir -p "$(dirname "$file")"
done
inner=lib/bascule/${new##*/}
ln -sfn "../$inner/bin/bascule" "$program.new"
mv -T "$program.new" "$program"
"$program" completion bash >"$bash"
"$program" completion zsh >"$zsh"
"$program" completion fish >"$fish"
ln -sf "../../../$inner/share/man/man1/bascule.1" "$man1"
ln -sf "../../../$inner/share/man/man5/bascule.yaml.5" "$man5"
find "$home" -mindepth 1 -maxdepth 1 ! -path "$new" -exec rm -rf {} +
case ":$PATH:" in *":$prefix/bin:"*) ;; *) echo "put it on your PATH: export PATH=\"$prefix/bin:\$PATH\"" ;; esac
