"""The tuned parameters as a file: a fragment of `TrainConfig`, `<home>/parameters/parameters.json`, with its evidence.

Only what the search found is in it: sections of kinds, never the split or the seed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml.config import TrainConfig
from ml.errors import ConfigurationError
from ml.files import replaced, write_json
from ml.fit import section
from ml.recommender import KINDS

PARAMETERS_FILE = "parameters.json"
EVIDENCE_FILE = "evidence.json"

Fragment = dict[str, dict[str, Any]]

_SECTIONS = tuple(section(kind) for kind in KINDS)


def load(path: Path | None) -> Fragment:
    """What the file says, by section of `TrainConfig` (`two_tower`, ...); nothing if there is no file.

    Raises `ConfigurationError` naming the file and the field: an unknown section or field, a value out of bounds.
    """
    if path is None or not Path(path).is_file():
        return {}
    name = Path(path).name
    try:
        fragment = json.loads(Path(path).read_text("utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{name}: is not JSON: {error}") from error
    return checked(fragment, name)


def checked(fragment: Any, name: str = PARAMETERS_FILE) -> Fragment:
    """The fragment; raises `ConfigurationError` as `load` does."""
    if not isinstance(fragment, dict):
        raise ConfigurationError(f"{name}: must be an object of sections (got {type(fragment).__name__})")
    for key, own in fragment.items():
        if key not in _SECTIONS:
            raise ConfigurationError(f"{name}: {key}: must be one of {', '.join(_SECTIONS)}")
        if not isinstance(own, dict):
            raise ConfigurationError(f"{name}: {key}: must be an object (got {own!r})")
    try:
        TrainConfig.of(fragment)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from error
    return fragment


def merged(fragment: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; where they disagree `over` (what the operator set) wins."""
    result: dict[str, Any] = {name: _copy(value) for name, value in fragment.items()}
    for name, value in over.items():
        known = result.get(name)
        both = isinstance(known, dict) and isinstance(value, Mapping)
        result[name] = {**known, **value} if both and known is not None else _copy(value)
    return result


def save(folder: Path, fragment: Mapping[str, Any], evidence: Mapping[str, Any]) -> Path:
    """Write both files into `folder`, whole or not at all; returns the path of the parameters.

    The same content gives the same bytes, so DVC sees no new version. Raises `ConfigurationError`.
    """
    content = checked({name: dict(own) for name, own in fragment.items()})
    with replaced(Path(folder)) as fresh:
        write_json(fresh / PARAMETERS_FILE, content)
        write_json(fresh / EVIDENCE_FILE, dict(evidence))
    return Path(folder) / PARAMETERS_FILE


def load_evidence(folder: Path) -> dict[str, Any]:
    """Why each section is as it is; nothing if nothing was ever tuned. Never read by a training."""
    path = Path(folder) / EVIDENCE_FILE
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise ConfigurationError(f"{path.name}: is not JSON: {error}") from error


def ensure(folder: Path) -> Path:
    """The path of the parameters, with a file that says nothing if there is none: DVC refuses a missing dependency."""
    path = Path(folder) / PARAMETERS_FILE
    return path if path.is_file() else save(folder, {}, {})


def _copy(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
