# dbt and the manifest, in a stage of their own: `-base` has none of the runtime's ONBUILD steps,
# which copy the whole project, so a changed DAG file rebuilds nothing here.
FROM astrocrpublic.azurecr.io/runtime:3.3-8-base AS dbt

# dbt in a virtual environment of its own: it and Airflow pin each other's dependencies. The list is
# whole, hence --no-deps; it leaves out dbt-core's optional parser, 145 MB that nothing here uses.
# The packages' own tests go: 5000 files that only dbt's authors run.
COPY --chown=astro:0 requirements-dbt.txt ./
RUN uv venv .dbt/venv && \
    uv pip install --python .dbt/venv --no-cache --no-deps --compile-bytecode -r requirements-dbt.txt && \
    find .dbt/venv/lib -type d -name tests -path '*/site-packages/*' -not -path '*/dbt/*' -prune -exec rm -r {} +

# `dbt compile` needs no database. What it writes goes outside dags/, plugins/, include/ and tests/:
# `astro dev start` mounts the host's folders over those.
COPY --chown=astro:0 include/__init__.py include/
COPY --chown=astro:0 include/engine include/engine
COPY --chown=astro:0 include/dbt include/dbt
RUN python -m include.engine.manifest.build && mkdir .dbt/shared

FROM astrocrpublic.azurecr.io/runtime:3.3-8
COPY --from=dbt --chown=astro:0 /usr/local/airflow/.dbt .dbt
# With the packages that `dbt deps` installed there, if dbt_project.yml names no other place.
COPY --from=dbt --chown=astro:0 /usr/local/airflow/include/dbt include/dbt

# Airflow's supervisor of a task hears that the task's last socket is closed, finds the process not
# yet gone, and then sleeps for this many seconds (5 by default) with the slot of the executor taken.
# Tasks of a second feel it. An unreachable API server is borne as long as before: 15 seconds.
ENV AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL=1 AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS=15
