"""Reads a saved model back, whatever its form."""

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml.errors import ModelFilesError
from ml.files import sha256_of
from ml.recommender import ABOUT_FILE, FORMAT, Recommender

FIRST_FORMAT = 1
"""Models of before there were forms: factors, without a fold-in. A champion of then serves until the next one."""


def load(directory: Path) -> Recommender:
    """The model that `Recommender.save` wrote; raises `ModelFilesError` naming what is wrong with it."""
    check(directory)
    return read(directory)


def check(directory: Path) -> None:
    """Compare the arrays of a saved model, and of its parts, with the sums in its `model.json`; raises
    `ModelFilesError`."""
    directory = Path(directory)
    about = _about(directory)
    with _named(directory):
        for name, digest in about["sha256"].items():
            if sha256_of(directory / plain_name(name)) != digest:
                raise ModelFilesError(f"{directory}: {name} is not the file that was saved")
        for path in directory.glob("*.npz"):
            if path.name not in about["sha256"]:
                _check_by_its_own_sums(path)
        for part in about.get("parts", ()):
            check(directory / plain_name(part))


def read(directory: Path) -> Recommender:
    """`load` without `check`, for a caller who has compared all sums."""
    directory = Path(directory)
    about = _about(directory)
    with _named(directory):
        return _form(about["form"]).read(directory, about)


def plain_name(name: str) -> str:
    """The name of a file or folder beside `model.json`; raises `ModelFilesError` for one that leads elsewhere."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise ModelFilesError(f"{name!r} names no file of a saved model")
    return name


def _check_by_its_own_sums(path: Path) -> None:
    """Of the first format, which had no others; `read_arrays` does not compare them."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ModelFilesError(f"{path.parent}: {path.name}: {damaged} is damaged")


def _about(directory: Path) -> dict[str, Any]:
    """What `model.json` says, of an older format in the words of this one."""
    with _named(directory):
        about = json.loads((directory / ABOUT_FILE).read_text("utf-8"))
    if not isinstance(about, dict):
        raise ModelFilesError(f"{directory}: {ABOUT_FILE} describes no model")
    if about.get("format") == FIRST_FORMAT:
        return {**about, "format": FORMAT, "form": "factors", "fold_in": None, "sha256": {}}
    if about.get("format") != FORMAT:
        raise ModelFilesError(f"{directory}: format {about.get('format')}, this code reads {FORMAT}")
    return about


@contextmanager
def _named(directory: Path) -> Iterator[None]:
    """Whatever breaks inside is an error of this folder."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ModelFilesError(f"{directory}: not a saved model ({error})") from error


def _form(name: str) -> type[Recommender]:
    if name == "factors":
        from ml.factors import FactorModel

        return FactorModel
    if name == "neighbours":
        from ml.neighbours import NeighbourModel

        return NeighbourModel
    if name == "blend":
        from ml.blend import BlendModel

        return BlendModel
    raise ModelFilesError(f"form: {name!r} is none this code knows")
