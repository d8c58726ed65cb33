"""The plan against dbt's own `dbt build`, over generated projects (see test_oracle.py)."""
