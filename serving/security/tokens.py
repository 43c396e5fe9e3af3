"""JSON Web Tokens: who a user is, by the signature of whoever signs our users in (RFC 7519, 6750, 8725).

Only the configured algorithm is taken, whatever a token's header says. A token that was verified is remembered by its
hash until it expires: an RSA signature costs ten times what all the rest of a request's security does.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import HMACAlgorithm

from serving.security.principal import Kind, Principal, roles_of
from serving.security.refusal import SecurityConfigurationError
from stack.settings import Settings

LEEWAY_S = 30.0
"""How far the clocks of the issuer and ours may be apart."""

MAX_BYTES = 8192
REMEMBERED = 20_000
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f]{1,128}")  # an id of a user, as in serving.schemas
_SMALLEST_RSA_BITS = 2048
_HS256_BYTES = 32

# What reading a hostile token can raise: pyjwt's own errors, and what json, base64 and int let through.
_BAD = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class TokenError(Exception):
    """The token proves nothing. `expired`: it once did, and the client should fetch a new one."""

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


class Tokens:
    """Verifies tokens of one issuer by one key."""

    def __init__(
        self,
        key: str | RSAPublicKey,
        algorithm: str,
        audience: str,
        issuer: str | None = None,
        *,
        leeway_s: float = LEEWAY_S,
        clock: Callable[[], float] = time.time,
        remembered: int = REMEMBERED,
    ) -> None:
        self._key = key
        self._algorithm = algorithm
        self._audience = audience
        self._issuer = issuer
        self._leeway_s = leeway_s
        self._clock = clock
        self._most = remembered
        signed = _HS256_BYTES if isinstance(key, str) else (key.key_size + 7) // 8
        self._form = re.compile(rb"[\w-]+\.[\w-]+\.[\w-]{%d}" % ((signed * 4 + 2) // 3))
        self._known: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    def remembered(self, token: bytes) -> Principal | None:
        """Who a token seen before stands for, while it is valid."""
        digest = _digest(token)
        known = self._known.get(digest)
        if known is None:
            return None
        if self._clock() >= known[1]:
            del self._known[digest]
            return None
        self._known.move_to_end(digest)
        return known[0]

    def verify(self, token: bytes) -> Principal:
        """Who a token stands for. Raises `TokenError`."""
        if len(token) > MAX_BYTES:
            raise TokenError(f"longer than {MAX_BYTES} bytes")
        if not self._form.fullmatch(token):  # a fiftieth of what looking at a signature costs
            raise TokenError("not the form of a token of ours")
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_s,
                options={"require": ["exp", "sub", "aud"]},
            )
            expires = int(claims["exp"]) + self._leeway_s
            subject = claims["sub"]
            subject.encode()  # a lone surrogate has no bytes
        except jwt.ExpiredSignatureError as error:
            raise TokenError("expired", expired=True) from error
        except _BAD as error:
            raise TokenError(type(error).__name__) from error
        if not _SUBJECT.fullmatch(subject):
            raise TokenError("the subject is no id of a user")
        names = claims["roles"] if "roles" in claims else claims.get("scope")
        principal = Principal(subject, Kind.USER, roles_of(names), f"user:{subject}")
        self._known[_digest(token)] = (principal, expires)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return principal


def _digest(token: bytes) -> bytes:
    return blake2b(token, digest_size=16).digest()


def tokens_of(settings: Settings) -> Tokens | None:
    """The verifier that the settings describe; None without a key. Raises `SecurityConfigurationError`."""
    key: str | RSAPublicKey
    if settings.jwt_algorithm == "HS256":
        if settings.jwt_secret is None:
            return None
        key = settings.jwt_secret.get_secret_value()
        try:
            HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(key)
        except jwt.InvalidKeyError as error:
            raise SecurityConfigurationError(f"REELGRAPH_JWT_SECRET: {error}") from error
    else:
        if settings.jwt_public_key_file is None:
            return None
        key = _public_key(settings.jwt_public_key_file)
    return Tokens(key, settings.jwt_algorithm, settings.jwt_audience, settings.jwt_issuer)


def _public_key(path: Path) -> RSAPublicKey:
    must = f"must be a PEM file with an RSA public key of {_SMALLEST_RSA_BITS} bits or more"
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SecurityConfigurationError(
            f"REELGRAPH_JWT_PUBLIC_KEY_FILE: {must} ({type(error).__name__})"
        ) from error
    if not isinstance(key, RSAPublicKey) or key.key_size < _SMALLEST_RSA_BITS:
        raise SecurityConfigurationError(f"REELGRAPH_JWT_PUBLIC_KEY_FILE: {must}")
    return key
