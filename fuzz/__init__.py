"""Fuzzers for everything that comes in from outside: `make fuzz`, or `python -m fuzz.run
--help`."""
