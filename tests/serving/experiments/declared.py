"""Declarations for the tests, by hand."""

from typing import Any

import yaml

from serving.experiments.declaration import Declaration, parse_declaration


def experiment(id: str = "diversity", **changes: Any) -> dict[str, Any]:
    """Half `today`, half `more` diverse, unless changed; None takes a field out."""
    content: dict[str, Any] = {
        "id": id,
        "control": "today",
        "variants": [
            {"name": "today", "share": 0.5},
            {"name": "more", "share": 0.5, "parameters": {"diversity": 0.4}},
        ],
        **changes,
    }
    return {name: value for name, value in content.items() if value is not None}


def plain(id: str, *shares: float, **changes: Any) -> dict[str, Any]:
    """Variants `v0`, `v1`, ... that change nothing."""
    variants = [{"name": f"v{i}", "share": share} for i, share in enumerate(shares)]
    return experiment(id, control="v0", variants=variants, **changes)


def text(*experiments: dict[str, Any]) -> str:
    return yaml.safe_dump({"experiments": list(experiments)})


def declared(*experiments: dict[str, Any]) -> Declaration:
    return parse_declaration(text(*experiments), "experiments.yaml")
