"""Builds the manifest with the settings of `.env`, as `make run` does.

make manifest
"""

from __future__ import annotations

import sys

from include.engine import settings
from include.engine.manifest import build
from scripts.env_file import load_settings

if __name__ == "__main__":
    load_settings(settings.ROOT)
    sys.exit(build.main())
