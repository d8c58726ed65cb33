# dbt and the manifest have a stage of their own. The runtime's ONBUILD steps copy the whole project;
# `-base` has no such steps, so a changed DAG file rebuilds nothing here. The stage has no name, because
# `astro dev upgrade-test` writes a version over the rest of the line.
FROM astrocrpublic.azurecr.io/runtime:3.3-8-base

# dbt has a virtual environment of its own, because dbt and Airflow need different versions of the same
# packages. The list is complete (--no-deps). It leaves out dbt-core's optional parser: 145 MB that
# nothing here uses. The packages' own tests are removed: 5000 files.
COPY --chown=astro:0 requirements-dbt.txt ./
RUN uv venv .dbt/venv && \
    uv pip install --python .dbt/venv --no-cache --no-deps --compile-bytecode -r requirements-dbt.txt && \
    find .dbt/venv/lib -type d -name tests -path '*/site-packages/*' -not -path '*/dbt/*' -prune -exec rm -r {} +

# `dbt compile` needs no database. Its output lies outside dags/, plugins/, include/ and tests/, because
# `astro dev start` mounts the host's folders over those four. Without include/dbt there is nothing to
# compile: `astro dbt deploy` brings the project, with its manifest.
COPY --chown=astro:0 include include
RUN if [ -e include/dbt ]; then python -m include.engine.manifest.build; fi && mkdir -p .dbt/shared

FROM astrocrpublic.azurecr.io/runtime:3.3-8
COPY --from=0 --chown=astro:0 /usr/local/airflow/.dbt .dbt
# In this copy include/dbt has the packages that `dbt deps` installed, if dbt_project.yml names no other
# folder for them.
COPY --from=0 --chown=astro:0 /usr/local/airflow/include include

# When a task ends, Airflow's supervisor may still sleep for this many seconds (5 by default), and the
# task keeps its slot of the executor. Short tasks become slow. The second setting keeps the patience
# with an API server that does not answer at 15 seconds.
ENV AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL=1 AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS=15

# For the graph of a DAG, Airflow's API server reads the whole serialized DAG once for each asset that the
# DAG's tasks publish. Uncompressed, that is gigabytes with some hundred models.
ENV AIRFLOW__CORE__COMPRESS_SERIALIZED_DAGS=True
