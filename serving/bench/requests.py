"""Requests as the bytes that go over the wire."""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlencode

import numpy as np

from ml.ids import Ids

FEED = "/api/v1/recommendations/feed"
TRACK = "/api/v1/events/track"


def get(path: str, *, token: str | None = None, **query: object) -> bytes:
    target = f"{path}?{urlencode(query)}" if query else path
    return f"GET {target} HTTP/1.1\r\nHost: bench\r\n{_authorization(token)}\r\n".encode()


def post(path: str, body: Any, *, token: str | None = None) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\n{_authorization(token)}"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _authorization(token: str | None) -> str:
    return f"Authorization: Bearer {token}\r\n" if token else ""


def sample(user_ids: Ids, count: int, seed: int = 0) -> list[str]:
    """Distinct users in no order; all of them in turn if there are fewer than asked for."""
    order = np.random.default_rng(seed).permutation(len(user_ids))
    return [str(user_ids[order[i % len(order)]]) for i in range(count)]


def feeds(users: Iterable[str], **query: object) -> list[bytes]:
    """One feed a user."""
    return [get(f"{FEED}?{urlencode({'user_id': user, **query})}") for user in users]


def events(users: Sequence[str], video_ids: Ids, seed: int = 0) -> list[bytes]:
    """One like a user, of any video."""
    videos = np.random.default_rng(seed).integers(len(video_ids), size=len(users))
    return [
        post(
            TRACK,
            {
                "user_id": user,
                "video_id": str(video_ids[video]),
                "event_type": "like",
                "session_id": f"s-{user}",
            },
        )
        for user, video in zip(users, videos, strict=True)
    ]


def mixed(
    shares: Sequence[tuple[float, Sequence[bytes]]], count: int, seed: int = 0
) -> tuple[list[bytes], list[int]]:
    """`count` requests, each of a kind drawn by its share; with the kind of each, by its place in `shares`."""
    weights = np.array([share for share, _ in shares])
    kinds = np.random.default_rng(seed).choice(len(shares), count, p=weights / weights.sum())
    taken = [0] * len(shares)
    requests = []
    for kind in kinds:
        pool = shares[kind][1]
        requests.append(pool[taken[kind] % len(pool)])
        taken[kind] += 1
    return requests, kinds.tolist()
