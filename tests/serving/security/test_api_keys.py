"""API keys: shown once, kept as hashes, in force within a second, and a broken file changes nothing."""

import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.security.api_keys import (
    ApiKeysFileError,
    KeyNameError,
    create_key,
    forget_key,
    hash_of,
    keys_file,
    read_keys,
    revoke_key,
)
from serving.security.key_ring import KeyRing
from serving.security.principal import Kind, Role
from serving.telemetry.redaction import Redaction


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made on demand" / "api_keys.json"


def ring_of(path: Path, **options: object) -> KeyRing:
    ring = KeyRing(path, **options)  # type: ignore[arg-type]
    ring.refresh()
    return ring


def test_a_key_is_found_by_its_text_alone(path: Path) -> None:
    key, text = create_key(path, "web", [Role.CLIENT])
    create_key(path, "batch", [Role.CLIENT, Role.TRAINER])
    principal = ring_of(path).find(text)
    assert principal is not None
    assert (principal.name, principal.kind, principal.roles) == ("web", Kind.SERVICE, {Role.CLIENT})
    assert principal.counted_as == f"key:{key.id}"


def test_the_file_holds_no_secret_and_is_its_owners_alone(path: Path) -> None:
    key, text = create_key(path, "web", [Role.CLIENT])
    secret = text.split("_", 2)[2]
    assert len(secret) == 43  # 256 bits in base64
    content = path.read_text()
    assert secret not in content
    assert json.loads(content)["keys"][0]["sha256"] == hash_of(secret) == key.sha256
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    revoke_key(path, "web")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir() if each.suffix != ".lock"] == ["api_keys.json"]


def test_a_log_line_shows_whose_key_it_was_and_no_more(path: Path) -> None:
    key, text = create_key(path, "web", [Role.CLIENT])
    assert Redaction()(f"met {text} there") == f"met rgk_{key.id}_*** there"


def test_a_key_ends_when_it_expires(path: Path) -> None:
    _, text = create_key(path, "web", [Role.CLIENT], timedelta(days=1))
    now = time.time()
    ring = ring_of(path, clock=lambda: now)
    assert ring.find(text) is not None
    now += 86_401
    assert ring.find(text) is None


def test_a_revoked_key_stays_on_the_list_and_its_name_is_free_again(path: Path) -> None:
    _, text = create_key(path, "web", [Role.CLIENT])
    with pytest.raises(KeyNameError, match="there is a key named web"):
        create_key(path, "web", [Role.CLIENT])
    revoke_key(path, "web")
    assert ring_of(path).find(text) is None
    _, newer = create_key(path, "web", [Role.CLIENT])
    assert ring_of(path).find(newer) is not None
    assert [(key.name, key.good_at(datetime.now(UTC))) for key in read_keys(path)] == [
        ("web", False),
        ("web", True),
    ]
    with pytest.raises(KeyNameError, match="no key named other is in force"):
        revoke_key(path, "other")


def test_a_key_for_a_moment_leaves_nothing(path: Path) -> None:
    key, _ = create_key(path, "own", [Role.CLIENT])
    forget_key(path, key.id)
    assert read_keys(path) == []


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 65, "a\n"])
def test_a_name_is_a_plain_word(path: Path, name: str) -> None:
    with pytest.raises(ValidationError):
        create_key(path, name, [Role.CLIENT])
    assert not path.exists()


def test_a_key_without_a_role_is_none(path: Path) -> None:
    with pytest.raises(ValidationError):
        create_key(path, "web", [])


def test_writers_take_turns(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: create_key(path, f"k{i}", [Role.CLIENT]), range(24)))
    assert {key.name for key in read_keys(path)} == {f"k{i}" for i in range(24)}


def test_the_ring_takes_up_new_and_revoked_keys(path: Path) -> None:
    ring = ring_of(path)
    assert len(ring) == 0
    _, text = create_key(path, "web", [Role.CLIENT])
    assert ring.find(text) is None
    ring.refresh()
    assert ring.find(text) is not None
    revoke_key(path, "web")
    ring.refresh()
    assert ring.find(text) is None


def test_a_broken_file_leaves_the_last_good_one_and_says_so_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, text = create_key(path, "web", [Role.CLIENT])
    ring = ring_of(path)
    good = path.read_bytes()
    for broken in (good[:-20], b"[]", b'{"version": 2, "keys": []}', good.replace(b'"client"', b'"king"')):
        caplog.clear()
        path.write_bytes(broken)
        ring.refresh()
        ring.refresh()
        assert ring.find(text) is not None
        assert ring.trouble
        assert "api_keys.json is no file of keys" in ring.trouble
        assert key_hash(good) not in ring.trouble
        assert len([r for r in caplog.records if r.levelname == "ERROR"]) <= 1
        with pytest.raises(ApiKeysFileError):
            create_key(path, "other", [Role.CLIENT])  # and nobody's keys are overwritten
        assert path.read_bytes() == broken
    path.write_bytes(good)
    ring.refresh()
    assert ring.trouble is None


def key_hash(content: bytes) -> str:
    return str(json.loads(content)["keys"][0]["sha256"])


def test_a_deleted_file_ends_all_keys(path: Path) -> None:
    _, text = create_key(path, "web", [Role.CLIENT])
    ring = ring_of(path)
    path.unlink()
    ring.refresh()
    assert ring.find(text) is None


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_other_text_is_a_key(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    assert _ring(tmp_path_factory).find(text) is None


def test_nothing_but_the_whole_key_will_do(path: Path) -> None:
    key, text = create_key(path, "web", [Role.CLIENT])
    ring = ring_of(path)
    _, other = create_key(path, "other", [Role.CLIENT])
    mixed = f"rgk_{key.id}_{other.split('_', 2)[2]}"
    for wrong in (text[:-1], text + "A", text.upper(), text.replace("rgk", "rgx"), mixed, key.sha256):
        assert ring.find(wrong) is None
    assert ring.find(f"rgk_{key.id}_{key.sha256}") is None


_RINGS: list[KeyRing] = []


def _ring(factory: pytest.TempPathFactory) -> KeyRing:
    if not _RINGS:
        path = factory.mktemp("keys") / "api_keys.json"
        create_key(path, "web", [Role.CLIENT])
        _RINGS.append(ring_of(path))
    return _RINGS[0]


def test_the_file_is_in_the_home_unless_the_settings_say(home, tmp_path: Path) -> None:
    assert keys_file(home) == home.home / "api_keys.json"
    assert keys_file(home.model_copy(update={"api_keys_file": tmp_path / "k"})) == tmp_path / "k"
