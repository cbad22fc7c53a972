"""Properties are judged by what they say, not by how long a busy machine takes for one example."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("bascule", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bascule")
