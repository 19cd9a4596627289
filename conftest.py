"""Settings for the project's own tests.

The plugin under test is not named here: its entry point loads it, and pytest refuses to register it a second time.
"""

from __future__ import annotations

pytest_plugins = ["pytester"]
