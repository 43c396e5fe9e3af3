"""Erasing a user from what the endpoint has on disk."""

import json
from pathlib import Path

from ingestion.erasure.book import User
from ingestion.erasure.receipt import State
from ingestion.erasure.spooled import Spooled
from stack.settings import Settings

ANN = User("ann", "hash")


def line(user_id: str, video_id: str = "v") -> bytes:
    return json.dumps({"user_id": user_id, "video_id": video_id}, separators=(",", ":")).encode() + b"\n"


def spool(tmp_path: Path, **files: bytes) -> Spooled:
    settings = Settings(_env_file=None, home=tmp_path)  # type: ignore[call-arg]
    for name, content in files.items():
        folder, _, rest = name.partition("__")
        path = settings.spool_dir / "events" / folder / rest.replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Spooled(settings)


def test_without_a_spool_there_is_nothing(tmp_path):
    place = spool(tmp_path)
    assert place.erase(ANN) == 0
    assert place.look(ANN).state is State.GONE


def test_lines_that_wait_are_left_to_be_refused(tmp_path):
    place = spool(tmp_path, one__a_jsonl=line("ann") + line("bob"), one__b_open=line("ann"), one__lock=b"")
    assert place.erase(ANN) == 0
    entry = place.look(ANN)
    assert (entry.state, entry.left) == (State.PENDING, 2)


def test_lines_set_aside_are_removed_and_those_of_others_are_not(tmp_path):
    mixed = line("ann") + line("bob", video_id="ann") + b'{"user_id":"annie"}\n'
    place = spool(tmp_path, refused__a_jsonl=mixed, torn__b_1=b'{"event_id":"1","user_id":"ann","vid')
    assert (place.look(ANN).state, place.look(ANN).left) == (State.HELD, 2)
    assert place.erase(ANN) == 2
    assert place.look(ANN).state is State.GONE
    [left] = [path for path in place.settings.spool_dir.rglob("*") if path.is_file()]
    assert left.read_bytes() == line("bob", video_id="ann") + b'{"user_id":"annie"}\n'
