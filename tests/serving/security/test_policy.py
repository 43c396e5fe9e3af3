"""The table holds every route of the app, agrees with its router, and denies whatever it does not know."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import Match, Mount, Route

from serving.api.app import create_app
from serving.api.state import State
from serving.security.policy import TABLE, Access, Policy, allows
from serving.security.principal import ANONYMOUS, DEVELOPER, Kind, Principal, Role, roles_of

APP = create_app(State())
POLICY = Policy()
RULES = {(rule.method, rule.path): rule for rule in TABLE}


def routes() -> set[tuple[str, str]]:
    """Method and path of every route; what is mounted counts as a GET of all below it."""
    found = set()
    for route in APP.routes:
        if isinstance(route, Mount):
            found.add(("GET", f"{route.path}/{{path:path}}"))
        elif isinstance(route, Route):
            found |= {(method, route.path) for method in route.methods or () if method != "HEAD"}
        else:
            raise TypeError(f"a route of another kind: {route}")
    return found


def test_every_route_of_the_app_is_in_the_table_and_nothing_else_is() -> None:
    # Path parameters may have other names; what they match is compared below.
    assert routes() == set(RULES)


@pytest.mark.parametrize(("method", "path"), sorted(RULES))
def test_each_route_finds_its_own_rule(method: str, path: str) -> None:
    filled = path.replace("{path:path}", "a/b").replace("{", "").replace("}", "")
    assert POLICY.rule(method, filled) is RULES[method, path]
    if method == "GET":
        assert POLICY.rule("HEAD", filled) is RULES[method, path]


SEGMENTS = sorted({part for _, path in RULES for part in path.split("/") if part and "{" not in part})
PATHS = st.lists(st.one_of(st.sampled_from(SEGMENTS), st.text(max_size=4)), max_size=6).map(
    lambda parts: "/" + "/".join(parts)
)
MATCHING = st.sampled_from(sorted(RULES)).map(
    lambda key: key[1].replace("{path:path}", "swagger-ui.css").replace("{", "").replace("}", "")
)


@given(
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"]),
    st.one_of(PATHS, MATCHING, MATCHING.map(lambda path: path + "/"), MATCHING.map(lambda path: path + "\n")),
)
@settings(max_examples=1500, deadline=None)
def test_the_router_never_serves_what_the_table_would_not(method: str, path: str) -> None:
    """Whatever the app's router would answer, the rule is that route's own, or asks for an admin."""
    scope = {"type": "http", "method": method, "path": path, "headers": [], "root_path": ""}
    rule = POLICY.rule(method, path)
    for route in APP.routes:
        if route.matches(scope)[0] is Match.FULL:
            own = f"{route.path}/{{path:path}}" if isinstance(route, Mount) else route.path  # type: ignore[attr-defined]
            assert rule.access is Access.ADMIN or rule.path == own
            return


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nowhere"),
        ("GET", "/api/v1/recs"),
        ("GET", "/metrics/"),
        ("GET", "//metrics"),
        ("GET", "/METRICS"),
        ("GET", "/redoc"),
        ("GET", "/api/v1/recs/models\n"),  # which the router takes for the route of models
        ("GET", "/api/v1/recs/"),
        ("GET", "/docs/assetsx"),
        ("DELETE", "/api/v1/recommendations/feed"),
        ("TRACE", "/metrics"),
    ],
)
def test_what_is_not_in_the_table_needs_an_admin(method: str, path: str) -> None:
    assert POLICY.rule(method, path).access is Access.ADMIN


def test_another_method_of_a_public_path_is_the_apps_to_refuse() -> None:
    assert POLICY.rule("POST", "/health").access is Access.PUBLIC


def principal(kind: Kind, *roles: Role) -> Principal:
    return Principal("x", kind, frozenset(roles), "x")


USERS = {role: principal(Kind.USER, role) for role in Role}
SERVICES = {role: principal(Kind.SERVICE, role) for role in Role}


@pytest.mark.parametrize(
    ("access", "users", "services"),
    [
        (Access.PUBLIC, {"client", "trainer", "admin"}, {"client", "trainer", "admin"}),
        (Access.CLIENT, {"client", "admin"}, {"client", "admin"}),
        (Access.TRAINER, {"trainer", "admin"}, {"trainer", "admin"}),
        (Access.SERVICE, {"admin"}, {"client", "admin"}),
        (Access.MONITORING, {"admin"}, {"client", "trainer", "admin"}),
        (Access.ADMIN, {"admin"}, {"admin"}),
    ],
)
def test_who_may(access: Access, users: set[str], services: set[str]) -> None:
    assert {role for role, each in USERS.items() if allows(access, each)} == users
    assert {role for role, each in SERVICES.items() if allows(access, each)} == services
    assert allows(access, principal(Kind.USER)) == (access is Access.PUBLIC)
    assert allows(access, ANONYMOUS) == (access is Access.PUBLIC)
    assert allows(access, DEVELOPER)


def test_a_user_acts_for_themselves_services_and_admins_for_anybody() -> None:
    assert USERS[Role.CLIENT].acts_for("x")
    assert not USERS[Role.CLIENT].acts_for("y")
    assert not USERS[Role.CLIENT].acts_for("X")
    assert not USERS[Role.TRAINER].acts_for("y")
    assert USERS[Role.ADMIN].acts_for("y")
    assert SERVICES[Role.CLIENT].acts_for("y")
    assert DEVELOPER.acts_for("y")
    assert not ANONYMOUS.acts_for("")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=10))
def test_roles_come_of_a_list_or_a_text_and_are_known_ones(names: object) -> None:
    assert roles_of(names) <= set(Role)
