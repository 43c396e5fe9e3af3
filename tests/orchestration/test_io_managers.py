"""Records travel between assets as JSON files."""

from pathlib import Path

import dagster as dg
import pytest

from orchestration.io_managers import RecordIOManager
from orchestration.records import ServingBundle

BUNDLE = ServingBundle(tag="reelgraph:a", bundle_id="ü-1", champion_version=3, champion_kind="svd")


@dg.asset
def made() -> ServingBundle:
    return BUNDLE


@dg.asset
def read(made: ServingBundle) -> None:
    assert made == BUNDLE


def test_an_asset_can_be_materialized_alone_from_the_last_record(tmp_path: Path) -> None:
    resources = {"io_manager": RecordIOManager(tmp_path)}
    with dg.instance_for_test() as instance:
        assert dg.materialize([made], resources=resources, instance=instance).success
        assert dg.materialize(
            [made, read], selection=["read"], resources=resources, instance=instance
        ).success
    assert ServingBundle.model_validate_json((tmp_path / "made.json").read_text()) == BUNDLE


def test_a_missing_record_says_what_to_materialize(tmp_path: Path) -> None:
    with dg.instance_for_test() as instance, pytest.raises(dg.Failure, match="materialize it first"):
        dg.materialize(
            [made, read],
            selection=["read"],
            resources={"io_manager": RecordIOManager(tmp_path)},
            instance=instance,
        )
