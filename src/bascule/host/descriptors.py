"""Descriptors that nobody may lose where the next step fails: there are few where that happens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept(*held: int) -> Iterator[None]:
    """Close them where the block fails; else they are the caller's, as before."""
    try:
        yield
    except BaseException:
        for descriptor in held:
            os.close(descriptor)
        raise
