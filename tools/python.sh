#!/bin/sh
# Print a Python of 3.11 or newer that can make virtual environments; else say how to come by one, and end with 2 where those
# that are here are too old, and with 1 where a package of this system is all that lacks. The distribution's comes first: every
# user may run it, which a Python below somebody's home folder does not promise.
old='' lame=''
for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
    path=$(command -v "$python") || continue
    version=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    if [ "${version%%.*}" != 3 ] || [ "${version#3.}" -lt 11 ]; then
        old=$version
    elif "$path" -c 'import venv, ensurepip' 2>/dev/null; then
        echo "$path"
        exit 0
    else
        lame=${lame:-$version}
    fi
done
if [ -n "$lame" ]; then
    echo "Python $lame is here without its venv module; on Debian and Ubuntu: sudo apt-get install python3-venv python$lame-venv" >&2
    exit 1
elif [ -z "$old" ]; then
    echo "no Python here; bascule needs 3.11 or newer; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2
    exit 1
fi
cat >&2 <<END
Python $old is all that is here, and bascule needs 3.11 or newer. One of these
brings one along, beside it; then run this again:
  uv          pip install uv && uv python install 3.12
              export PATH="\$HOME/.local/bin:\$PATH"
  deadsnakes  sudo add-apt-repository ppa:deadsnakes/ppa    (Ubuntu)
              sudo apt-get install python3.12-venv
  pyenv       pyenv install 3.12 && pyenv global 3.12
Or have bascule alone, for yourself:
  uv          pip install uv && uv tool install --python 3.12 .
END
exit 2
