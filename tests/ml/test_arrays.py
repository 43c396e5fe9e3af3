"""What `np.savez` wrote comes back as it was, and nothing else comes back at all."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ml.arrays import read_arrays

FILE = "arrays.npz"
kinds = st.sampled_from([np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.int32), np.dtype("<U7")])
shapes = array_shapes(max_dims=2, min_side=0, max_side=5)
names = st.text("abcxyz_.", min_size=1, max_size=8)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, kinds.flatmap(lambda kind: arrays(kind, shapes)), max_size=4), st.booleans())
def test_arrays_come_back_as_they_were(tmp_path: Path, written: dict[str, np.ndarray], turned: bool) -> None:
    if turned:
        written = {name: np.asfortranarray(array) for name, array in written.items()}
    np.savez(tmp_path / FILE, **written)  # type: ignore[arg-type]
    found = read_arrays(tmp_path / FILE)
    assert found.keys() == written.keys()
    for name, array in written.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(("cut", "said"), [("first", "first is not as long"), ("last", "last: ")])
def test_an_array_shorter_than_it_says_is_an_error_that_names_it(tmp_path: Path, cut: str, said: str) -> None:
    """Though the zip is whole: what follows must not be taken for its numbers."""
    np.savez(tmp_path / FILE, first=np.arange(1000), last=np.arange(1000))
    whole = zipfile.ZipFile(tmp_path / FILE)
    with zipfile.ZipFile(tmp_path / "cut.npz", "w") as torn:
        for name in ("first", "last"):
            content = whole.read(f"{name}.npy")
            torn.writestr(f"{name}.npy", content[:200] if name == cut else content)
    with pytest.raises(ValueError, match=rf"cut\.npz: {said}"):
        read_arrays(tmp_path / "cut.npz")


def test_a_torn_zip_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / FILE, first=np.arange(1000))
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:-30])
    with pytest.raises(zipfile.BadZipFile):
        read_arrays(tmp_path / FILE)


def test_a_member_that_does_not_begin_where_the_file_says_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / FILE, first=np.arange(10))
    content = bytearray((tmp_path / FILE).read_bytes())
    offset = content.index(b"PK\x01\x02") + 42  # in the central directory
    for wrong in (7, len(content) - 3, len(content) + 1000):
        content[offset : offset + 4] = wrong.to_bytes(4, "little")
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(zipfile.BadZipFile, match=r"first\.npy does not begin where"):
            read_arrays(tmp_path / FILE)


def test_pickles_compressed_arrays_and_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", objects=np.array([{}, None]))
    np.savez_compressed(tmp_path / "small.npz", first=np.arange(1000))
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as other:
        other.writestr("readme.txt", "no array")
    for name, said in (
        ("objects", "objects.npz: objects: "),
        ("small", "first.npy is no array"),
        ("other", "readme.txt is no array"),
    ):
        with pytest.raises(ValueError, match=said):
            read_arrays(tmp_path / f"{name}.npz")
