"""What every kind of saved model must do: answer as before, without what fitted it, and refuse to load when damaged."""

import json
import pickletools
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from ml.errors import ModelFilesError
from ml.recommender import KINDS, Past, Recommender
from ml.saved import load
from tests.ml.planted import HIT
from tests.ml.test_contract import fitted

USERS = ["A-fan-1", "B-fan-2", "nobody"]
PASTS = [Past([]), Past([HIT, "A-01"], [1, 0.5], [3, 1]), Past(["unknown"])]
HEAVY = ("torch", "numba", "implicit", "sklearn", "pandas", "pyarrow", "matplotlib", "mlflow")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@lru_cache
def saved(kind: str, directory: Path) -> Path:
    fitted(kind).model.save(directory / kind)
    return directory / kind


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def folder(kind: str, models: Path) -> Path:
    """A saved model of this kind, to be read only."""
    return saved(kind, models)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """One that the test may damage."""
    load(folder).save(tmp_path / "copy")
    return tmp_path / "copy"


def test_a_saved_model_answers_as_before(kind: str, folder: Path) -> None:
    before: Recommender = fitted(kind).model
    after = load(folder)
    assert type(after) is type(before)
    assert (after.kind, after.form, after.info) == (kind, before.form, before.info)
    np.testing.assert_array_equal(after.user_ids, before.user_ids)
    np.testing.assert_array_equal(after.video_ids, before.video_ids)
    np.testing.assert_array_equal(after.scores(USERS), before.scores(USERS))
    np.testing.assert_array_equal(after.scores_for(PASTS), before.scores_for(PASTS))
    assert after.similar("A-01", 40) == before.similar("A-01", 40)
    exclude = {"A-fan-1": {"A-01"}}
    assert after.recommend(USERS, 10, exclude) == before.recommend(USERS, 10, exclude)


def test_saving_what_was_loaded_gives_the_same_bytes(folder: Path, copy: Path) -> None:
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert sorted(path.relative_to(copy) for path in copy.rglob("*") if path.is_file()) == names
    for name in names:
        assert (copy / name).read_bytes() == (folder / name).read_bytes()


def test_what_a_model_says_of_itself_comes_back(kind: str, tmp_path: Path) -> None:
    from dataclasses import replace

    info = {"cut_ms": 1, "params": {"ü": [1.5, None]}}
    replace(fitted(kind).model, info=info).save(tmp_path / "m")  # type: ignore[type-var]
    assert load(tmp_path / "m").info == info


def test_loading_and_asking_need_none_of_what_fitted_it(folder: Path) -> None:
    script = f"""
import sys
from pathlib import Path

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            raise AssertionError("imported " + name)

sys.meta_path.insert(0, Refusing())
from ml.recommender import Past
from ml.saved import load
model = load(Path(sys.argv[1]))
model.scores(["A-fan-1", "nobody"]), model.similar("A-01", 3)
model.scores_for([Past(["A-01"]), Past([])])
print(model.recommend(["A-fan-1"], 3))
"""
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{load(folder).recommend(['A-fan-1'], 3)}\n"


def test_nothing_in_the_folder_is_a_pickle(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".npz"}
    for path in files:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                assert all(arrays[name].dtype != object for name in arrays.files)
        else:
            json.loads(path.read_text("utf-8"))
            with pytest.raises(ValueError):
                list(pickletools.genops(path.read_bytes()))


# --- damage -------------------------------------------------------------------------------------------------


def archives(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npz"))


def changed(archive: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.load(archive) as file:
        arrays = {key: file[key] for key in file.files}
    arrays[name] = change(arrays[name])
    np.savez(archive, allow_pickle=False, **arrays)


def refused(folder: Path) -> bool:
    """Whether loading is refused with the right error; any other error fails the test."""
    try:
        load(folder)
    except ModelFilesError:
        return True
    return False


def accepted(folder: Path, copies: Path, damage: Callable[[np.ndarray], np.ndarray | None]) -> list[str]:
    """The arrays, by file and name, that a model loads with after the damage; `damage` gives None to pass one over."""
    found = []
    for archive in archives(folder):
        where = archive.relative_to(folder)
        with np.load(archive) as file:
            names = file.files
        for name in names:
            with np.load(archive) as file:
                if damage(file[name]) is None:
                    continue
            copy = copies / "damaged"
            load(folder).save(copy)
            changed(copy / where, name, damage)  # type: ignore[arg-type]
            if not refused(copy):
                found.append(f"{where}: {name}")
    return found


def test_no_array_may_lack_a_row(folder: Path, tmp_path: Path) -> None:
    assert accepted(folder, tmp_path, lambda a: a[:-1] if a.ndim and len(a) else None) == []


def test_no_array_may_hold_a_value_that_is_not_finite(folder: Path, tmp_path: Path) -> None:
    def with_nan(array: np.ndarray) -> np.ndarray | None:
        if array.dtype.kind != "f" or not array.size:
            return None
        damaged = array.copy()
        damaged.flat[0] = np.nan
        return damaged

    assert accepted(folder, tmp_path, with_nan) == []


def test_no_array_may_have_another_type(folder: Path, tmp_path: Path) -> None:
    def other(array: np.ndarray) -> np.ndarray | None:
        return array.astype(np.float64) if array.dtype == np.float32 and array.size else None

    assert accepted(folder, tmp_path, other) == []


def test_ids_must_be_sorted_and_distinct(folder: Path, tmp_path: Path) -> None:
    def reversed_ids(array: np.ndarray) -> np.ndarray | None:
        return array[::-1] if array.dtype.kind == "U" and len(array) > 1 else None

    def doubled(array: np.ndarray) -> np.ndarray | None:
        return np.asarray([array[0], *array[:-1]]) if array.dtype.kind == "U" and len(array) > 1 else None

    assert accepted(folder, tmp_path, reversed_ids) == []
    assert accepted(folder, tmp_path, doubled) == []


def test_no_index_may_point_outside(folder: Path, tmp_path: Path) -> None:
    def outside(array: np.ndarray) -> np.ndarray | None:
        if array.dtype.kind != "i" or not array.size:
            return None
        damaged = array.copy()
        damaged.flat[-1] = 10**6
        return damaged

    assert accepted(folder, tmp_path, outside) == []


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(copy: Path, keep: float) -> None:
    for archive in archives(copy):
        whole = archive.read_bytes()
        archive.write_bytes(whole[: int(keep * len(whole)) if keep in (0.5, 0.99) else int(keep)])
        assert refused(copy)
        archive.write_bytes(whole)
    assert not refused(copy)


def test_a_missing_file_is_refused(copy: Path) -> None:
    for path in [path for path in copy.rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        path.unlink()
        assert refused(copy)
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, this code reads"),
        ({"form": "trees"}, "form: 'trees' is none this code knows"),
        ({"form": None}, "is none this code knows|not a saved model"),
    ],
)
def test_a_format_that_this_code_does_not_read_is_refused(copy: Path, change: dict, message: str) -> None:
    about = json.loads((copy / "model.json").read_text("utf-8"))
    (copy / "model.json").write_text(json.dumps({**about, **change}), "utf-8")
    with pytest.raises(ModelFilesError, match=message):
        load(copy)


def test_every_entry_of_the_description_is_needed(copy: Path) -> None:
    about = json.loads((copy / "model.json").read_text("utf-8"))
    for name in about:
        rest = {key: value for key, value in about.items() if key != name}
        (copy / "model.json").write_text(json.dumps(rest), "utf-8")
        assert refused(copy), name


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_a_description_that_is_none_is_refused(copy: Path, text: str) -> None:
    (copy / "model.json").write_text(text, "utf-8")
    with pytest.raises(ModelFilesError):
        load(copy)
