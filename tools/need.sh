#!/bin/sh
# need.sh TOOL:PACKAGE...  Make sure that each tool is here; root gets the missing packages installed (Debian, Ubuntu),
# others are told the command to run. The tool "venv" means a Python that can make virtual environments.
here=$(dirname "$0")
tools='' packages=''
for pair in "$@"; do
    tool=${pair%%:*}
    if [ "$tool" = venv ]; then
        said=$("$here/python.sh" 2>&1 >/dev/null) && continue
        # A package would bring a Python that is too old, as the one that is here.
        [ $? = 1 ] || { echo "$said" >&2 && exit 1; }
    else
        command -v "$tool" >/dev/null && continue
    fi
    tools="$tools $tool" packages="$packages ${pair#*:}"
done
[ -z "$tools" ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "missing:$tools. Install them with this system's package manager (Debian calls the packages$packages)." >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "missing:$tools. Please run: sudo apt-get install$packages" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing$packages …"
# A firewall that tests start in namespaces of their own is not to run on this machine: it comes without its service.
inert="-o Dpkg::Options::=--path-exclude=*/firewalld.service -o Dpkg::Options::=--path-exclude=*FirewallD1.service"
# Word splitting of the names and the options is meant.
# shellcheck disable=SC2086
apt-get install -y -q --no-install-recommends $inert $packages >/dev/null 2>&1 && exit 0
apt-get update -q && apt-get install -y -q --no-install-recommends $inert $packages
