"""What the demo decides and what it prints while it waits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ingestion.errors import SourceError
from orchestration.demo import run_demo, why_reload, why_run
from orchestration.graphql import AssetState, DagsterUnreachable, RunEvent
from orchestration.progress import describe, follow, patiently
from stack.settings import Settings


def loaded(fingerprint: str = "abc", rows: int = 7) -> list[AssetState]:
    metadata = {"fingerprint": fingerprint, "dagster/row_count": rows}
    return [AssetState(name, "FRESH", metadata) for name in ("users", "videos", "playback_events")]


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ([*loaded(), AssetState("svd_model", "FRESH", {})], None),
        ([*loaded(), AssetState("svd_model", "MISSING", {})], "1 of 4 assets have never been materialized"),
        (loaded("x"), "the data set is another one than was loaded"),
        ([*loaded()[:2], *loaded("x")[2:]], "the data set is another one than was loaded"),
        ([*loaded(), AssetState("svd_model", "STALE", {})], "out of date: svd_model"),
    ],
)
def test_the_graph_runs_only_for_a_reason(states: list[AssetState], reason: str | None) -> None:
    assert why_run(states, "abc") == reason


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({"users": 7, "videos": 7, "playback_events": 7}, None),
        (
            {"users": 7, "videos": 7, "playback_events": None},
            "playback_events is not what was loaded (None rows)",
        ),
        ({"users": 0, "videos": 7, "playback_events": 7}, "users is not what was loaded (0 rows)"),
    ],
)
def test_a_store_that_was_changed_is_filled_again(stored: dict[str, int | None], reason: str | None) -> None:
    assert why_reload(loaded(), stored) == reason


def test_a_data_set_that_cannot_be_read_is_named_before_anything_starts(tmp_path: Path) -> None:
    started: list[str] = []
    settings = Settings(_env_file=None, home=tmp_path / "home")
    with pytest.raises(SourceError, match="nowhere"):
        run_demo(
            settings,
            tmp_path / "nowhere",
            Console(quiet=True),
            start_stack=lambda *_: started.append("started"),
        )
    assert started == []
    assert not settings.home.exists()


def event(
    kind: str, step: str | None = "svd_model", message: str = "", at: float = 0.0, level: str = "DEBUG"
) -> RunEvent:
    return RunEvent(kind=kind, step=step, message=message, level=level, at=at)


def test_a_step_is_one_line_with_its_seconds() -> None:
    began: dict[str, float] = {}
    assert describe(event("ExecutionStepStartEvent", at=10.0), began) is None
    line = describe(event("ExecutionStepSuccessEvent", at=12.5), began)
    assert line is not None
    assert line.split() == ["svd_model", "2.5", "s"]


def test_failures_retries_and_the_steps_own_words_are_shown() -> None:
    assert "FAILED  boom" in str(describe(event("ExecutionStepFailureEvent", message="boom"), {}))
    assert "run " in str(describe(event("RunFailureEvent", step=None, message="boom"), {}))
    assert "trying again" in str(describe(event("ExecutionStepUpForRetryEvent", message="boom"), {}))
    assert (
        describe(event("LogMessageEvent", message="epoch 1\nmore", level="INFO"), {})
        == "    svd_model: epoch 1"
    )
    assert describe(event("LogMessageEvent", message="epoch 1", level="DEBUG"), {}) is None


class RunThatEnds:
    """A run that starts, takes a step and ends; unreachable once on the way."""

    def __init__(self) -> None:
        self._statuses: Iterator[str] = iter(["QUEUED", "STARTED", "STARTED", "SUCCESS", "SUCCESS"])
        self._pages = iter(
            [
                [],
                [event("ExecutionStepStartEvent", at=1.0)],
                [event("ExecutionStepSuccessEvent", at=2.0)],
                [event("RunSuccessEvent", step=None)],
                [],
            ]
        )
        self._lost_once = False

    def status(self, run_id: str) -> str:
        if not self._lost_once:
            self._lost_once = True
            raise DagsterUnreachable("restarting")
        return next(self._statuses)

    def events(self, run_id: str, cursor: str | None) -> tuple[list[RunEvent], str]:
        return next(self._pages), "cursor"


def test_a_run_is_followed_to_its_end_through_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.progress.time.sleep", lambda _: None)
    console = Console(record=True, width=100)
    assert follow(RunThatEnds(), "id", console) == "SUCCESS"  # type: ignore[arg-type]
    assert "svd_model" in console.export_text()


def test_patience_ends() -> None:
    def never() -> None:
        raise DagsterUnreachable("down")

    with pytest.raises(DagsterUnreachable):
        patiently(never, patience_s=0)


@pytest.mark.parametrize("command", ["demo", "up", "status", "repro"])
def test_a_bad_setting_is_named_by_every_command_that_reads_it(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.cli import app

    monkeypatch.setenv("REELGRAPH_SEED", "many")
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 2
    assert "REELGRAPH_SEED" in result.output


def test_repro_without_a_training_set_says_what_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.cli import app

    monkeypatch.setenv("REELGRAPH_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["repro"])
    assert result.exit_code == 1
    assert "make demo" in result.output
