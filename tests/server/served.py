"""``server.app.run`` with a ``FakeEngine``, as a process of its own: see test_app.py.

Its one argument is JSON: settings, and under ``fake`` what the engine is given.
"""

from __future__ import annotations

import json
import sys

from fake_engine import FakeEngine

from engine.client import Deliver
from server import app
from server.config import Settings

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    fake = given.pop("fake", {})

    def make(settings: Settings, deliver: Deliver) -> FakeEngine:
        return FakeEngine(settings, deliver, **fake)

    app._make_engine = make
    sys.exit(app.run(Settings.model_validate(given)))
