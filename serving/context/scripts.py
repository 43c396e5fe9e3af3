"""The two steps that Redis does for a session, each in one round trip (contract R2's keys).

Scripts, because `last_active` must not go back, which takes a read before the write; and because one string of JSON
costs Python a twentieth of parsing eighty replies.
"""

from typing import Final

from serving.context.change import SIGNALS
from serving.context.session import MET, RECENT_ITEMS
from serving.lists.feed_cache_scripts import MARK, MARK_S

SESSION_TTL_S: Final = 15 * 60
BLOCKED_TTL_S: Final = 30 * 24 * 3600
BLOCKED: Final = 1000
MET_TTL_S: Final = 3 * 24 * 3600
"""Longer than from one daily bundle to the next, so that what one lacks is here."""
CHANNEL: Final = "reelgraph:acted"

NAMES: Final = ("recent_items", "recent_categories", "last_active", "signals", "blocked", "feeds", "met")


def keys(user_id: str) -> list[str]:
    return [f"user:{user_id}:{name}" for name in NAMES]


READ: Final = f"""
return cjson.encode({{
    redis.call('LRANGE', KEYS[1], 0, {RECENT_ITEMS - 1}),
    redis.call('HGETALL', KEYS[2]),
    redis.call('LRANGE', KEYS[4], 0, {SIGNALS - 1}),
    redis.call('SMEMBERS', KEYS[5]),
    redis.call('LRANGE', KEYS[7], 0, {MET - 1})
}})
"""

# ARGV: the change as JSON [met, categories, last_active_ms as text, signals, reported], the message that tells the
# replicas who acted, and a new mark: the lists kept of the user go in the same step, none made before outlives the act.
WRITE: Final = f"""
local change = cjson.decode(ARGV[1])
for i = math.min(#change[1], {RECENT_ITEMS}), 1, -1 do
    redis.call('LREM', KEYS[1], 0, change[1][i])
    redis.call('LPUSH', KEYS[1], change[1][i])
end
redis.call('LTRIM', KEYS[1], 0, {RECENT_ITEMS - 1})
if #change[1] <= {RECENT_ITEMS} then
    for i = #change[1], 1, -1 do
        redis.call('LREM', KEYS[7], 1, change[1][i])
        redis.call('LPUSH', KEYS[7], change[1][i])
    end
    redis.call('LTRIM', KEYS[7], 0, {MET - 1})
else -- a long list would be walked through for each of them
    local met, is_new = change[1], {{}}
    for i = 1, #met do
        is_new[met[i]] = true
    end
    for _, video in ipairs(redis.call('LRANGE', KEYS[7], 0, {MET - 1})) do
        if #met < {MET} and not is_new[video] then
            met[#met + 1] = video
        end
    end
    redis.call('DEL', KEYS[7])
    redis.call('RPUSH', KEYS[7], unpack(met))
end
redis.call('EXPIRE', KEYS[7], {MET_TTL_S})
for category, count in pairs(change[2]) do
    redis.call('HINCRBY', KEYS[2], category, count)
end
local before = tonumber(redis.call('GET', KEYS[3]) or '0') or 0
if tonumber(change[3]) > before then
    redis.call('SET', KEYS[3], change[3])
end
for i = #change[4], 1, -1 do
    redis.call('LPUSH', KEYS[4], change[4][i])
end
redis.call('LTRIM', KEYS[4], 0, {SIGNALS - 1})
for i = 1, 4 do
    redis.call('EXPIRE', KEYS[i], {SESSION_TTL_S})
end
if #change[5] > 0 and redis.call('SCARD', KEYS[5]) < {BLOCKED} then
    for i = 1, #change[5] do
        redis.call('SADD', KEYS[5], change[5][i])
    end
    redis.call('EXPIRE', KEYS[5], {BLOCKED_TTL_S})
end
redis.call('DEL', KEYS[6])
redis.call('HSET', KEYS[6], '{MARK}', ARGV[3])
redis.call('EXPIRE', KEYS[6], {MARK_S})
redis.call('PUBLISH', '{CHANNEL}', ARGV[2])
return 1
"""
