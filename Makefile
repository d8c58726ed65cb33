# The verbs of this project; `make` alone lists them. Each is one line, or a script in scripts/.
#
#   PYTHON=python3.12   the interpreter to make the environments with (default: see scripts/python)
#   UV=                 make them with venv and pip though there is a uv; UV=/path/to/uv: that one

AIRFLOW := .airflow/venv/bin/python
LOCAL := $(AIRFLOW) -m scripts.local
PYTEST := AIRFLOW_HOME="$(CURDIR)/.airflow/test-home" $(AIRFLOW) -m pytest
RUN_OPTIONS = $(if $(DAG),--dag="$$DAG") $(if $(TIMEOUT),--timeout $(TIMEOUT)) $(if $(SELECT),--select="$$SELECT") \
	$(if $(EXCLUDE),--exclude="$$EXCLUDE") $(if $(VARS),--vars="$$VARS") $(if $(filter-out 0 false no,$(FULL_REFRESH)),--full-refresh)
PROJECTS := 24
DBT := 1.10 1.11
MODELS := 50
PEERS = $$(echo "$(CURDIR)"/.airflow/bench/lib/python*/site-packages)
BROWSER = PLAYWRIGHT="$$(echo "$(CURDIR)"/.airflow/browser/lib/python*/site-packages)"
DAILY := $(addprefix dev/tests/scheduled/test_,run.py up.py verbs.py)
FAULT_TESTS := dbt_cannot_read or manifest_was_if_it_is_gone or warehouse_that_is or full_disk or missing_dbt
# Pins are of this day: `make pins` writes the same files until the day is changed here.
PINS_OF := 2026-11-15
OWN_UV := .airflow/uv
FOUND_UV = $(or $(UV),$(shell command -v uv),$(OWN_UV)/bin/uv)
COMPILE = --quiet pip compile --upgrade --universal --python-version 3.10 \
	--exclude-newer $(PINS_OF) --custom-compile-command "make pins"

# What a person types reaches a verb as it is: make would expand each dollar sign in it.
TYPED := ARGS DAG EXCLUDE FROM SELECT SQL TO VARS
$(foreach name,$(TYPED),$(eval override $(name) := $$(value $(name))))
export $(TYPED)

# Another Python's variables would reach into the environments made here.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.NOTPARALLEL:
.PHONY: help run up down standalone dbt warm psql adopt check test test-quick test-adapters test-adopt test-dbt test-warm test-scheduled test-postgres test-celery test-faults test-kubernetes test-executors test-browser screenshots oracle image image-test bench bench-planning bench-peers bench-file bench-warm bench-size manifest lint format pins upgrade clean airflow-venv dbt-venv peers-venv browser-venv celery-venv kubernetes-venv own-uv

help: ## list the verbs
	@sed -n 's/^VERSION = "\(.*\)"/dbt on Airflow, one task per model: version \1/p' include/engine/version.py
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'

run: airflow-venv dbt-venv ## run the DAG once on a Postgres of its own, and show the results (SELECT=orders+ EXCLUDE= FULL_REFRESH=1 VARS='{"a": 1}' DAG=id TIMEOUT=seconds)
	@$(LOCAL) run $(RUN_OPTIONS)

up: airflow-venv dbt-venv $(if $(filter celery,$(EXECUTOR)),celery-venv) ## start Airflow, with its UI on http://localhost:8080 (PORT=9000: there, or above; EXECUTOR=celery WORKERS=2)
	@$(LOCAL) up $(if $(PORT),--port $(PORT)) $(if $(EXECUTOR),--executor $(EXECUTOR)) $(if $(WORKERS),--workers $(WORKERS))

down: ## stop what `make up` started
	@if [ -x $(AIRFLOW) ]; then $(LOCAL) down; else echo Nothing is running.; fi

standalone: airflow-venv dbt-venv ## start the Airflow of `astro dev start --standalone`, with a Postgres, until Ctrl-C
	@$(LOCAL) standalone

dbt: airflow-venv dbt-venv ## run dbt by hand on the warehouse of the tasks (ARGS='run --select orders')
	@$(LOCAL) dbt -- "$$ARGS"

warm: ## show the warm dbt: what it caches, and why a manifest is not cached (STOP=1: end it)
	@sh scripts/python include/engine/warm/status.py $(if $(filter-out 0 false no,$(STOP)),stop)

psql: airflow-venv ## look into the embedded warehouse (SQL='select ...': one statement)
	@$(LOCAL) psql $(if $(SQL),--sql="$$SQL")

test: test-quick ## the tests of every day: the last ones run the whole DAG
	@$(PYTEST) dev/tests/shapes $(DAILY)

test-warm: airflow-venv dbt-venv ## test the warm dbt, against the cold one and a real Postgres
	@$(PYTEST) dev/tests/warm

test-quick: airflow-venv manifest ## the tests that need no database
	@$(PYTEST) tests
	@$(PYTEST) dev/tests $(addprefix --ignore dev/tests/,scheduled shapes foreign warm oracle image executors browser celery faults kubernetes adapters)

test-adapters: airflow-venv dbt-venv own-uv ## test each warehouse's adapter, and projects of many shapes, in environments of their own
	@UV="$(FOUND_UV)" $(PYTEST) dev/tests/adapters

test-adopt: airflow-venv dbt-venv ## adopt and run projects of foreign shapes, and compare each with one `dbt build`
	@$(PYTEST) dev/tests/foreign

test-dbt: airflow-venv ## compare the plan with `dbt build` on other versions of dbt (DBT="1.10 1.11" PROJECTS=4)
	@for version in $(DBT); do sh scripts/python scripts/venv.py .airflow/dbt/$$version dev/dbt/$$version.txt && \
		DBT_EXECUTABLE="$(CURDIR)/.airflow/dbt/$$version/bin/dbt" ORACLE_PROJECTS=$(PROJECTS) $(PYTEST) $(addprefix dev/tests/oracle/test_,oracle.py subset.py) || exit 1; done

test-scheduled: airflow-venv dbt-venv own-uv ## test runs that fail, have params, leave results or are interrupted
	@UV="$(FOUND_UV)" $(PYTEST) dev/tests/scheduled $(addprefix --ignore ,$(DAILY))

test-postgres: airflow-venv dbt-venv ## run the whole DAG on another PostgreSQL, for Airflow's database and the warehouse (POSTGRES=/usr/lib/postgresql/12)
	@[ -x "$(POSTGRES)/bin/postgres" ] || { echo "Which PostgreSQL? Name its folder, which has bin/postgres: make test-postgres POSTGRES=/usr/lib/postgresql/12" >&2; exit 2; }
	@POSTGRES="$(POSTGRES)" $(PYTEST) dev/tests/scheduled/test_run.py dev/tests/scheduled/test_scheduled.py

test-celery: airflow-venv dbt-venv celery-venv ## compare two Celery workers and Redis with the LocalExecutor (PROJECTS=10)
	@GENERATED_PROJECTS=$(PROJECTS) $(PYTEST) dev/tests/celery

test-faults: airflow-venv dbt-venv celery-venv ## break each part of two Celery workers' Airflow in the middle of a run (as root, 11 minutes)
	@$(PYTEST) -rP --show-capture=stdout dev/tests/faults

test-kubernetes: airflow-venv dbt-venv kubernetes-venv ## check the template of a task's pod, with Airflow's own generator
	@PYTHONPATH="$$(echo "$(CURDIR)"/.airflow/kubernetes/lib/python*/site-packages)" $(PYTEST) dev/tests/kubernetes

test-executors: airflow-venv ## compare a pod for each task, and Celery in Docker, with the LocalExecutor, in real containers (PROJECTS=10)
	@GENERATED_PROJECTS=$(PROJECTS) $(PYTEST) dev/tests/executors

test-browser: airflow-venv manifest browser-venv ## drive Airflow's UI with a real browser: what a person sees
	@$(BROWSER) $(PYTEST) dev/tests/browser

screenshots: airflow-venv manifest browser-venv ## renew the README's pictures with that browser
	@$(BROWSER) SCREENSHOTS=docs/pictures $(PYTEST) dev/tests/browser/test_ui.py

oracle: airflow-venv dbt-venv ## compare the plan with `dbt build` on generated projects (PROJECTS=200)
	@ORACLE_PROJECTS=$(PROJECTS) $(PYTEST) dev/tests/oracle

image: ## build the image as the Astro CLI would, and say how large it is
	@docker build -t dbt-airflow . && docker image inspect --format '{{.Size}} bytes' dbt-airflow

image-test: airflow-venv ## build, start and test the image in real containers (FAULTS=no: nothing is broken)
	@$(PYTEST) dev/tests/image $(if $(filter no,$(FAULTS)),-k "not ($(FAULT_TESTS))")

bench: bench-planning bench-warm bench-file bench-peers ## measure everything (an hour or two)

bench-planning: airflow-venv ## measure planning
	@$(AIRFLOW) -m dev.benchmarks.planning

bench-peers: peers-venv dbt-venv ## measure a DAG run beside Cosmos, the plain way and the floor (MODELS="20 50")
	@BENCH_PEERS=$(PEERS) $(AIRFLOW) -m dev.benchmarks.dag_run --models $(MODELS)

bench-size: airflow-venv dbt-venv browser-venv ## measure large projects, and many runs in a row (MODELS="500 1000 2000" RUNS=1 FLOOR=1)
	@$(BROWSER) $(AIRFLOW) -m dev.benchmarks.size $(if $(filter command%,$(origin MODELS)),--models $(MODELS)) $(if $(RUNS),--runs $(RUNS)) $(if $(FLOOR),--floor)

bench-file: peers-venv ## measure the DAG file beside those of Cosmos and of the plain way
	@BENCH_PEERS=$(PEERS) $(AIRFLOW) -m dev.benchmarks.dag_file

bench-warm: airflow-venv dbt-venv ## measure one dbt command, cold and warm, at 50, 1,000 and 4,000 models
	@$(AIRFLOW) -m dev.benchmarks.warm_command

adopt: dbt-venv ## put a dbt project in the place of the sample, and say what is left to do (FROM=folder or git address)
	@.dbt/venv/bin/python -m scripts.adopt "$$FROM"

check: dbt-venv ## say what the dbt project is, what dbt makes of it, and what is left to do
	@.dbt/venv/bin/python -m scripts.check

manifest: dbt-venv ## have dbt compile the project, without a database
	@.dbt/venv/bin/python -m scripts.manifest

lint: airflow-venv ## check style and common mistakes
	@$(AIRFLOW) -m ruff check .
	@$(AIRFLOW) -m ruff format --check .

format: airflow-venv ## fix what lint can fix
	@$(AIRFLOW) -m ruff check --fix .
	@$(AIRFLOW) -m ruff format .

pins: own-uv ## write each requirements-*.txt from its requirements-*.in, here and in dev/
	@echo dbt-core-experimental-parser | "$(FOUND_UV)" $(COMPILE) --excludes /dev/stdin requirements-dbt.in -o requirements-dbt.txt
	@"$(FOUND_UV)" --directory dev $(COMPILE) requirements-dev.in -o requirements-dev.txt
	@"$(FOUND_UV)" --directory dev $(COMPILE) requirements-browser.in -o requirements-browser.txt
	@for name in celery kubernetes pods; do \
		{ sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' dev/requirements-dev.txt; echo valkey; } | "$(FOUND_UV)" --directory dev \
		$(COMPILE) --excludes /dev/stdin requirements-$$name.in -o requirements-$$name.txt || exit 1; done
	@for pins in dev/adapters/*.in dev/dbt/*.in; do echo dbt-core-experimental-parser | \
		"$(FOUND_UV)" $(COMPILE) --excludes /dev/stdin $$pins -o $${pins%in}txt || exit 1; done
	@sh scripts/python dev/check_wheels.py --uv "$(FOUND_UV)"

upgrade: ## replace the engine by that of a newer template (FROM=git address or folder, TO=branch, tag or commit)
	@sh scripts/python scripts/upgrade.py --from="$$FROM" --to="$$TO"

clean: ## stop what runs here, and remove all that was made in .dbt and .airflow
	@if ls .airflow/run/*.json >/dev/null 2>&1 && [ -x $(AIRFLOW) ]; then $(LOCAL) down; fi
	rm -rf .dbt/[!.]* .airflow

# The environments. What they are made of decides whether they are made again.

dbt-venv:
	@sh scripts/python scripts/venv.py .dbt/venv requirements-dbt.txt

airflow-venv:
	@sh scripts/python scripts/venv.py .airflow/venv dev/requirements-dev.txt --more requirements.txt --used-by .airflow/run

peers-venv: airflow-venv
	@sh scripts/python scripts/venv.py .airflow/bench dev/requirements-bench.txt

browser-venv:
	@sh scripts/python scripts/venv.py .airflow/browser dev/requirements-browser.txt

celery-venv:
	@sh scripts/python scripts/venv.py .airflow/celery dev/requirements-celery.txt --used-by .airflow/run

kubernetes-venv:
	@sh scripts/python scripts/venv.py .airflow/kubernetes dev/requirements-kubernetes.txt

own-uv:
	@[ -n "$(UV)" ] || command -v uv >/dev/null || sh scripts/python scripts/venv.py $(OWN_UV) dev/requirements-uv.txt
