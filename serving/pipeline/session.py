"""What somebody did in the last minutes, as catalogue rows, and what it adds to a candidate's score."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serving.catalogue import NO_CATEGORY, NO_CREATOR, Catalogue
from serving.context.session import NOTHING, SessionContext

Vector = NDArray[np.float32]
Rows = NDArray[np.int64]

# What an event says of the video's category: wanted more, or less.
WANTED = {
    "like": 1.0, "save": 1.0, "share": 1.0, "comment": 0.8, "follow_creator": 1.0, "replay": 0.8, "view_end": 0.5,
    "scroll_pass": -0.5, "report": -1.0,
}  # fmt: skip
PASSED, REPORT = "scroll_pass", "report"
# Who did one of these and then swiped on has passed nothing over; a view that ended says no such thing.
SAID_YES = frozenset({"like", "save", "share", "comment", "follow_creator", "replay"})
# Each further back, an event or a video counts this much less.
FADING = 0.8


@dataclass(frozen=True)
class Session:
    """`met`: rows met in this session, newest first; `liked`: the same without those reported, or passed over with
    nothing good said of them: these say nothing of what is wanted. `intent`: category -> how much more of it is wanted
    (negative: less). `creators`: creator -> how much of them was met of late. `blocked`: rows never to be shown to this
    user. `seen`: rows met in the last days, which only keeps them from coming again."""

    met: tuple[int, ...] = ()
    liked: tuple[int, ...] = ()
    blocked: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()
    intent: dict[int, float] = field(default_factory=dict)
    creators: dict[int, float] = field(default_factory=dict)


EMPTY = Session()


def session_of(context: SessionContext, catalogue: Catalogue) -> Session:
    """The context in this catalogue's rows; ids that are not in it are passed over."""
    if context is NOTHING or not (context.met or context.recent or context.signals or context.blocked):
        return EMPTY
    row_of = catalogue.row
    met = tuple(row for video in context.recent if (row := row_of(video)) is not None)
    said: dict[int, set[str]] = {}
    intent: dict[int, float] = {}
    weight = 1.0
    for event, video in context.signals:
        points = WANTED.get(event)
        row = row_of(video) if points else None
        if points is None or row is None:
            continue
        said.setdefault(row, set()).add(event)
        category = int(catalogue.categories[row])
        if category != NO_CATEGORY:
            intent[category] = intent.get(category, 0.0) + points * weight
            weight *= FADING
    creators: dict[int, float] = {}
    for place, row in enumerate(met):
        creator = int(catalogue.creators[row])
        if creator != NO_CREATOR:
            creators[creator] = creators.get(creator, 0.0) + FADING**place
    return Session(
        met=met,
        liked=tuple(row for row in met if _is_wanted(said.get(row, ()))),
        blocked=tuple(row for video in context.blocked if (row := row_of(video)) is not None),
        seen=tuple(catalogue.rows(context.met).tolist()),
        intent={category: max(-1.0, min(1.0, points)) for category, points in intent.items()},
        creators=creators,
    )


def _is_wanted(said: Collection[str]) -> bool:
    """Whether what was done with a video may count for what is wanted: not if it was reported, nor if it was passed
    over and nothing good was said of it."""
    return REPORT not in said and (PASSED not in said or not SAID_YES.isdisjoint(said))


def intent_boost(session: Session, categories: NDArray[np.int32], boost: float) -> Vector | None:
    """`boost` times how much more (or less) of its category is wanted, for each candidate; None: nothing to add."""
    return _spread(session.intent, categories, boost) if boost else None


def repeat_penalty(session: Session, creators: NDArray[np.int32], penalty: float) -> Vector | None:
    """`-penalty` for each recent video of the same creator, fading with how long ago; at most twice `penalty`."""
    if not penalty:
        return None
    return _spread({c: min(2.0, points) for c, points in session.creators.items()}, creators, -penalty)


def _spread(points: dict[int, float], codes: NDArray[np.int32], factor: float) -> Vector | None:
    if not points:
        return None
    found = np.zeros(len(codes), np.float32)
    for code, value in points.items():
        found[codes == code] = factor * value
    return found
