"""Code shared by the DAG file, the plugins and the scripts.

The file has to exist: without it any installed package called `include` would win.
"""
