"""Packs the models the aliases point to into a Bento, publishes it, and watches the endpoint take it up."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from stack.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

POLL_S = 0.5


class NothingPromoted(dg.Failure):
    """MLflow holds no model under an alias that serving needs."""


@dataclass(frozen=True)
class BuiltBundle:
    tag: str
    bundle_id: str
    champion_kind: str
    champion_version: int
    models: list[dict[str, Any]]
    bytes: int


def build_bundle(
    settings: Settings, catalogue: "pa.Table", watched: "pa.Table", *, dagster_run_id: str
) -> BuiltBundle:
    """Build from the aliases as they are now and publish. The champion is served under its own kind; the best of
    the other kinds travel along for the /inference routes and for falling back."""
    from serving import bento, bundle, registry

    champion = registry.by_alias(settings, "champion")
    if champion is None:
        raise NothingPromoted(
            "no model version has the alias `champion`: run the training job, or set it in MLflow"
        )
    by_kind = {kind: registry.by_alias(settings, kind) for kind in ("svd", "two-tower", "popularity")}
    by_kind[champion.kind] = champion
    with tempfile.TemporaryDirectory(dir=_scratch(settings)) as scratch:
        models = {}
        for kind, version in by_kind.items():
            if version is not None:
                folder = registry.download(settings, version, Path(scratch) / kind)
                models[kind] = bundle.PackedModel(folder=folder, version=version)
        packed = bundle.pack(
            Path(scratch) / "bundle",
            champion_kind=champion.kind,
            models=models,
            catalogue=catalogue,
            watched=watched,
            dagster_run_id=dagster_run_id,
        )
        size = sum(p.stat().st_size for p in packed.folder.rglob("*") if p.is_file())
        tag = bento.build(settings, packed.folder)
    bento.publish(settings, tag)
    bento.prune(settings)
    return BuiltBundle(
        tag=tag,
        bundle_id=packed.bundle_id,
        champion_kind=champion.kind,
        champion_version=champion.version,
        models=[
            {"kind": kind, "version": m.version.version, "MLflow run": m.version.run_id}
            for kind, m in models.items()
        ],
        bytes=size,
    )


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
            served = httpx.get(f"{settings.endpoint_url}/health/ready", timeout=2).json().get("bundle_id")
        except (httpx.HTTPError, ValueError):
            served = None
        if served == bundle_id:
            break
        time.sleep(POLL_S)
    return served, time.monotonic() - started
