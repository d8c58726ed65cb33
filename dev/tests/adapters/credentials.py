"""Prints, as JSON, what the real adapter's Credentials make of a profile: run by dbt's own Python.

python credentials.py PROFILES_FOLDER PROFILE
"""

import json
import os
import sys
from argparse import Namespace
from pathlib import Path

import yaml
from dbt.config.profile import Profile
from dbt.config.renderer import ProfileRenderer
from dbt.flags import set_from_args
from dbt_common.context import set_invocation_context

set_invocation_context(os.environ)
set_from_args(Namespace(PROFILES_DIR=sys.argv[1], TARGET_PATH=None), None)
profiles = yaml.safe_load(Path(sys.argv[1], "profiles.yml").read_text())
profile = Profile.from_raw_profiles(profiles, sys.argv[2], ProfileRenderer({}))
print(json.dumps({"threads": profile.threads, **profile.credentials.to_dict()}, default=str))
