"""KuaiRand-Pure as a training-set folder, straight from its CSVs: independent of the ingestion and of dbt."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

UNKNOWN_DURATION_MS = 60_000
FLAGS = ["is_like", "is_comment", "is_forward", "is_follow"]


def instants(milliseconds: pd.Series) -> pd.Series:
    return pd.to_datetime(milliseconds, unit="ms", utc=True).astype("datetime64[ms, UTC]")


def write_training_set(data: Path, directory: Path) -> Path:
    """`directory` with the four files of the training-set folder; `data` is the KuaiRand-Pure folder.

    A repeated (user, video, time) counts once with its longest play; the duration is the video table's, else
    the log's, else 60 s; rows with a watch ratio over 0.1 stay (R4), and
    every pair of the log, however short its play, is met.
    """
    log = pd.read_csv(data / "data/log_standard_4_22_to_5_08_pure.csv")
    log = log.sort_values("play_time_ms", kind="stable")
    log = log.drop_duplicates(["user_id", "video_id", "time_ms"], keep="last")
    videos = pd.read_csv(data / "data/video_features_basic_pure.csv")
    known = log["video_id"].map(videos.set_index("video_id")["video_duration"])
    in_log = log["duration_ms"].where(log["duration_ms"] > 0)
    log["video_duration_ms"] = known.fillna(in_log).fillna(UNKNOWN_DURATION_MS).astype("int64")
    met = log.groupby(["user_id", "video_id"])["time_ms"].min().reset_index()
    log["watch_time_ratio"] = log["play_time_ms"] / log["video_duration_ms"]
    log = log[log["watch_time_ratio"] > 0.1]
    watched = log["watch_time_ratio"].clip(upper=1)
    interactions = pd.DataFrame(
        {
            "session_id": [f"{u}-{v}-{t}" for u, v, t in log[["user_id", "video_id", "time_ms"]].to_numpy()],
            "user_id": log["user_id"].astype(str),
            "video_id": log["video_id"].astype(str),
            "started_at": instants(log["time_ms"]),
            "ended_at": instants(log["time_ms"] + log["play_time_ms"]),
            "total_watch_time_ms": log["play_time_ms"],
            "video_duration_ms": log["video_duration_ms"],
            "watch_time_ratio": log["watch_time_ratio"],
            "rating": 5 * watched,
            "weight": watched + log[FLAGS].sum(axis=1),
            "is_positive": (log["watch_time_ratio"] >= 0.7) | (log[FLAGS].sum(axis=1) > 0),
        }
    ).sort_values(["started_at", "session_id"])
    directory.mkdir(parents=True, exist_ok=True)
    interactions.to_parquet(directory / "interactions.parquet", index=False)
    catalogue = pa.table(
        {
            "video_id": videos["video_id"].astype(str),
            "creator_id": videos["author_id"].astype(str),
            "category": videos["tag"].fillna("").astype(str).str.split(",").str[0],
            "language": [""] * len(videos),
            "tags": [
                [tag for tag in str(of_video).split(",") if tag] for of_video in videos["tag"].fillna("")
            ],
            "upload_time": pd.to_datetime(videos["upload_dt"], utc=True).astype("datetime64[ms, UTC]"),
            "duration_ms": videos["video_duration"].astype("Int64"),
        }
    )
    watched = pd.DataFrame(
        {
            "user_id": met["user_id"].astype(str),
            "video_id": met["video_id"].astype(str),
            "first_met_at": instants(met["time_ms"]),
        }
    )
    watched.sort_values(["user_id", "video_id"]).to_parquet(directory / "watched.parquet", index=False)
    pq.write_table(catalogue, directory / "videos.parquet")
    (directory / "meta.json").write_text(json.dumps({"rows": len(interactions), "created_by": "tests"}))
    return directory
