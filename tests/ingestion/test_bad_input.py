"""A data set that cannot be read says which file, line, column and value, before anything is written."""

import re
from pathlib import Path

import pytest

from ingestion.errors import SourceError
from ingestion.kuairand import KuaiRand

from .kuairand_folder import USERS, VIDEOS, log_row, log_text, write_folder

LOG = "log_standard_4_22_to_5_08_pure.csv"


def fault(folder: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        KuaiRand(folder).validate()
    return caught.value


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    error = fault(tmp_path / "nowhere")
    assert str(error) == f"{tmp_path / 'nowhere'}: no such folder"


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is not a folder" in str(fault(tmp_path / "file"))


@pytest.mark.parametrize("name", [LOG, "user_features_pure.csv", "video_features_basic_pure.csv"])
def test_a_file_that_is_lacking(tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path, [log_row()])
    (folder / "data" / name).unlink()
    expected = "log_standard_*_pure.csv" if name == LOG else name
    assert str(fault(folder)) == f"{folder / 'data' / expected}: no such file"


@pytest.mark.parametrize(
    ("name", "column"),
    [
        (LOG, "play_time_ms"),
        (LOG, "is_forward"),
        ("user_features_pure.csv", "register_days"),
        ("video_features_basic_pure.csv", "author_id"),
    ],
)
def test_a_column_that_is_lacking(tmp_path: Path, name: str, column: str) -> None:
    folder = write_folder(tmp_path, [log_row()])
    path = folder / "data" / name
    path.write_text(path.read_text().replace(column, "other", 1))
    assert str(fault(folder)) == f"{path}, line 1, column {column}: is missing"


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row()])
    path = folder / "data" / LOG
    path.write_text(path.read_text().replace("hourmin", "tab", 1))
    assert str(fault(folder)) == f"{path}, line 1, column tab: appears more than once"


@pytest.mark.parametrize(
    ("column", "value", "wanted"),
    [
        ("play_time_ms", "12x", "a whole number from 0 to 2147483647"),
        ("play_time_ms", "-1", "a whole number from 0 to 2147483647"),
        ("play_time_ms", "3000000000", "a whole number from 0 to 2147483647"),
        ("user_id", "", "a whole number from 0 to 9007199254740992"),
        ("user_id", "1.5", "a whole number from 0 to 9007199254740992"),
        ("time_ms", "1651000000", "a whole number from 946684800000 to 4102444799999"),
        ("is_like", "2", "a whole number from 0 to 1"),
        ("is_like", "true", "a whole number from 0 to 1"),
    ],
)
def test_a_value_that_cannot_be(tmp_path: Path, column: str, value: str, wanted: str) -> None:
    folder = write_folder(tmp_path, [log_row(), log_row(), log_row(**{column: value}), log_row()])
    error = fault(folder)
    path = folder / "data" / LOG
    assert str(error) == f"{path}, line 4, column {column}: must be {wanted}, got {value!r}"
    assert (error.path, error.line, error.column, error.value) == (path, 4, column, value)


def test_a_malformed_number_deep_in_a_big_log_is_named_by_its_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [])
    good, bad = (log_text([log_row(play_time_ms=value)]).splitlines(True)[1] for value in (61_002, "61O02"))
    with (folder / "data" / LOG).open("a") as log:
        log.write(good * 150_000 + bad + good * 78_328)
    error = fault(folder)
    assert (error.line, error.column, error.value) == (150_002, "play_time_ms", "61O02")


def test_blank_lines_and_quoted_line_breaks_do_not_shift_the_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row()], videos=VIDEOS + '\n9,1,"NOR\nMAL",,,,,,\nx,1,,,,,,,\n')
    error = fault(folder)
    assert (error.line, error.column, error.value) == (7, "video_id", "x")


def test_a_row_of_another_width(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row(), log_row()])
    path = folder / "data" / LOG
    path.write_text(path.read_text() + "1,2,3\n")
    assert str(fault(folder)) == f"{path}, line 4: has 3 columns, the header 19"


def test_a_file_cut_off_in_the_middle_of_a_row(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row(), log_row()])
    path = folder / "data" / LOG
    path.write_text(path.read_text()[:-20])
    assert re.search(r", line 3: has \d+ columns, the header 19", str(fault(folder)))


@pytest.mark.parametrize(
    ("users", "videos", "place"),
    [
        (USERS + "3,full_active,many\n", VIDEOS, ("user_features_pure.csv", 4, "register_days", "many")),
        (
            USERS,
            VIDEOS + "9,1,,10.04.2022,,,,,\n",
            ("video_features_basic_pure.csv", 4, "upload_dt", "10.04.2022"),
        ),
        (USERS, VIDEOS + "9,1,,,,,long,,\n", ("video_features_basic_pure.csv", 4, "video_duration", "long")),
        (USERS, VIDEOS + "9,1,,,,,-4,,\n", ("video_features_basic_pure.csv", 4, "video_duration", "-4")),
        (USERS + "1,full_active,5\n", VIDEOS, ("user_features_pure.csv", None, "user_id", "1")),
    ],
)
def test_a_bad_row_of_users_or_videos(
    tmp_path: Path, users: str, videos: str, place: tuple[str, int | None, str, str]
) -> None:
    error = fault(write_folder(tmp_path, [log_row()], users=users, videos=videos))
    assert (error.path.name, error.line, error.column, error.value) == place


def test_files_without_rows_or_without_anything(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [])
    assert str(fault(folder)) == f"{folder / 'data' / LOG}: has no rows"
    (folder / "data" / LOG).write_text("")
    assert str(fault(folder)) == f"{folder / 'data' / LOG}: is empty"
    (folder / "data" / LOG).write_text(log_text([log_row()]))
    (folder / "data" / "user_features_pure.csv").write_text(USERS.splitlines()[0] + "\n")
    assert "has no rows" in str(fault(folder))


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row()])
    path = folder / "data" / "video_features_basic_pure.csv"
    path.write_bytes(VIDEOS.encode() + b"9,1,\xff\xfe,,,,,,\n")
    error = fault(folder)
    assert (error.path, error.line, error.column) == (path, 4, "video_type")


def test_a_header_that_is_not_text(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, [log_row()])
    path = folder / "data" / LOG
    path.write_bytes(b"PK\x03\x04\xff\xfe")
    assert str(fault(folder)) == f"{path}, line 1: is not UTF-8 text"
