"""What every test folder shares.

`astro dev pytest` runs all of tests/ in the image, which has Airflow and pytest but neither a
database nor this project's development tools: there only tests/dags is collected.
"""

from importlib.util import find_spec

collect_ignore = []
if find_spec("hypothesis") is None:
    collect_ignore += ["unit", "integration", "oracle", "image", "warm", "browser"]
