"""What the description of the routes says of security: taken from the policy, so that it cannot say anything else."""

from typing import Any

from fastapi import FastAPI

from serving import problems
from serving.security.policy import Access, Policy

_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A user's token: `sub` is their id, `roles` (or `scope`) what they may.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "A service's key, made with `reelgraph keys create`; also as `Authorization: ApiKey ...`.",
    },
}
_WITHOUT_TOKEN = (Access.SERVICE, Access.MONITORING)
_MORE = {
    401: "No credential, or one that proves nothing",
    403: "The role does not allow it, or not for that user",
    429: "Too many requests: `Retry-After` says when to come back",
}


def describe_security(app: FastAPI) -> None:
    """Add the schemes, what each route asks for, and the answers of a request that is refused."""
    default = app.openapi
    policy = Policy()

    def described() -> dict[str, Any]:
        content = default()
        content["components"].setdefault("securitySchemes", _SCHEMES)
        for path, operations in content["paths"].items():
            for method, operation in operations.items():
                _describe(operation, policy.rule(method.upper(), path).access)
        return content

    app.openapi = described  # type: ignore[method-assign]


def _describe(operation: dict[str, Any], access: Access) -> None:
    answers = operation["responses"]
    if "requestBody" in operation:
        answers.setdefault("413", _problem("The body is too long"))
    if access.is_public:
        return
    for status, description in _MORE.items():
        answers.setdefault(str(status), _problem(description))
    schemes = ["apiKey"] if access in _WITHOUT_TOKEN else ["token", "apiKey"]
    operation["security"] = [{scheme: []} for scheme in schemes]
    operation.setdefault("x-access", access.value)


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {problems.MEDIA_TYPE: {"schema": schema}}}
