"""Sensors and schedules on an instance of their own, fed what assets really say."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from orchestration.defs.automation import drift_sensor
from orchestration.metadata import latest_metadata


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def said(instance: dg.DagsterInstance, asset: str, **metadata: object) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(asset, metadata={k.replace("_", " "): v for k, v in metadata.items()})
    )


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    result = drift_sensor(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def test_drift_the_models_have_not_seen_asks_for_a_training_and_then_cools_down(
    instance: dg.DagsterInstance,
) -> None:
    said(instance, "registered_models", as_of="2022-05-01T00:00:00.000Z")
    said(instance, "drift_report", drifted=True, as_of="2022-05-08T00:00:00.000Z")
    result = tick(instance)
    assert isinstance(result, dg.SensorResult)
    assert len(result.run_requests or []) == 1
    again = tick(instance, cursor=result.cursor)
    assert isinstance(again, dg.SkipReason)
    assert "cooling down" in str(again.skip_message)


def test_no_report_no_drift_or_a_model_that_knows_it_asks_for_nothing(instance: dg.DagsterInstance) -> None:
    assert "no drift report" in str(tick(instance).skip_message)  # type: ignore[union-attr]
    said(instance, "drift_report", drifted=False, as_of="2022-05-08T00:00:00.000Z")
    assert "not drifted" in str(tick(instance).skip_message)  # type: ignore[union-attr]
    said(instance, "drift_report", drifted=True, as_of="2022-05-08T00:00:00.000Z")
    said(instance, "registered_models", as_of="2022-05-08T00:00:00.000Z")
    assert "drift included" in str(tick(instance).skip_message)  # type: ignore[union-attr]


def test_a_training_that_failed_before_registration_does_not_silence_the_sensor(
    instance: dg.DagsterInstance,
) -> None:
    said(instance, "registered_models", as_of="2022-05-01T00:00:00.000Z")
    said(instance, "training_set", as_of="2022-05-08T00:00:00.000Z")
    said(instance, "drift_report", drifted=True, as_of="2022-05-08T00:00:00.000Z")
    assert isinstance(tick(instance), dg.SensorResult)


def test_the_latest_word_of_an_asset_counts(instance: dg.DagsterInstance) -> None:
    assert latest_metadata(instance, "users") is None
    for fingerprint in ("old", "new"):
        said(instance, "users", fingerprint=fingerprint)
    found = latest_metadata(instance, "users")
    assert found is not None
    assert found["fingerprint"].value == "new"
    assert datetime.now(UTC) > datetime.fromisoformat("2022-05-08T00:00:00.000Z")
