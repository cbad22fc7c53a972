#!/bin/sh
# Print a Python of 3.11 or newer that can make virtual environments. The distribution's comes first: every user may
# run it, which a Python below somebody's home folder does not promise.
for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
    path=$(command -v "$python") || continue
    if "$path" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "$path"
        exit 0
    fi
done
echo "no Python of 3.11 or newer with the venv module here; on Debian and Ubuntu: apt-get install python3-venv" >&2
exit 1
