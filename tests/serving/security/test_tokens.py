"""Tokens: the good ones name their user and roles, everything else is refused, and none outlives its expiry."""

import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.security.principal import Kind, Role
from serving.security.refusal import SecurityConfigurationError
from serving.security.tokens import MAX_BYTES, TokenError, Tokens, tokens_of
from tests.serving.security.issuer import (
    AUDIENCE,
    ISSUER,
    SECRET,
    Defects,
    claims_of,
    hs256,
    private_key,
    private_pem,
    public_pem,
    rs256,
    write,
)

DEFECTS = Defects().made
ED25519_PEM = (
    Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)


def verifier(**options: Any) -> Tokens:
    return Tokens(private_key().public_key(), "RS256", AUDIENCE, ISSUER, **options)


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        ({"roles": ["client"]}, {Role.CLIENT}),
        ({"roles": ["client", "trainer", "janitor", 7]}, {Role.CLIENT, Role.TRAINER}),
        ({"roles": "admin client"}, {Role.ADMIN, Role.CLIENT}),
        ({"roles": None, "scope": "openid trainer"}, {Role.TRAINER}),
        ({"roles": [], "scope": "admin"}, set()),  # an empty list is an answer
        ({"roles": None}, set()),
        ({"roles": {"admin": True}}, set()),
        ({"roles": "administrator ADMIN"}, set()),
    ],
)
def test_a_good_token_names_its_user_and_roles(claims: dict[str, Any], roles: set[Role]) -> None:
    principal = verifier().verify(rs256(claims_of("zoë", **claims)).encode())
    assert (principal.name, principal.kind, principal.roles) == ("zoë", Kind.USER, roles)


def test_the_audience_may_be_one_of_several_and_the_issuer_unchecked() -> None:
    token = rs256(claims_of(aud=["other", AUDIENCE], iss="https://anybody.example")).encode()
    tokens = Tokens(private_key().public_key(), "RS256", AUDIENCE, None)
    assert tokens.verify(token).name == "ann"
    with pytest.raises(TokenError):
        verifier().verify(token)


def test_hs256_takes_only_its_own_secret_and_algorithm() -> None:
    tokens = Tokens(SECRET, "HS256", AUDIENCE, ISSUER)
    assert tokens.verify(hs256(claims_of()).encode()).name == "ann"
    for bad in (hs256(claims_of(), "another secret of thirty-two bytes"), rs256(claims_of())):
        with pytest.raises(TokenError):
            tokens.verify(bad.encode())


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_refused_and_not_remembered(defect: str) -> None:
    tokens = verifier()
    token = DEFECTS[defect].encode()
    with pytest.raises(TokenError) as caught:
        tokens.verify(token)
    assert caught.value.expired == (defect == "expired")
    assert tokens.remembered(token) is None


def test_the_leeway_is_thirty_seconds() -> None:
    now = time.time()
    for changes in ({"exp": now - 25}, {"nbf": now + 25}, {"iat": now + 25}):
        assert verifier().verify(rs256(claims_of(**changes)).encode()).name == "ann"
    for changes in ({"exp": now - 31}, {"nbf": now + 35}):
        with pytest.raises(TokenError):
            verifier().verify(rs256(claims_of(**changes)).encode())


def test_a_remembered_token_expires_all_the_same() -> None:
    now = time.time()
    tokens = verifier(clock=lambda: now)
    token = rs256(claims_of(exp=int(now) + 100)).encode()
    assert tokens.remembered(token) is None
    principal = tokens.verify(token)
    assert tokens.remembered(token) is principal
    now += 129
    assert tokens.remembered(token) is principal
    now += 2  # 30 s of leeway after the 100
    assert tokens.remembered(token) is None


def test_a_token_that_expires_while_in_use_is_refused_then() -> None:
    tokens = verifier(leeway_s=0)
    token = rs256(claims_of(exp=int(time.time()) + 2)).encode()
    tokens.verify(token)
    assert tokens.remembered(token) is not None
    time.sleep(2.05)
    assert tokens.remembered(token) is None
    with pytest.raises(TokenError, match="expired"):
        tokens.verify(token)


def test_memory_is_bounded_and_forgets_the_least_used() -> None:
    tokens = verifier(remembered=2)
    first, second, third = (rs256(claims_of(user)).encode() for user in ("a", "b", "c"))
    tokens.verify(first)
    tokens.verify(second)
    tokens.remembered(first)
    tokens.verify(third)
    assert tokens.remembered(second) is None
    assert [tokens.remembered(token).name for token in (first, third)] == ["a", "c"]  # type: ignore[union-attr]


def test_a_token_one_byte_different_is_another_token() -> None:
    tokens = verifier()
    token = rs256(claims_of()).encode()
    tokens.verify(token)
    assert tokens.remembered(token + b"A") is None
    assert tokens.remembered(token[:-1]) is None


@given(st.one_of(st.binary(max_size=300), st.text("abcdefeyJ.-_=0", max_size=300).map(str.encode)))
@settings(max_examples=300, deadline=None)
def test_no_garbage_passes_or_breaks_it(token: bytes) -> None:
    with pytest.raises(TokenError):
        verifier().verify(token)


def test_a_token_that_is_too_long_is_not_even_read() -> None:
    with pytest.raises(TokenError, match=f"longer than {MAX_BYTES} bytes"):
        verifier().verify(b"x" * (MAX_BYTES + 1))


def test_without_a_key_there_is_no_verifier(home: Any) -> None:
    assert tokens_of(home) is None
    assert tokens_of(home.model_copy(update={"jwt_algorithm": "HS256"})) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        private_pem(),
        public_pem("small", 1024),
        ED25519_PEM,
    ],
    ids=["empty", "nonsense", "a private key", "a short key", "an Ed25519 key"],
)
def test_a_key_file_that_cannot_check_is_named_at_start(closed: Any, content: bytes) -> None:
    write(closed.jwt_public_key_file, content)
    with pytest.raises(SecurityConfigurationError, match="REELGRAPH_JWT_PUBLIC_KEY_FILE: must be a PEM file"):
        tokens_of(closed)


def test_a_missing_key_file_is_named_at_start(closed: Any) -> None:
    closed.jwt_public_key_file.unlink()
    with pytest.raises(SecurityConfigurationError, match="REELGRAPH_JWT_PUBLIC_KEY_FILE"):
        tokens_of(closed)


def test_a_public_key_is_no_secret(home: Any) -> None:
    from pydantic import SecretStr

    changes = {"jwt_algorithm": "HS256", "jwt_secret": SecretStr(public_pem().decode())}
    with pytest.raises(SecurityConfigurationError, match="REELGRAPH_JWT_SECRET"):
        tokens_of(home.model_copy(update=changes))


@pytest.mark.parametrize(
    "token",
    [
        b"garbage",
        b"..",
        b"x.y.z",
        b"x.y." + b"z" * 341,
        b"x.y." + b"z" * 343,
        b"x.y!." + b"z" * 342,
        b"x.y.z" * 1600,
    ],
)
def test_what_has_not_the_form_of_a_token_costs_no_look_at_a_signature(token: bytes, monkeypatch) -> None:
    monkeypatch.setattr("serving.security.tokens.jwt.decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(TokenError):
        verifier().verify(token)
