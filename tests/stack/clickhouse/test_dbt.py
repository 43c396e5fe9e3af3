"""dbt-clickhouse builds every materialization we use, twice, and the second build changes nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Server

FILES = {
    "dbt_project.yml": """
name: sample
version: "1.0"
profile: sample
model-paths: [models]
seed-paths: [seeds]
snapshot-paths: [snapshots]
""",
    "seeds/colours.csv": """id,name,at
1,red,2024-01-01 00:00:00
2,green,2024-01-02 00:00:00
3,"bl,ue",2024-02-03 00:00:00
""",
    "models/as_view.sql": "{{ config(materialized='view') }}\nselect id, name, at from {{ ref('colours') }}",
    "models/ephemeral.sql": "{{ config(materialized='ephemeral') }}\nselect * from {{ ref('as_view') }} where id > 0",
    "models/as_table.sql": """{{ config(materialized='table', engine='MergeTree()', order_by='(id)') }}
select e.id, e.name, e.at, o.dummy from {{ ref('ephemeral') }} e cross join {{ source('sys', 'one') }} o""",
    "models/appended.sql": """{{ config(materialized='incremental', incremental_strategy='append',
engine='MergeTree()', order_by='(id)') }}
select id, name from {{ ref('as_table') }}
{% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}""",
    "models/replaced.sql": """{{ config(materialized='incremental', incremental_strategy='delete+insert',
unique_key='id', engine='MergeTree()', order_by='(id)') }}
select id, name from {{ ref('as_table') }}""",
    "models/overwritten.sql": """{{ config(materialized='incremental', incremental_strategy='insert_overwrite',
partition_by='toYYYYMM(at)', engine='MergeTree()', order_by='(id)') }}
select id, name, at from {{ ref('as_table') }}""",
    "snapshots/history.sql": """{% snapshot history %}
{{ config(target_schema='sample', unique_key='id', strategy='check', check_cols=['name']) }}
select id, name from {{ ref('colours') }}
{% endsnapshot %}""",
    "models/schema.yml": """
sources:
  - name: sys
    schema: system
    tables: [{name: one}]
models:
  - name: as_table
    columns:
      - name: id
        data_tests: [unique, not_null]
unit_tests:
  - name: keeps_what_is_there
    model: replaced
    given:
      - input: ref('as_table')
        rows: [{id: 1, name: a}, {id: 2, name: b}]
    expect:
      rows: [{id: 1, name: a}, {id: 2, name: b}]
""",
}


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    profile = {
        "type": "clickhouse",
        "driver": "http",
        "host": "127.0.0.1",
        "port": server.port,
        "schema": "sample",
    }
    profile |= {"user": "default", "password": "", "threads": 4}
    (tmp_path / "profiles.yml").write_text(json.dumps({"sample": {"target": "t", "outputs": {"t": profile}}}))
    return tmp_path


# One process builds as often as it is told to: most of a dbt command is its start.
BUILDS = """
import sys
from dbt.cli.main import dbtRunner

runner = dbtRunner()
for _ in sys.stdin:
    done = runner.invoke(["build", "--quiet", "--profiles-dir", ".", "--project-dir", "."])
    print("BUILT" if done.success else "FAILED", flush=True)
"""


@pytest.fixture
def builder(project: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"DO_NOT_TRACK": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    process = subprocess.Popen(
        [sys.executable, "-c", BUILDS],
        env=environment, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def build(builder: "subprocess.Popen[str]", project: Path) -> dict[str, str]:
    """The outcome of every node."""
    assert builder.stdin is not None
    assert builder.stdout is not None
    builder.stdin.write("build\n")
    builder.stdin.flush()
    said = []
    for line in builder.stdout:
        said.append(line)
        if line in ("BUILT\n", "FAILED\n"):
            break
    assert said[-1:] == ["BUILT\n"], "".join(said)[-3000:]
    results = json.loads((project / "target" / "run_results.json").read_text())["results"]
    return {item["unique_id"].split(".", 2)[2]: item["status"] for item in results}


def test_every_materialization_builds_twice(
    builder: "subprocess.Popen[str]", project: Path, server: Server
) -> None:
    tables = ["as_table", "appended", "replaced", "overwritten", "history", "colours"]

    def contents() -> dict[str, str]:
        return {
            name: server.sql(f"SELECT id, name FROM sample.{name} ORDER BY id")
            for name in [*tables, "as_view"]
        }

    outcomes = build(builder, project)
    assert set(outcomes.values()) == {"success", "pass"}
    assert len(outcomes) == 10
    first = contents()
    assert set(first.values()) == {"1\tred\n2\tgreen\n3\tbl,ue\n"}
    assert set(build(builder, project).values()) == {"success", "pass"}
    assert contents() == first
    server.sql("DROP DATABASE sample SYNC")
