"""The benchmark of the warehouse, at a thousandth of its size: it measures what it says, and leaves nothing behind."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.bench.data.__main__ import measure, write_documentation
from orchestration.bench.data.daily_step import DailyStep
from orchestration.bench.data.growth import Size
from orchestration.bench.data.increments import Increment
from orchestration.bench.data.plan import FULL, TARGETS, plan_of
from orchestration.bench.data.plot import write_plot
from orchestration.bench.data.report import Figures
from orchestration.bench.data.training import Training
from stack.settings import Settings

INCREMENT = Increment(events=350_000, sessions=70_000, model_s=2.5, command_s=6.0, cpu_s=4.0, peak_gb=1.5)
SIZE = Size(
    events=10_000_000, sessions=2_000_000, bytes_per_event=32.0, bytes_per_session=66.0, generated_s=9.0,
    sessions_s=6.0, sessions_command_s=11.0, sessions_cpu_s=11.0, sessions_peak_gb=1.5,
    daily_tables_s=2.0, daily_tables_peak_gb=1.0, increment=INCREMENT,
    late=INCREMENT,
)  # fmt: skip
FIGURES = Figures(
    machine="2 cores, 25 GB of memory, Linux x86_64",
    sizes=[SIZE, replace(SIZE, events=FULL, sessions=20_000_000, sessions_s=60.0)],
    daily_step=DailyStep(
        30, 600_000_000, 30_000_000, 3_000_000, 6.5, {"user_features": 60.0}, 100.0, 105.0, 180.0, 5.0
    ),
    training=Training(19_000_000, {"user_features_hourly": 90.0}, 200.0, 60.0, 260.0, 400.0, 6.0, 1.5),
    total_s=1200.0,
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_small_run_measures_every_stage_and_is_gone_afterwards(
    new_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = new_settings(clickhouse_max_memory=2_000_000_000)
    figures = measure(settings, plan_of(100_000))

    [size] = figures.sizes
    assert size.events == 100_000
    assert (
        19_900 < size.sessions < 20_000
    )  # 1,000 users x 20, less a video that came twice in one opening of the app
    assert 20 < size.bytes_per_event < 60
    assert (size.increment.events, size.increment.sessions) == (10_000, 2_000)
    assert (size.late.events, size.late.sessions) == (2_000, 2_000)
    step = figures.daily_step
    assert (step.days, step.user_days) == (30, 30 * 1_000)
    assert step.sessions == 30 * size.sessions + 1_800  # the increment's new ones are on the last day only
    assert set(step.models_s) > {
        "int_daily_user_activity",
        "user_features",
        "video_features",
        "trending_videos",
    }
    assert 15_000 < figures.training.interactions < size.sessions + 1_800
    assert all(value > 0 for value in figures.headline().values())
    assert size.sessions_cpu_s > 0
    assert not settings.home.exists()

    json.dumps(figures.as_json())
    write_documentation(figures, tmp_path)
    assert "| 0.1M | 0.02M |" in (tmp_path / "data-scale.md").read_text()


def test_a_figure_above_its_target_is_named() -> None:
    assert FIGURES.misses() == []
    slow = replace(FIGURES, daily_step=replace(FIGURES.daily_step, seconds=121.5))
    assert slow.misses() == ["daily_step_s: 121.5, the target is 120"]
    assert set(TARGETS) == set(FIGURES.headline())


def test_the_page_and_its_plot_are_the_same_bytes_for_the_same_figures(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_documentation(FIGURES, tmp_path / folder)
    for name in ("data-scale.md", "data-scale.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    page = (tmp_path / "a" / "data-scale.md").read_text()
    assert "| All sessions of the largest day, seconds | 60 | <= 150 |" in page
    assert "| 100M | 20.00M | 32 | 60 | 1.5 | 2.5 | 2.5 | 2 |" in page
    assert "$" not in page


def test_the_plot_is_small(tmp_path: Path) -> None:
    write_plot(FIGURES.sizes, tmp_path / "plot.svg")
    assert 2_000 < (tmp_path / "plot.svg").stat().st_size < 60_000


@pytest.mark.parametrize(
    ("events", "sizes", "new", "continued"),
    [
        (FULL, (10_000_000, 20_000_000, 50_000_000, FULL), 63_000, 7_000),
        (15_000_000, (10_000_000, 15_000_000), 63_000, 7_000),
        (1_000_000, (1_000_000,), 18_000, 2_000),
    ],
)
def test_sizes_up_to_the_one_asked_for(events: int, sizes: tuple[int, ...], new: int, continued: int) -> None:
    plan = plan_of(events)
    assert (plan.sizes, plan.new_sessions, plan.continued_sessions) == (sizes, new, continued)


def test_a_disk_without_room_is_said_before_anything_starts(new_settings: Callable[..., Settings]) -> None:
    settings = new_settings()
    with pytest.raises(SystemExit, match=r"need 30000001 GB"):
        measure(settings, plan_of(10**14))
    assert not settings.home.exists()
