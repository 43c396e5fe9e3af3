"""What the steps after the model cost in accuracy and buy in variety: the feed as served beside the champion's plain
order, on KuaiRand-late's long views.

The session's steps are not judged: nothing recorded says what a user would have done after another feed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml.bench.late_data import LAST_DAY, LAST_KNOWN_DAY, VIDEOS, Late, Tables
from ml.config import TrainConfig
from ml.evaluate import TestUsers
from ml.fit import fit
from ml.ids import lookup
from ml.metrics import Interval, intervals, ranking_metrics
from serving.bench.figures import Figure, Result
from serving.bench.servers import BUILD
from serving.bundle import ModelToPack, load, pack
from serving.pipeline.config import PipelineConfig
from serving.pipeline.feed import FeedPipeline
from serving.pipeline.newcomers import KNOWN_FROM
from serving.pipeline.session import EMPTY
from serving.ranking import Ranker
from stack.settings import load_settings

PLAIN = "plain"
DEEP, SHOWN = 20, 10
USERS, SEED = 6_000, 0
PRIMARY = "ndcg_at_10"
_OFF = {"diversity": 0.0, "exploration": 0.0}
VARIANTS: Mapping[str, PipelineConfig] = {
    PLAIN: PipelineConfig().changed(_OFF),
    "diversity": PipelineConfig().changed({**_OFF, "diversity": PipelineConfig().diversity}),
    "exploration": PipelineConfig().changed({**_OFF, "exploration": PipelineConfig().exploration}),
    "served": PipelineConfig(),
}


@dataclass(frozen=True)
class Lists:
    """Of one variant: `rows` (n, `DEEP`) of the catalogue for each user, -1 where a list ends before."""

    rows: NDArray[np.int64]

    def distinct(self, of: NDArray[np.int32]) -> float:
        """Different values of `of` (videos,) among the first `SHOWN` of a list, the mean over users."""
        return float(np.mean([len(np.unique(of[row[row >= 0]])) for row in self.rows[:, :SHOWN]]))

    def share(self, of: NDArray[np.bool_]) -> float:
        """Of the first `SHOWN` places those whose video is marked in `of` (videos,)."""
        first = self.rows[:, :SHOWN]
        return float(of[first[first >= 0]].mean())


def measure(quick: bool) -> list[Result]:
    """Of a hybrid; of ALS, which is fitted in seconds, if `quick`. An empty result without the real data."""
    data = load_settings().test_data
    if data is None:
        return [Result("quality", details={"left_out": "REELGRAPH_TEST_DATA names no folder"})]
    tables = Tables.read(data)
    late = Late.of(tables, LAST_KNOWN_DAY, LAST_DAY)
    champion = "als" if quick else "hybrid"
    pipeline = _pipeline(champion, late, data)
    users = late.users.some(500 if quick else USERS, SEED)
    lists = made(pipeline, users)
    per_user = {name: judged(found, pipeline, users) for name, found in lists.items()}
    compared = _against_plain(per_user)
    catalogue = pipeline.bundle.catalogue
    new = np.bincount(pipeline.bundle.watched.rows, minlength=len(catalogue)) <= KNOWN_FROM
    result = Result("quality")
    result.add(Figure(f"users judged, champion {champion}", len(users.user_ids)))
    for name, found in lists.items():
        result.add(Figure(f"{name}: NDCG@10", compared[name]["value"].value))
        if name != PLAIN:
            result.add(_cost(compared[name]["difference"], compared[PLAIN]["value"].value))
        result.add(
            Figure(f"{name}: categories among the first 10", found.distinct(catalogue.categories)),
            Figure(f"{name}: creators among the first 10", found.distinct(catalogue.creators)),
            Figure(f"{name}: new videos among the first 10", 100 * found.share(new), "%"),
        )
    result.details |= {
        name: {what: interval.as_dict() for what, interval in figures.items()}
        for name, figures in compared.items()
    }
    return [result]


def made(pipeline: FeedPipeline, users: TestUsers) -> dict[str, Lists]:
    """The first places of each variant's list for each user, from the same candidates."""
    lists = {name: np.full((len(users.user_ids), DEEP), -1, np.int64) for name in VARIANTS}
    for place, user_id in enumerate(users.user_ids.tolist()):
        plan = pipeline.plan(user_id, EMPTY, VARIANTS[PLAIN])
        gathered = pipeline.gather(plan)
        for name, config in VARIANTS.items():
            page = pipeline.page(replace(plan, config=config), gathered, DEEP, 0, f"quality-{place}")
            lists[name][place, : len(page.rows)] = page.rows
    return {name: Lists(rows) for name, rows in lists.items()}


def judged(lists: Lists, pipeline: FeedPipeline, users: TestUsers) -> Mapping[str, NDArray[np.float64]]:
    """`ml.metrics.ranking_metrics` of the lists, each (n,)."""
    n, m = len(users.user_ids), len(users.video_ids)
    relevant = np.unique(users.relevant[0] * m + users.relevant[1])
    shown = lookup(users.video_ids, pipeline.bundle.catalogue.video_ids)[lists.rows]
    pairs = np.arange(n)[:, None] * m + shown
    hits = np.isin(pairs, relevant) & (shown >= 0) & (lists.rows >= 0)
    return ranking_metrics(hits, np.bincount(users.relevant[0], minlength=n))


def _against_plain(per_user: Mapping[str, Mapping[str, NDArray]]) -> dict[str, dict[str, Interval]]:
    """`value` of each variant and its paired `difference` from the plain order."""
    plain = per_user[PLAIN][PRIMARY]
    columns = {(name, "value"): values[PRIMARY] for name, values in per_user.items()}
    columns |= {(name, "difference"): values[PRIMARY] - plain for name, values in per_user.items()}
    found: dict[str, dict[str, Interval]] = {name: {} for name in per_user}
    for (name, what), interval in intervals(columns, SEED).items():
        found[name][what] = interval
    return found


def _cost(difference: Interval, plain: float) -> Figure:
    value, low, high = (100 * x / plain for x in (difference.value, difference.low, difference.high))
    return Figure(f"- against plain (95%: {low:+.1f} to {high:+.1f})", value, "%")


# --- the bundle ---------------------------------------------------------------------------------------------------


def _pipeline(champion: str, late: Late, data: Path) -> FeedPipeline:
    folder = BUILD / "quality-bundle"
    sources = {}
    for kind in dict.fromkeys((champion, "content", "popularity")):
        model = fit(kind, late.known, TrainConfig()).model
        model.save(folder / "models" / kind)
        sources[kind] = ModelToPack(folder / "models" / kind)
    watched = late.known.watched
    pack(
        folder / "bundle",
        champion=champion,
        models=sources,
        videos=_videos(data),
        watched=pa.table({"user_id": watched.user_ids.tolist(), "video_id": watched.video_ids.tolist()}),
        training_set={"version": "KuaiRand-late"},
    )
    bundle = load(folder / "bundle")
    return FeedPipeline(bundle, Ranker(bundle))


def _videos(data: Path) -> pa.Table:
    """As `ingestion.kuairand` reads them: the category is the first of the topics."""
    import pandas as pd

    raw = pd.read_csv(data / "KuaiRand-Pure" / "data" / VIDEOS)
    tags: Sequence[list[str]] = [[t for t in str(tags).split(",") if t] for tags in raw["tag"].fillna("")]
    return pa.table(
        {
            "video_id": raw["video_id"].astype(str),
            "creator_id": raw["author_id"].astype(str),
            "title": "Video " + raw["video_id"].astype(str),
            "description": [""] * len(raw),
            "category": [topics[0] if topics else "" for topics in tags],
            "tags": pa.array(tags, pa.list_(pa.string())),
            "duration_ms": raw["video_duration"].fillna(0).astype("int64"),
            "thumbnail_url": [""] * len(raw),
        }
    )
