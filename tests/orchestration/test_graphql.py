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
