"""The steps that Redis does for the lists kept of a user, each whole: none that was made before an act comes back.

The hash `user:{id}:feeds` holds, beside the lists, a mark. Who acts puts a new one in the place of everything, and a
list is taken in only under the mark that was there before it was made: one on its way from any replica comes too late.
"""

from secrets import token_hex
from typing import Final

MARK: Final = "acted"
MARK_S: Final = 60
"""Longer than any list is being made. An older mark is that of nobody."""


def name_of(user_id: str) -> str:
    return f"user:{user_id}:feeds"


def new_mark() -> str:
    return token_hex(8)


# KEYS: users' hashes. ARGV: the new mark.
DROP: Final = f"""
for i = 1, #KEYS do
    redis.call('DEL', KEYS[i])
    redis.call('HSET', KEYS[i], '{MARK}', ARGV[1])
    redis.call('EXPIRE', KEYS[i], {MARK_S})
end
return 1
"""

# ARGV: the mark that was read, the list's key and the list, seconds. 0: the user acted since.
KEEP: Final = f"""
if (redis.call('HGET', KEYS[1], '{MARK}') or '') ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
