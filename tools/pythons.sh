#!/bin/sh
# Print every Python of 3.11 or newer that is here and can make virtual environments, one of each minor version, oldest
# first: in PATH, and pyenv's.
for python in python3.11 python3.12 python3.13 python3.14 python3.15 python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python; do
    path=$(command -v "$python") || continue
    "$path" -c '
import sys, venv, ensurepip
if sys.version_info >= (3, 11):
    print("%d.%02d %s" % (*sys.version_info[:2], sys.executable))
' 2>/dev/null
done | sort -s -u -k1,1 | cut -d" " -f2
