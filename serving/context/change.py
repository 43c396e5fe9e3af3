"""What events change in a user's session: one value, applied to Redis and to this process's own copy alike."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from data_quality.event_values import EventType
from serving.context.session import MET, RECENT_ITEMS

SIGNALS = 20
# A view counts once, where it starts; what says nothing good about the video (scrolled past, reported) or is a part of
# a view (its end, pause, resume, seek) counts for no category.
INTEREST = frozenset(
    {
        EventType.VIEW_START, EventType.LIKE, EventType.COMMENT, EventType.SHARE, EventType.FOLLOW_CREATOR,
        EventType.SAVE, EventType.REPLAY, EventType.CLICK,
    }
)  # fmt: skip


@dataclass(frozen=True)
class Act:
    """One thing a user did with a video, at `at_ms` (since 1970); `category` is the video's, None if unknown."""

    user_id: str
    video_id: str
    event_type: str
    at_ms: int
    category: str | None = None


@dataclass(frozen=True)
class SessionChange:
    """Net effect of one user's acts. Lists are newest first; `met` has no video twice."""

    user_id: str
    met: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    categories: Mapping[str, int] = field(default_factory=dict)
    reported: tuple[str, ...] = ()
    last_active_ms: int = 0

    @property
    def recent(self) -> tuple[str, ...]:
        """The newest of `met`."""
        return self.met[:RECENT_ITEMS]


def changes(acts: Iterable[Act]) -> list[SessionChange]:
    """A change for each user; of acts that came together, the last in time is the newest."""
    of_user: dict[str, list[Act]] = {}
    for act in acts:
        of_user.setdefault(act.user_id, []).append(act)
    return [_change(user_id, mine) for user_id, mine in of_user.items()]


def _change(user_id: str, acts: list[Act]) -> SessionChange:
    newest_first = sorted(acts, key=lambda act: act.at_ms)[::-1] if len(acts) > 1 else acts
    liked = Counter(a.category for a in acts if a.category and a.event_type in INTEREST)
    return SessionChange(
        user_id=user_id,
        met=tuple(dict.fromkeys(act.video_id for act in newest_first))[:MET],
        signals=tuple(f"{act.event_type}|{act.video_id}" for act in newest_first[:SIGNALS]),
        categories={str(category): count for category, count in liked.items()},
        reported=tuple(dict.fromkeys(a.video_id for a in acts if a.event_type == EventType.REPORT)),
        last_active_ms=max(act.at_ms for act in acts),
    )
