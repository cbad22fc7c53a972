#!/bin/sh
# deb.sh DIR  Build DIR/bascule_VERSION_all.deb, for every Debian and Ubuntu that has Python 3.11 or newer. It stands on the
# distribution's own Python and packages, and is the same file wherever it is built.
set -eu
umask 022
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
root=$work/root doc=$work/root/usr/share/doc/bascule
python=$("$here/tools/python.sh")

# The day of the last commit, or the newest file of the sources where there is no git: no build has a time of its own.
SOURCE_DATE_EPOCH=$(git -C "$here" log -1 --format=%ct 2>/dev/null || find "$here/src" "$here/pyproject.toml" -printf '%T@\n' | sort -n | tail -n 1)
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH%.*}"

# The wheel, unpacked where Debian's Python looks.
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-deps --no-compile --target "$work/wheel" "$here"
modules=$root/usr/lib/python3/dist-packages
mkdir -p "$modules" "$root/usr/bin" "$root/usr/share" "$root/usr/lib/systemd/system" "$root/DEBIAN" "$doc"
mv "$work/wheel/share/man" "$root/usr/share/man"
mv "$work/wheel/bascule" "$work"/wheel/bascule-*.dist-info "$modules/"
# What pip notes of this machine, and the licence, which stands in the copyright file.
(cd "$modules"/bascule-*.dist-info && rm -rf direct_url.json RECORD REQUESTED licenses && echo dpkg >INSTALLER)
version=$(cd "$modules" && "$python" -c 'import bascule; print(bascule.__version__)')
find "$modules" -name __pycache__ -prune -exec rm -rf {} +
cat >"$root/usr/bin/bascule" <<'END'
#!/usr/bin/python3
import sys

from bascule.cli.main import main

sys.exit(main())
END
chmod 755 "$root/usr/bin/bascule"

# What only a shell, man, systemd or a reader looks for.
bascule() { PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$modules "$work/venv/bin/python" -m bascule "$@"; }
"$work/venv/bin/pip" install -q --disable-pip-version-check argcomplete
for each in bash:bash-completion/completions/bascule zsh:zsh/vendor-completions/_bascule fish:fish/vendor_completions.d/bascule.fish; do
    mkdir -p "$root/usr/share/$(dirname "${each#*:}")"
    bascule completion "${each%%:*}" >"$root/usr/share/${each#*:}"
done
bascule install-unit --print | sed 's|^ExecStart=[^ ]*|ExecStart=/usr/bin/bascule|; /^# Made by/d' >"$root/usr/lib/systemd/system/bascule.service"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
cp "$here/README.md" "$here/ARCHITECTURE.md" "$doc/"
cp -r "$here/docs" "$here/examples" "$doc/"
gzip -9nc "$here/CHANGELOG.md" >"$doc/changelog.gz"
cp "$here/tools/deb/copyright" "$doc/copyright"
maintainer=$(sed -n 's/^Maintainer: //p' "$here/tools/deb/control")
printf 'bascule (%s) unstable; urgency=medium\n\n  * Built from the sources by make deb; see changelog.gz.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$(LC_ALL=C date -uR -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.Debian.gz"
sed "s/@VERSION@/$version/; s/@SIZE@/$(du -sk --apparent-size "$root/usr" | cut -f1)/" "$here/tools/deb/control" >"$root/DEBIAN/control"
for script in postinst prerm postrm; do
    install -m 755 "$here/tools/deb/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -type f ! -path '*/bin/*' ! -path '*/DEBIAN/*' -exec chmod 644 {} +
dpkg-deb --root-owner-group --build "$root" "$out/bascule_${version}_all.deb"
