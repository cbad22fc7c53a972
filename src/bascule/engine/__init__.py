"""The only floor that knows the order: lock, load, observe, plan, journal, execute."""
