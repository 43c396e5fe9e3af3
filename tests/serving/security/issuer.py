"""Whoever signs our users in, for tests: keys of both kinds, and tokens with any one thing wrong."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER, AUDIENCE = "https://accounts.example", "reelgraph"
SECRET = "a secret of thirty-two bytes or so"


@cache
def _made(name: str, bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def private_key(name: str = "ours", bits: int = 2048) -> rsa.RSAPrivateKey:
    """The same one each time it is asked for by its name."""
    return _made(name, bits)


def public_pem(name: str = "ours", bits: int = 2048) -> bytes:
    public = private_key(name, bits).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(name: str = "ours") -> bytes:
    return private_key(name).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def claims_of(user: str = "ann", roles: Any = ("client",), **changes: Any) -> dict[str, Any]:
    """Good claims for an hour; a change to None takes the claim out."""
    claims = {
        "sub": user,
        "roles": list(roles) if isinstance(roles, tuple) else roles,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": int(time.time()) + 3600,
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def rs256(claims: dict[str, Any], key: str = "ours", **headers: Any) -> str:
    return jwt.encode(claims, private_key(key), algorithm="RS256", headers=headers or None)


def hs256(claims: dict[str, Any], secret: str = SECRET) -> str:
    return jwt.encode(claims, secret, algorithm="HS256")


def part(content: Any) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def hs256_by_public_key(claims: dict[str, Any]) -> str:
    """The classic confusion: the public key, which everybody has, taken for an HMAC secret."""
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}"
    return f"{signed}.{part(hmac.digest(public_pem(), signed.encode(), hashlib.sha256))}"


def tampered(token: str, **changes: Any) -> str:
    """Other claims under the signature of the first."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{header}.{part({**claims, **changes})}.{signature}"


def unsigned(claims: dict[str, Any], algorithm: str = "none") -> str:
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims)}."


@dataclass
class Defects:
    """Every way in which a token can be bad, by name; `admin` claims, so that nothing but the token is at fault."""

    user: str = "ann"
    made: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        now, day = int(time.time()), 86_400  # they are made when tests are collected, and used much later

        def good(**changes: Any) -> dict[str, Any]:
            return claims_of(self.user, ("admin",), **{"exp": now + 2 * day, **changes})

        self.made = {
            "expired": rs256(good(exp=now - 60)),
            "not yet valid": rs256(good(nbf=now + day)),
            "issued in the future": rs256(good(iat=now + day)),
            "wrong audience": rs256(good(aud="another")),
            "no audience": rs256(good(aud=None)),
            "wrong issuer": rs256(good(iss="https://evil.example")),
            "no issuer": rs256(good(iss=None)),
            "wrong key": rs256(good(), key="theirs"),
            "alg none": unsigned(good()),
            "alg None": unsigned(good(), "None"),
            "HS256 by the public key": hs256_by_public_key(good()),
            "HS256": hs256(good()),
            "RS512": jwt.encode(good(), private_key(), algorithm="RS512"),
            "tampered payload": tampered(rs256(claims_of(self.user)), roles=["admin"]),
            "no expiry": rs256(good(exp=None)),
            "expiry that is no number": rs256(good(exp="soon")),
            "no subject": rs256(good(sub=None)),
            "empty subject": rs256(good(sub="")),
            "subject with a line end": rs256(good(sub="ann\nbob")),
            "no signature": rs256(good()).rsplit(".", 1)[0] + ".",
            "two parts": rs256(good()).rsplit(".", 1)[0],
            "garbage": "garbage",
            "dots": "..",
            "empty": "",
            "nested header": f"{part(b'[' * 4000)}.{part(good())}.x",
            "critical extension": rs256(good(), crit=["unknown"], unknown=1),
            "oversized": rs256(good(more="x" * 9000)),
        }


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
