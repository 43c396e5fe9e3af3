"""Which role a route asks for: one table, and whatever is not in it needs an admin.

The table is matched before the app routes a request; a test holds it against the app's own routes.
"""

from dataclasses import dataclass
from enum import Enum

from serving.security.principal import Kind, Principal, Role


class Access(Enum):
    """Who may. An admin may always."""

    PUBLIC = "anybody, without a credential"
    CLIENT = "role client"
    TRAINER = "role trainer"
    SERVICE = "an API key with role client: what a user must not do for all others"
    MONITORING = "any API key: numbers about everybody, for a service that collects them"
    ADMIN = "role admin"

    @property
    def is_public(self) -> bool:
        return self is Access.PUBLIC


@dataclass(frozen=True, slots=True)
class Rule:
    """`page`: HTML and its files, which a browser shows and may keep. `upload`: the body may be a video."""

    method: str
    path: str
    access: Access
    page: bool = False
    upload: bool = False


_REST = "{path:path}"
_RECS = "/api/v1/recs"
_RECOMMENDATIONS = "/api/v1/recommendations"

TABLE = (
    Rule("GET", "/health", Access.PUBLIC),
    Rule("GET", "/health/ready", Access.PUBLIC),
    Rule("GET", "/openapi.json", Access.PUBLIC),
    Rule("GET", "/", Access.PUBLIC, page=True),
    Rule("GET", "/docs", Access.PUBLIC, page=True),
    Rule("GET", "/docs/page.js", Access.PUBLIC, page=True),
    Rule("GET", "/docs/assets/{path:path}", Access.PUBLIC, page=True),
    Rule("GET", "/static/demo/{name}", Access.PUBLIC, page=True),
    Rule("GET", "/metrics", Access.MONITORING),
    Rule("GET", f"{_RECOMMENDATIONS}/feed", Access.CLIENT),
    Rule("POST", f"{_RECOMMENDATIONS}/feed", Access.CLIENT),
    Rule("GET", f"{_RECOMMENDATIONS}/similar/{{video_id}}", Access.CLIENT),
    Rule("GET", f"{_RECS}/{{user_id}}", Access.CLIENT),
    Rule("GET", f"{_RECS}/{{user_id}}/{{current_video_id}}", Access.CLIENT),
    Rule("GET", f"{_RECS}/experiments", Access.CLIENT),
    Rule("POST", "/api/v1/inference/recommend", Access.CLIENT),
    Rule("POST", "/api/v1/inference/recommend-dl", Access.CLIENT),
    Rule("POST", "/api/v1/inference/recommend-cached", Access.CLIENT),
    Rule("POST", "/api/v1/events/track", Access.CLIENT),
    Rule("POST", "/api/v1/events/batch", Access.CLIENT),
    Rule("GET", "/api/v1/videos/{video_id}/stream", Access.CLIENT),
    Rule("POST", f"{_RECS}/train", Access.TRAINER),
    Rule("GET", f"{_RECS}/train/{{run_id}}", Access.TRAINER),
    Rule("GET", f"{_RECS}/models", Access.TRAINER),
    Rule("GET", f"{_RECS}/models/{{model_id}}", Access.TRAINER),
    Rule("POST", "/api/v1/videos", Access.SERVICE, upload=True),
    # Other people's ids: for the demo page and for services, not for a user.
    Rule("GET", "/api/v1/demo/users", Access.SERVICE),
)


class Policy:
    """Finds the rule of a request: the same one the app's router would find, or a stricter one.

    Written out rather than with the router's patterns: a feed is matched twice, and here it costs a microsecond.
    """

    def __init__(self, table: tuple[Rule, ...] = TABLE) -> None:
        self._exact: dict[str, dict[str, Rule]] = {}
        self._below: dict[str, dict[str, Rule]] = {}
        templates: dict[str, dict[str, Rule]] = {}
        for rule in table:
            if rule.path.endswith(_REST):
                self._below.setdefault(rule.path.removesuffix(_REST), {})[rule.method] = rule
            else:
                kind = templates if "{" in rule.path else self._exact
                kind.setdefault(rule.path, {})[rule.method] = rule
        # By how many parts a path has; a literal before a parameter, as the app registers them: /recs/models/{id}
        # before /recs/{user}/{video}.
        self._by_parts: dict[int, list[tuple[tuple[tuple[int, str], ...], dict[str, Rule]]]] = {}
        for path in sorted(templates, key=lambda path: ["{" in part for part in path.split("/")]):
            parts = path.split("/")
            literals = tuple((i, part) for i, part in enumerate(parts) if "{" not in part and part)
            # The parts that tell most come last.
            self._by_parts.setdefault(len(parts), []).append((literals[::-1], templates[path]))

    def rule(self, method: str, path: str) -> Rule:
        """The rule for a request; one that asks for an admin where the table has none."""
        rules = self._exact.get(path) or self._parted(path)
        if rules is None:
            return UNLISTED
        found = rules.get("GET" if method == "HEAD" else method)
        if found is not None:
            return found
        some = next(iter(rules.values()))
        # A method that the path doesn't have: the app says so to whoever may use the path at all.
        return some if some.access is Access.PUBLIC else Rule(method, some.path, Access.ADMIN)

    def _parted(self, path: str) -> dict[str, Rule] | None:
        if "\n" in path:  # the router's patterns overlook a line end at the end, and would find another route
            return None
        parts = path.split("/")
        if "" not in parts[1:]:  # a parameter is never empty
            for literals, rules in self._by_parts.get(len(parts), ()):
                for i, literal in literals:
                    if parts[i] != literal:
                        break
                else:
                    return rules
        return next((rules for root, rules in self._below.items() if path.startswith(root)), None)


UNLISTED = Rule("*", "unmatched", Access.ADMIN)


def allows(access: Access, principal: Principal) -> bool:
    """Whether a principal may do what asks for `access`."""
    roles = principal.roles
    if access is Access.PUBLIC or Role.ADMIN in roles:
        return True
    if access is Access.CLIENT:
        return Role.CLIENT in roles
    if access is Access.TRAINER:
        return Role.TRAINER in roles
    if principal.kind is not Kind.SERVICE or access is Access.ADMIN:
        return False
    return access is Access.MONITORING or Role.CLIENT in roles
