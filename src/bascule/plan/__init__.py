"""From a topology to what has to be done: pure functions only."""
