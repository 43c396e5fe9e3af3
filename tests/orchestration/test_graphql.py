"""Our GraphQL calls are valid against Dagster's own schema."""

import ast
from pathlib import Path

import pytest

import orchestration.graphql as module


def queries() -> list[str]:
    tree = ast.parse(Path(module.__file__).read_text())
    texts = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return [t for t in texts if "__typename" in t and t.rstrip().endswith("}")]


def test_every_query_is_found() -> None:
    assert len(queries()) == 5


@pytest.mark.parametrize("query", queries())
def test_a_query_fits_the_schema(query: str) -> None:
    from dagster_graphql.schema import create_schema
    from graphql import parse, validate

    assert validate(create_schema().graphql_schema, parse(query)) == []


@pytest.mark.parametrize(
    ("message", "passing"),
    [
        ("PipelineNotFoundError: Could not find Pipeline reelgraph.__repository__.everything_job", True),
        ("DagsterUserCodeUnreachableError: could not reach user code server", True),
        ("InvalidSubsetError: no such asset", False),
    ],
)
def test_what_a_restart_of_the_code_server_looks_like_is_tried_again(message: str, passing: bool) -> None:
    assert isinstance(module._error(message), module.DagsterUnreachable) is passing
