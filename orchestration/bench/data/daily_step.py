"""The daily step over 30 days: the touched day's daily rows anew, then every feature over the window."""

from dataclasses import dataclass

from orchestration.bench.data.days import DAYS_BEFORE, insert_days_before
from orchestration.bench.data.dbt_run import dbt_run
from orchestration.bench.data.growth import DAILY_TABLES
from orchestration.bench.data.meter import Meter
from orchestration.bench.data.plan import Plan
from orchestration.bench.data.stores import Stores

MODELS = (
    "stg_users", "stg_videos", *DAILY_TABLES, "user_engagement", "user_features", "trending_videos", "video_features",
)  # fmt: skip


class WrongFeaturesError(Exception):
    """The features do not count the sessions that the daily rows count."""


@dataclass(frozen=True)
class DailyStep:
    """Seconds of the models, each by its name and all together, and of the whole command."""

    days: int
    sessions: int
    user_days: int
    video_days: int
    daily_tables_gb: float
    models_s: dict[str, float]
    seconds: float
    command_s: float
    cpu_s: float
    peak_gb: float


def measure_daily_step(stores: Stores, plan: Plan) -> DailyStep:
    """Put 29 days before the real one, whose sessions the increments have touched, and run the daily models.

    Raises `WrongFeaturesError` unless users and videos both count every session of the window.
    """
    insert_days_before(stores, plan.users, plan.videos)
    stores.settle()
    with Meter(stores.clickhouse) as meter:
        run = dbt_run(stores.settings, "--select", *MODELS)
    sessions, user_days = stores.row("SELECT sum(sessions), count() FROM int_daily_user_activity")
    of_videos, video_days = stores.row("SELECT sum(sessions), count() FROM int_daily_video_activity")
    counted = (
        stores.value("SELECT sum(total_sessions) FROM user_features"),
        stores.value("SELECT sum(total_sessions) FROM video_features"),
    )
    if counted != (sessions, of_videos):
        raise WrongFeaturesError(f"{counted} sessions in the features, not {(sessions, of_videos)}")
    return DailyStep(
        days=DAYS_BEFORE + 1,
        sessions=sessions,
        user_days=user_days,
        video_days=video_days,
        daily_tables_gb=_gigabytes(stores),
        models_s={name: seconds for name, seconds in run.models_s.items() if name in MODELS},
        seconds=run.seconds(*MODELS),
        command_s=run.command_s,
        cpu_s=meter.cpu_s,
        peak_gb=meter.peak_gb,
    )


def _gigabytes(stores: Stores) -> float:
    total = stores.value(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"
        " AND table IN ('int_daily_user_activity', 'int_daily_video_activity')"
    )
    return round(total / 1e9, 2)
