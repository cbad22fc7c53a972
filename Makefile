# make demo         the network of the tutorial, up and down again (root: on this machine; others: in a private world)
# make install      bascule for all users (root: /usr/local) or for oneself (~/.local), with completion and manual pages; make uninstall
# make pyz          one file that runs with any Python from 3.11 on: build/bascule.pyz
# make deb          a package for Debian and Ubuntu: build/bascule_VERSION_all.deb
# make test         all tests; JOBS=12 for more at a time
# make quick        the tests that need nothing of the kernel: twenty seconds
# make golden       write the files anew that tests compare with; read the diff before it is committed
# make test-python  all tests with each Python from 3.11 on that is installed
# make test-distros  demo, tests, the README's lines that install it and the package on fresh minimal roots: DISTROS="bookworm trixie sid"
# make test-kernel  tests on a kernel of Debian's, in a machine that qemu emulates: KERNEL=6.12 FLAVOUR=cloud-amd64 MODULES="…" WHO=user
#                   TESTS="…"; ten minutes for the usual ones as root, as much as user (tools/kernel.sh says the rest); needs root
# make test-apparmor  the same with AppArmor's profiles for passt and dnsmasq in force: five minutes
# make test-crash   the whole crash sweep, races, random lives, leaks: an hour and a half on two processors (JOBS=8 helps); writes its figures into docs/reliability.md
#                   (CARRY_ON=1 goes on with one that was cut short)
# make mutation     change plan/, topology/ and state/ in eight thousand places and see whether the tests notice: half an hour
# make fuzz         a million and more cases of wrong input, in six minutes; SEED=2 for others; crashers go to fuzz/found/
# make lint         style, types, the import law, the budgets
# make bench        measure; bench-peers installs what it is compared with
# make setup        what all of these need (they call it themselves)
#
# VENV=/some/folder uses a virtual environment that is ready, as .ci/run does, and leaves its contents alone.

VENV ?= .venv
JOBS ?= 8
SEED ?= 1

# Debian keeps ip and nft where an ordinary user does not look.
export PATH := $(PATH):/usr/sbin:/sbin

RUN_TOOLS = ip:iproute2 nft:nftables ping:iputils-ping venv:python3-venv
TEST_TOOLS = brctl:bridge-utils conntrack:conntrack dig:bind9-dnsutils dnsmasq:dnsmasq-base fish:fish pasta:passt ifconfig:net-tools iptables-nft:iptables mandoc:mandoc modprobe:kmod nc:netcat-openbsd newuidmap:uidmap setpriv:util-linux socat:socat strace:strace sysctl:procps udhcpc:udhcpc zsh:zsh

# Firewalls of others, which nobody wants to find on his own machine after a test: there, tests do without. Not even
# there is firewalld started (tools/need.sh).
ifeq ($(CI),true)
TEST_TOOLS += dbus-daemon:dbus firewalld:firewalld ufw:ufw
endif

ifeq ($(VENV),.venv)
STAMP = .venv/.installed
RUN_STAMP = .venv/.run
endif
TESTS ?= tests
DISTROS ?= bookworm trixie sid

.DELETE_ON_ERROR:
.PHONY: install uninstall pyz deb demo test quick golden test-python test-distros test-kernel test-apparmor test-crash fuzz mutation lint bench bench-peers setup clean

demo: run-tools $(RUN_STAMP)
	@tools/demo.sh $(VENV)/bin/bascule

# Root installs for everybody: sudo keeps /usr/local/bin in its PATH.
PREFIX ?= $(if $(filter 0,$(shell id -u)),/usr/local,$(HOME)/.local)
install: run-tools
	tools/install.sh $(PREFIX)

uninstall:
	tools/install.sh --remove $(if $(LEAVE),--leave) $(PREFIX)

# PyYAML's compiled part can't be loaded out of an archive; it has the same in Python.
pyz: run-tools
	rm -rf build/pyz
	mkdir -p build
	"$$(tools/python.sh)" -m venv build/venv
	build/venv/bin/pip install -q --disable-pip-version-check --no-compile --target build/pyz .
	find build/pyz -name '*.so' -delete
	rm -rf build/pyz/share build/pyz/bin
	build/venv/bin/python -m zipapp build/pyz -c -m bascule.__main__:run -p '/usr/bin/env python3' -o build/bascule.pyz
	chmod 755 build/bascule.pyz
	rm -rf build/pyz build/venv

# On whatever Debian or Ubuntu, as whoever: nothing of it is this machine's. lintian leaves folders behind in TMPDIR.
deb:
	@tools/need.sh venv:python3-venv dpkg-deb:dpkg
	rm -f build/bascule_*.deb
	tools/deb.sh build
	@if command -v lintian >/dev/null; then \
	    mkdir -p build/lintian && TMPDIR="$$PWD/build/lintian" lintian --allow-root --fail-on error,warning build/bascule_*.deb; \
	    code=$$?; rm -rf build/lintian; exit $$code; \
	fi

# Compiled once: where PYTHONDONTWRITEBYTECODE is set, each of a thousand commands would compile all modules for itself, and each
# worker of pytest all tests.
test: export PYTHONDONTWRITEBYTECODE =
test: setup
	if [ -d src ]; then $(VENV)/bin/python -m compileall -q src; fi
	@if [ "$(TESTS)" = tests ]; then echo "all tests: about four minutes on two processors, and here are $$(nproc); $(JOBS) at a time (JOBS=…)"; fi
	$(VENV)/bin/pytest -n $(JOBS) --maxschedchunk=1 -q $(TESTS)

# What needs nothing of the kernel.
QUICK = tests/wire tests/topology tests/plan tests/broken tests/state tests/cli/test_pure.py tests/test_seam.py tests/test_fuzz.py
quick: $(STAMP)
	$(VENV)/bin/pytest -n $(JOBS) -q $(QUICK)

# The files that tests compare with, written anew: read the diff before it is committed.
golden: setup
	$(VENV)/bin/python tests/plan/test_golden.py
	$(VENV)/bin/python tests/topology/test_mistakes.py
	$(VENV)/bin/python tests/broken/test_broken.py
	$(VENV)/bin/bascule schema > tests/topology/schema.json
	$(VENV)/bin/bascule schema --output > tests/cli/output.schema.json
	$(VENV)/bin/python tools/reference.py
	$(VENV)/bin/python tools/api.py
	$(VENV)/bin/python tools/man.py
	BASCULE_WRITE=1 $(VENV)/bin/pytest -q tests/live/test_firewall_manual.py
	git diff --stat

# Each Python from 3.11 on that is installed (PATH, pyenv), in an environment of its own.
test-python: setup-tools
	set -e; for python in $$(tools/pythons.sh); do \
		"$$python" --version; venv=.venv-$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		test -x $$venv/bin/python || "$$python" -m venv $$venv; \
		$$venv/bin/pip install -q --disable-pip-version-check -e '.[test]'; \
		$$venv/bin/pytest -n $(JOBS) --maxschedchunk=1 -q $(TESTS); \
	done

# A test of an hour's run is not stuck after ten minutes.
LONG = -q -o faulthandler_timeout=1800 -o faulthandler_exit_on_timeout=false

# First what can share the machine (the longest single tests at the head, so that none is left running alone at the end),
# then what weighs memory and counts processes, alone. 5: all had been done before.
test-crash: setup
	$(if $(CARRY_ON),,rm -rf .figures)
	mkdir -p .figures
	CRASH=full BASCULE_FIGURES=.figures/sweep.json \
		$(VENV)/bin/pytest -n $(JOBS) --maxschedchunk=1 $(LONG) tests/races tests/model tests/crash || test $$? = 5
	CRASH=full BASCULE_FIGURES=.figures/scale.json $(VENV)/bin/pytest $(LONG) tests/scale || test $$? = 5
	$(VENV)/bin/python tools/figures.py .figures/*.json

fuzz: $(STAMP)
	$(VENV)/bin/python -m fuzz.run --seed $(SEED)

mutation: setup
	test -x $(VENV)/bin/mutmut || $(VENV)/bin/pip install -q -e '.[mutation]'
	rm -rf mutants
	$(VENV)/bin/python tools/mutation.py --jobs $(JOBS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict src
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python tools/budgets.py src

bench: run-tools $(STAMP)
	$(VENV)/bin/python bench/run.py

bench-peers: setup
	tools/need.sh mn:mininet
	test -x /usr/lib/cni/bridge || tools/need.sh cni-plugins:containernetworking-plugins
	$(VENV)/bin/pip install -q -e '.[bench]'

setup: setup-tools $(STAMP)

.PHONY: run-tools setup-tools
run-tools:
	@tools/need.sh $(RUN_TOOLS)

setup-tools: run-tools
	@tools/need.sh $(TEST_TOOLS)

# What runs, and nothing of what tests and measures it.
.venv/.run: pyproject.toml | run-tools
	@echo "installing bascule into .venv, which takes some seconds …"
	@test -x .venv/bin/python || "$$(tools/python.sh)" -m venv .venv
	@.venv/bin/pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/.installed: pyproject.toml .venv/.run
	@echo "installing the tools that tests and lint need, which takes half a minute …"
	@.venv/bin/pip install -q --disable-pip-version-check -e '.[test,lint]'
	@touch $@

# On fresh minimal roots of each of these, as root and as an ordinary user: a quarter of an hour each. Needs root.
test-distros:
	@tools/need.sh mmdebstrap:mmdebstrap setpriv:util-linux
	tools/distros.sh $(DISTROS)

# On another kernel, without a network. What is given to make (KERNEL, MODULES, …) is in the script's environment.
test-kernel: kernel-tools
	tools/kernel.sh

test-apparmor: kernel-tools
	PROFILES='usr.bin.passt usr.sbin.dnsmasq' TESTS='tests/live/test_apparmor.py' tools/kernel.sh
	PROFILES='usr.bin.passt' TESTS='tests/live/test_apparmor.py tests/live/test_uplink.py' tools/kernel.sh

.PHONY: kernel-tools
kernel-tools:
	@tools/need.sh mke2fs:e2fsprogs mmdebstrap:mmdebstrap qemu-system-x86_64:qemu-system-x86

clean:
	rm -rf .venv .venv-* build dist mutants .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache fuzz/found
	find bench fuzz src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
