"""Properties are judged by what they say, not by how long a busy machine takes for one example."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

# Who only asks whether a test fails does not wait for the smallest example (tools/mutation.py).
PHASES = [Phase.explicit, Phase.generate] if os.environ.get("BASCULE_MUTATION") else list(Phase)

settings.register_profile(
    "bascule", deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=PHASES
)
settings.load_profile("bascule")
