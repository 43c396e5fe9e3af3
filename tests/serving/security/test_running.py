"""The endpoint as it runs, closed and over TLS: its probe, keys made while it serves, our own callers."""

import datetime
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from serving.security.api_keys import create_key, keys_file, read_keys, revoke_key
from serving.security.own_key import KeyNotTakenError, own_key
from serving.security.principal import Role
from stack.endpoint_trust import endpoint_trust
from stack.services import declared_services
from stack.settings import PROJECT_ROOT, Settings, child_environment
from tests.serving.conftest import free_port, stop, wait_for
from tests.serving.security.issuer import ISSUER, claims_of, private_key, public_pem, rs256, write

FEED = "/api/v1/recommendations/feed"


def certificate(folder: Path, signer: str = "tls") -> tuple[Path, Path]:
    """Signed by itself, and named as clients know the endpoint: not by the address where we reach it."""
    key = private_key(signer)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "reelgraph test")])
    now = datetime.datetime.now(datetime.UTC)
    known_as = x509.SubjectAlternativeName([x509.DNSName("feed.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(known_as, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return (
        write(folder / "tls.crt", made.public_bytes(serialization.Encoding.PEM)),
        write(folder / "tls.key", private),
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, redis: Settings) -> Iterator[Settings]:
    """The declared service, with the command and the probe that `reelgraph up` would use."""
    home = tmp_path_factory.mktemp("closed endpoint")
    tls_certificate, tls_key = certificate(home)
    settings = redis.model_copy(
        update={
            "home": home,
            "endpoint_port": free_port(),
            "development": False,
            "jwt_public_key_file": write(home / "jwt.pem", public_pem()),
            "jwt_issuer": ISSUER,
            "tls_certificate_file": tls_certificate,
            "tls_key_file": tls_key,
        }
    )
    (service,) = [each for each in declared_services(settings) if each.name == "endpoint"]
    log = home / "endpoint.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            service.command,
            cwd=PROJECT_ROOT,
            env={**child_environment(settings), **service.environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        try:
            wait_for(lambda: service.probe.check() is None, "the endpoint")
        except TimeoutError:
            pytest.fail(log.read_text()[-4000:])
        yield settings
    finally:
        stop(process)


@pytest.fixture
def client(running: Settings) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.endpoint_url, verify=endpoint_trust(running), timeout=10) as made:
        yield made


def test_it_speaks_https_says_hsts_and_lets_nobody_in(running: Settings, client: httpx.Client) -> None:
    assert running.endpoint_url.startswith("https://")
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"].startswith("max-age=63072000")
    assert client.get(FEED, params={"user_id": "ann"}).status_code == 401
    assert client.get("/metrics").status_code == 401
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{running.endpoint_port}/health", timeout=5)


def test_our_own_programs_trust_its_certificate_and_no_other(running: Settings, tmp_path: Path) -> None:
    other, _ = certificate(tmp_path, "another")
    for settings in (
        running.model_copy(update={"tls_certificate_file": other}),
        running.model_copy(update={"endpoint_url_override": running.endpoint_url}),
    ):
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{settings.endpoint_url}/health", verify=endpoint_trust(settings), timeout=5)


def test_a_token_opens_its_users_feed_and_no_other(client: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {rs256(claims_of('ann'))}"}
    # No bundle is published: 503 says that the request got as far as the feed.
    assert client.get(FEED, params={"user_id": "ann"}, headers=headers).status_code == 503
    assert client.get(FEED, params={"user_id": "bob"}, headers=headers).status_code == 403


def test_keys_are_in_force_and_out_of_it_within_a_second(running: Settings, client: httpx.Client) -> None:
    _, text = create_key(keys_file(running), "web", [Role.CLIENT])
    headers = {"X-API-Key": text}

    def status() -> int:
        return client.get(FEED, params={"user_id": "ann"}, headers=headers).status_code

    began = time.monotonic()
    wait_for(lambda: status() == 503, "the key", timeout=5)
    assert time.monotonic() - began < 2  # one, and one more for a busy machine
    revoke_key(keys_file(running), "web")
    wait_for(lambda: status() == 401, "the revocation", timeout=5)


def test_our_own_programs_bring_a_key_for_the_moment(running: Settings, client: httpx.Client) -> None:
    with own_key(running, client):
        assert client.get(FEED, params={"user_id": "ann"}).status_code == 503
        assert [key.name for key in read_keys(keys_file(running)) if key.name.startswith("own-")]
    assert "X-API-Key" not in client.headers
    assert [key.name for key in read_keys(keys_file(running)) if key.name.startswith("own-")] == []


def test_an_endpoint_of_another_home_is_named(
    running: Settings, client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.security.own_key.TAKEN_UP_S", 0.5)
    elsewhere = running.model_copy(update={"home": tmp_path})
    with pytest.raises(KeyNotTakenError, match="REELGRAPH_API_KEYS_FILE"), own_key(elsewhere, client):
        pass
    assert read_keys(keys_file(elsewhere)) == []


def test_a_key_file_that_is_no_key_keeps_the_endpoint_from_starting(
    running: Settings, tmp_path: Path
) -> None:
    bad = running.model_copy(
        update={
            "home": tmp_path,
            "endpoint_port": free_port(),
            "jwt_public_key_file": write(tmp_path / "jwt.pem", b"nonsense"),
        }
    )
    code = (
        "import asyncio\n"
        "from serving.api.state import State\n"
        "from serving.assembly import assemble\n"
        "from stack.settings import get_settings\n"
        "asyncio.run(assemble(get_settings(), State()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        env=child_environment(bad),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "REELGRAPH_JWT_PUBLIC_KEY_FILE: must be a PEM file with an RSA public key" in done.stderr
