"""An upload is the same however its bytes are cut into pieces, and its hash says what it is."""

import asyncio
import errno
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from fastapi import Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.peertube.errors import NoRoomError, UploadRefusedError
from serving.peertube.fields import VideoFields, check_kind, fields_of
from serving.peertube.incoming import LEFTOVER_AGE_S, Incoming, received, sweep

HEAD = b"\x00\x00\x00\x18ftypmp42"


def body_of(file: bytes, *, file_first: bool = False) -> bytes:
    parts = [
        b'Content-Disposition: form-data; name="title"\r\n\r\nA cat on a piano',
        b'Content-Disposition: form-data; name="creator_id"\r\n\r\n17',
    ]
    head = (
        b'Content-Disposition: form-data; name="file"; filename="../../x"\r\nContent-Type: video/mp4\r\n\r\n'
    )
    parts.insert(0 if file_first else 2, head + file)
    return b"".join(b"--cut\r\n" + part + b"\r\n" for part in parts) + b"--cut--\r\n"


def receive_in(pieces: list[bytes], folder: Path) -> tuple[Incoming, bytes]:
    """What is received, and the file's bytes while they are there."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    left = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(left)

    async def run() -> tuple[Incoming, bytes]:
        headers = [(b"content-type", b"multipart/form-data; boundary=cut")]
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        async with received(request, folder, 10_000) as incoming:
            return incoming, incoming.file.read_bytes()

    return asyncio.run(run())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rest=st.binary(max_size=400) | st.sampled_from([b"\r\n--cut", b"\r\n--cu", b"--cut--\r", b"\r\n\r\n"]),
    cuts=st.lists(st.integers(0, 700), max_size=12),
    file_first=st.booleans(),
)
def test_pieces_make_no_difference(tmp_path: Path, rest: bytes, cuts: list[int], file_first: bool) -> None:
    if b"\r\n--cut" in HEAD + rest:
        rest = rest.replace(b"\r\n--cut", b"")  # a client chooses a boundary that is not in its file
    body = body_of(HEAD + rest, file_first=file_first)
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in pairwise(places) if a < b]
    whole, _ = receive_in([body_of(HEAD + rest)], tmp_path)
    incoming, content = receive_in(pieces, tmp_path)
    assert content == HEAD + rest
    assert incoming.size == len(content)
    assert incoming.content_hash == whole.content_hash
    assert incoming.fields == VideoFields(title="A cat on a piano", creator_id="17")
    assert incoming.file.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=12) | st.sampled_from([*VideoFields.model_fields]), st.text(max_size=40))
    )
)
def test_any_fields_are_taken_within_peertubes_limits_or_refused_by_name(
    parts: list[tuple[str, str]],
) -> None:
    try:
        fields = fields_of(parts)
    except UploadRefusedError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert refused.status == 422
        assert refused.field
        return
    assert 3 <= len(fields.title) <= 120
    assert len(fields.tags) <= 5
    assert all(2 <= len(tag) <= 30 for tag in fields.tags)
    assert "\x00" not in fields.model_dump_json()


@pytest.mark.parametrize(
    ("media_type", "head", "fits"),
    [
        ("video/mp4", HEAD, True),
        ("video/quicktime", b"\x00\x00\x00\x14ftypqt  ", True),
        ("video/quicktime", b"\x00\x00\x00\x08wide\x00\x00\x00\x00", True),
        ("video/mp4", b"\x00\x00\x00\x08wide\x00\x00\x00\x00", False),
        ("video/webm", b"\x1a\x45\xdf\xa3........", True),
        ("video/x-matroska", b"\x1a\x45\xdf\xa3........", True),
        ("video/ogg", b"OggS........", True),
        ("video/x-msvideo", b"RIFF....AVI ", True),
        ("video/x-msvideo", b"RIFF....WAVE", False),
        ("video/mp4", b"<html>......", False),
        ("video/mp4", b"", False),
        ("text/html", b"<html>......", False),
    ],
)
def test_a_kind_is_told_by_its_first_bytes(media_type: str, head: bytes, fits: bool) -> None:
    if fits:
        check_kind(media_type, head)
        return
    with pytest.raises(UploadRefusedError) as caught:
        check_kind(media_type, head)
    assert (caught.value.status, caught.value.field) == (415, "file")


def test_what_a_killed_process_left_is_swept_and_an_upload_under_way_is_not(tmp_path: Path) -> None:
    old, new = tmp_path / "1-a.part", tmp_path / "2-b.part"
    for path in (old, new):
        path.write_bytes(HEAD)
    long_ago = time.time() - LEFTOVER_AGE_S - 60
    os.utime(old, (long_ago, long_ago))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [new]
    sweep(tmp_path / "not there")


def test_a_folder_that_cannot_be_made_is_no_fault_of_the_client(tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file where the folder should be")
    with pytest.raises(NoRoomError, match=r"^the upload cannot be stored now$"):
        receive_in([body_of(HEAD)], tmp_path / "uploads")


@pytest.mark.parametrize(
    "size", [10, 9_000]
)  # fits the file's buffer, and is written when it is closed; does not
def test_a_full_disk_is_no_fault_of_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def opened(path: Path) -> BinaryIO:
        return Path("/dev/full").open("wb")

    monkeypatch.setattr("serving.peertube.incoming._opened", opened)
    with pytest.raises(NoRoomError) as caught:
        receive_in([body_of(HEAD + bytes(size))], tmp_path)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC


def test_a_file_that_cannot_be_taken_away_does_not_undo_an_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", read_only)
    incoming, content = receive_in([body_of(HEAD)], tmp_path)
    assert (incoming.size, content) == (len(HEAD), HEAD)
