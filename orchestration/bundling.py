"""Packs the models the aliases point to into a Bento, publishes it, and watches the endpoint take it up."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from stack.endpoint_trust import endpoint_trust
from stack.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from serving.bundle import BundleRecord

POLL_S = 0.5
# Beside the champion: what the /inference routes answer from and a feed falls back to, and what can tell new videos
# apart.
PACKED = ("svd", "two-tower", "popularity", "content")


class NothingPromoted(dg.Failure):
    """MLflow holds no model under an alias that serving needs."""


@dataclass(frozen=True)
class BuiltBundle:
    tag: str
    record: "BundleRecord"
    bytes: int

    @property
    def champion_version(self) -> int:
        return self.record.models[self.record.champion].version or 0

    def table(self) -> list[dict[str, Any]]:
        """A row a model, for the operator."""
        return [
            {"kind": kind, "version": model.version, "MLflow run": model.run_id}
            for kind, model in self.record.models.items()
        ]


def build_bundle(
    settings: Settings, catalogue: "pa.Table", watched: "pa.Table", *, dagster_run_id: str
) -> BuiltBundle:
    """Build from the aliases as they are now and publish. The champion is served under its own kind; the best of
    the other kinds travel along for the /inference routes and for falling back."""
    from serving import bento, bundle
    from serving.registry import registry

    # Before the gate has found a champion, what is watched most of late is better than no feed.
    champion = registry.by_alias(settings, "champion") or registry.by_alias(settings, "popularity")
    if champion is None:
        raise NothingPromoted(
            "no model version has the alias `champion` or `popularity`: run the training job first"
        )
    by_kind = {kind: registry.by_alias(settings, kind) for kind in PACKED}
    by_kind[champion.kind] = champion
    with tempfile.TemporaryDirectory(dir=_scratch(settings)) as scratch:
        models = {
            kind: bundle.ModelToPack(
                model_dir=registry.download(settings, version, Path(scratch) / kind),
                version=version.version,
                run_id=version.run_id,
                metrics=registry.metrics_of(settings, version),
            )
            for kind, version in by_kind.items()
            if version is not None
        }
        packed = Path(scratch) / "bundle"
        record = bundle.pack(
            packed,
            champion=champion.kind,
            models=models,
            videos=catalogue,
            watched=watched,
            training_set={"version": champion.tags.get(registry.TRAINING_SET_TAG)},
            dagster_run_id=dagster_run_id,
        )
        tag = bento.build(settings, packed)
    bento.publish(settings, tag)
    bento.prune(settings)
    return BuiltBundle(tag=tag, record=record, bytes=sum(file.bytes for file in record.files.values()))


def _scratch(settings: Settings) -> Path:
    folder = settings.home / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def wait_until_served(settings: Settings, bundle_id: str, *, timeout_s: float) -> tuple[str | None, float]:
    """The bundle the endpoint answers from (None if it doesn't answer), and the seconds waited for `bundle_id`."""
    import httpx

    started = time.monotonic()
    served = None
    while time.monotonic() - started < timeout_s:
        try:
            url = f"{settings.endpoint_url}/health/ready"
            served = httpx.get(url, timeout=2, verify=endpoint_trust(settings)).json().get("bundle")
        except (httpx.HTTPError, ValueError):
            served = None
        if served == bundle_id:
            break
        time.sleep(POLL_S)
    return served, time.monotonic() - started
