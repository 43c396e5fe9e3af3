"""Who asks: a user by a token, a service by an API key, anybody on a public route, or the development switch."""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Role(StrEnum):
    """`admin` may all; the others only what the policy gives them (`serving.security.policy`)."""

    CLIENT = "client"
    TRAINER = "trainer"
    ADMIN = "admin"


class Kind(Enum):
    USER = "user"
    SERVICE = "service"
    ANONYMOUS = "anonymous"
    DEVELOPMENT = "development"


@dataclass(frozen=True, slots=True)
class Principal:
    """`name`: the user's id, or the name of the API key. `counted_as`: whose rate limit the request takes from; two
    principals never share one."""

    name: str
    kind: Kind
    roles: frozenset[Role]
    counted_as: str

    @property
    def is_admin(self) -> bool:
        return Role.ADMIN in self.roles

    def acts_for(self, user_id: str) -> bool:
        """A user's token is good for that user alone; services and admins ask for anybody."""
        if self.kind is Kind.USER and Role.ADMIN not in self.roles:
            return self.name == user_id
        return self.kind is not Kind.ANONYMOUS


ANONYMOUS = Principal("", Kind.ANONYMOUS, frozenset(), "")
"""Whoever calls a public route; no credential was looked at."""

DEVELOPER = Principal("development", Kind.DEVELOPMENT, frozenset({Role.ADMIN}), "")
"""Everybody, while the development switch is on."""


def roles_of(names: object) -> frozenset[Role]:
    """The known roles among `names`: a list of texts, or one text with spaces between (RFC 8693's `scope`).
    What is not a role of ours is another service's business, and gives nothing."""
    if isinstance(names, str):
        names = names.split()
    if not isinstance(names, list):
        return frozenset()
    return frozenset(Role(name) for name in names if isinstance(name, str) and name in _NAMES)


_NAMES = frozenset(role.value for role in Role)
