"""The version of the engine. `make help`, the pages of the DAGs and CHANGELOG.md show it."""

VERSION = "0.2.0"
