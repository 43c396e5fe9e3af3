"""The experiment report on a real ClickHouse: exact sums of hand-written rows, calm when nothing differs, loud when the
sample is broken."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from ml.experiment_users import UnusableExperimentError
from orchestration.defs.experiments import experiment_report, experiments_have_sound_samples
from orchestration.experiment_users import Met, experiments_met, fetch_users
from orchestration.experiments import report_on
from orchestration.resources import Stores
from serving.experiments.declaration import Declaration, parse_declaration
from stack.clients import clickhouse_client
from stack.settings import Settings

from .experiment_world import START, World, populate

pytestmark = pytest.mark.stack
DATABASE = "experiment_report_test"
DECLARED = """
experiments:
  - id: diversity
    control: today
    observe_days: 3
    planned_users: 2000
    variants:
      - {name: today, share: 0.5}
      - {name: more, share: 0.5, parameters: {diversity: 0.4}}
"""
USERS = [str(number) for number in range(2_000)]
HOUR = timedelta(hours=1)


class StoresAt(Stores):
    """The stores at a ClickHouse database, with a home of their own."""

    home: str
    url: str

    @property
    def settings(self) -> Settings:
        return Settings(_env_file=None, home=Path(self.home), CLICKHOUSE_URL=self.url)  # type: ignore[call-arg]


@pytest.fixture
def stores(clickhouse: Settings, tmp_path: Path) -> Iterator[StoresAt]:
    with clickhouse_client(clickhouse, database="default") as server:
        server.command(f"CREATE DATABASE {DATABASE}")
        yield StoresAt(home=str(tmp_path), url=clickhouse.clickhouse_url.rsplit("/", 1)[0] + f"/{DATABASE}")
        server.command(f"DROP DATABASE {DATABASE}")


@pytest.fixture
def world(stores: StoresAt) -> World:
    return World(stores.settings)


@pytest.fixture
def declaration(stores: StoresAt) -> Declaration:
    stores.settings.experiments_file.write_text(DECLARED)
    return parse_declaration(DECLARED, "experiments.yaml")


def run(stores: StoresAt) -> tuple[dict[str, object], bool]:
    """What the asset says, and whether its check passes."""
    result = dg.materialize(
        [experiment_report, experiments_have_sound_samples],
        resources={"stores": stores},
        instance=dg.DagsterInstance.ephemeral(),
    )
    [told] = result.asset_materializations_for_node("experiment_report")
    [check] = result.get_asset_check_evaluations()
    return {name: value.value for name, value in told.metadata.items()}, check.passed


def test_an_a_a_test_end_to_end_calls_no_difference(
    stores: StoresAt, world: World, declaration: Declaration
) -> None:
    populate(world, declaration, USERS)
    world.write()
    told, passed = run(stores)
    assert passed
    assert told["unsound"] == []
    assert str(told["experiment diversity"]).startswith(
        "**no difference found in ctr, watch_time, completion among 2000 users**"
    )


def test_a_variant_that_makes_people_watch_more_is_found(
    stores: StoresAt, world: World, declaration: Declaration
) -> None:
    populate(world, declaration, USERS, lift=0.3)
    world.write()
    told, passed = run(stores)
    assert passed
    words = str(told["experiment diversity"]).splitlines()[0]
    assert "more is better in ctr: +" in words
    assert "more is better in watch_time: +" in words


def test_a_variant_that_loses_users_is_flagged_and_concludes_nothing(
    stores: StoresAt, world: World, declaration: Declaration
) -> None:
    populate(world, declaration, USERS, lift=0.3)
    lost = {str(number) for number in range(0, 2_000, 6)}  # e.g. the variant's answers time out for some
    world.decisions = [
        d for d in world.decisions if not (d.user_id in lost and d.variants.get("diversity") == "more")
    ]
    world.write()
    told, passed = run(stores)
    assert not passed
    assert told["unsound"] == ["diversity"]
    assert str(told["experiment diversity"]).startswith("**not to be trusted: today has ")
    assert "better" not in str(told["experiment diversity"])


def test_without_a_log_the_report_says_so_and_passes(stores: StoresAt, declaration: Declaration) -> None:
    told, passed = run_on_an_empty_database(stores)
    assert passed
    assert told["not compared"] == "no list has been made in an experiment yet"


def run_on_an_empty_database(stores: StoresAt) -> tuple[dict[str, object], bool]:
    World(stores.settings).write()
    return run(stores)


def test_a_declaration_that_cannot_be_read_fails_the_check(stores: StoresAt, world: World) -> None:
    world.write()
    stores.settings.experiments_file.write_text("experiments: 3")
    told, passed = run(stores)
    assert not passed
    assert str(told["problem"]).startswith("experiments.yaml: experiments: ")


def test_an_experiment_that_is_no_longer_declared_is_named_and_not_judged(
    stores: StoresAt, world: World, declaration: Declaration
) -> None:
    world.list_made("ann", START, {"forgotten": "b"})
    world.clock(START + 10 * HOUR)
    world.write()
    told, passed = run(stores)
    assert passed
    assert str(told["experiment forgotten"]).startswith("**not judged: it is not declared")


def test_before_dbt_has_built_the_sessions_the_report_says_so(
    stores: StoresAt, world: World, declaration: Declaration
) -> None:
    world.list_made("ann", START, {"diversity": "more"})
    world.write()
    with clickhouse_client(stores.settings) as client:
        client.command("DROP TABLE watch_sessions")
        assert (
            report_on(client, declaration, START).problem
            == "watch_sessions has not been built: run sessions_job"
        )


def test_each_users_sums_are_of_their_time_of_observation(
    stores: StoresAt, world: World, declaration: Declaration
) -> None:
    """ann: two lists in three days and one after; her past and what she watched elsewhere. bob: nothing but a list."""
    first = world.list_made("ann", START, {"diversity": "more"}, items=2)
    second = world.list_made("ann", START + 71 * HOUR, {"diversity": "more"}, items=3)
    late = world.list_made("ann", START + 73 * HOUR, {"diversity": "more"}, items=5)
    world.list_made("bob", START + HOUR, {"diversity": "today"}, items=4)
    for video, at, request_id in (
        ("v0", START + HOUR, first),
        ("v0", START + 2 * HOUR, first),  # again: the same item of the same list
        ("v1", START + 73 * HOUR, second),  # too late
        ("v2", START + 71.5 * HOUR, second),
        ("v0", START + 74 * HOUR, late),
        ("v9", START + HOUR, ""),  # from no list
        ("v9", START + HOUR, first),  # which the list did not show
        ("v2", START + HOUR, first),  # which only the other list showed
    ):
        world.played("ann", video, at, request_id)
    world.watched("ann", START - timedelta(days=15), 100_000)  # longer ago than CUPED looks
    world.watched("ann", START - timedelta(days=13), 7_000)
    world.watched("ann", START - timedelta(seconds=1), 5_000)  # on both sides of the exposure: on neither
    world.watched("ann", START + HOUR, 3_000, finished=True)
    world.watched("ann", START + 71 * HOUR, 200, finished=True, valid=False)
    world.watched("ann", START + 71.5 * HOUR, 4_000)
    world.watched("ann", START + 72 * HOUR, 50_000)  # too late
    world.write()
    with clickhouse_client(stores.settings) as client:
        found = fetch_users(client, declaration.experiments[0], START, START + 73 * HOUR)
    users = found.users
    order = np.argsort(-users.variant)  # ann (more), bob (today)
    assert users.variant[order].tolist() == [1, 0]
    assert users.observed[order].tolist() == [True, False]
    assert users.before[order].tolist() == [7.0, 0.0]
    assert {
        name: (top[order].tolist(), below[order].tolist()) for name, (top, below) in users.sums.items()
    } == {
        "ctr": ([2.0, 0.0], [5.0, 4.0]),
        "watch_time": ([7.2, 0.0], [1.0, 1.0]),
        "completion": ([1.0, 0.0], [2.0, 0.0]),
    }
    assert found.switched == 0


def test_a_list_that_is_logged_twice_counts_once(
    stores: StoresAt, world: World, declaration: Declaration
) -> None:
    world.played("ann", "v1", START + HOUR, world.list_made("ann", START, {"diversity": "more"}, items=2))
    world.write()
    world.write()
    with clickhouse_client(stores.settings) as client:
        found = fetch_users(client, declaration.experiments[0], START, START)
    assert [column.tolist() for column in found.users.sums["ctr"]] == [[1.0], [2.0]]


def test_who_meets_two_variants_counts_for_the_first(
    stores: StoresAt, world: World, declaration: Declaration
) -> None:
    world.list_made("ann", START + HOUR, {"diversity": "today"})
    world.list_made("ann", START, {"diversity": "more"})
    world.write()
    with clickhouse_client(stores.settings) as client:
        found = fetch_users(client, declaration.experiments[0], START, START)
    assert (found.users.variant.tolist(), found.switched) == ([1], 1)


def test_testers_are_no_evidence(stores: StoresAt, world: World, declaration: Declaration) -> None:
    world.list_made("tess", START, {"diversity": "more"}, forced=True)
    world.list_made("tess", START + HOUR, {"diversity": "today"})
    world.list_made("ann", START + HOUR, {"diversity": "more"})
    world.write()
    with clickhouse_client(stores.settings) as client:
        assert experiments_met(client) == [Met("diversity", START, 2)]
        found = fetch_users(client, declaration.experiments[0], START, START)
    assert found.users.variant.tolist() == [1]


def test_a_variant_that_was_renamed_under_way_is_not_to_be_trusted(
    stores: StoresAt, world: World, declaration: Declaration
) -> None:
    world.list_made("ann", START, {"diversity": "most"})
    world.clock(START + HOUR)
    world.write()
    with (
        clickhouse_client(stores.settings) as client,
        pytest.raises(UnusableExperimentError, match="the variant most, which is not declared"),
    ):
        fetch_users(client, declaration.experiments[0], START, START)
    told, passed = run(stores)
    assert not passed
    assert told["unsound"] == ["diversity"]
