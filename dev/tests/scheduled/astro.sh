#!/bin/sh
# Stands in for the Astro CLI's standalone mode (airflow/standalone.go of the CLI): the environment
# that it makes, and the programs that it starts there. ASTRO_AIRFLOW and ASTRO_TASK_SDK are the
# versions of the runtime, ASTRO_FREEZE a file of what else is in it.
case "$*" in
"dev start --standalone --foreground")
    install() { uv pip install --quiet --python .venv/bin/python "$@" "apache-airflow==$ASTRO_AIRFLOW"; }
    uv venv --quiet --python "$ASTRO_PYTHON" --allow-existing
    install -c "$ASTRO_FREEZE"
    install -r requirements.txt "apache-airflow-task-sdk==$ASTRO_TASK_SDK"
    program="airflow standalone" ;;
"dev pytest --standalone") program="pytest tests/" ;;
"dev parse --standalone") program="pytest .astro/test_dag_integrity_default.py" ;;
"dev run "*)  # which takes no option: `astro config set dev.mode standalone` was there before
    shift 2
    program="airflow $*" ;;
*) exit 64 ;;
esac
set -ea
[ ! -e .env ] || . ./.env
export PATH="$PWD/.venv/bin:$PATH" PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" \
    AIRFLOW_HOME="$PWD/.astro/standalone" ASTRONOMER_ENVIRONMENT=local \
    AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__CORE__DAGS_FOLDER="$PWD/dags" \
    AIRFLOW__CORE__FERNET_KEY="d6Vefz3G9U_ynXB3cr7y_Ak35tAHkEGAVxuz_B-jzWw=" \
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS=True AIRFLOW__API__PORT="$ASTRO_PORT" \
    AIRFLOW__CORE__EXECUTION_API_SERVER_URL="http://localhost:$ASTRO_PORT/execution/" \
    AIRFLOW__API__SECRET_KEY=astro-standalone AIRFLOW__API_AUTH__JWT_SECRET=astro-standalone \
    NO_PROXY="*" no_proxy="*"
exec $program
