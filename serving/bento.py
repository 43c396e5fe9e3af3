"""Bundles as Bentos in the BentoML store, and which of them is in service.

A Bento `reelgraph:<bundle id>` holds the endpoint's code, its requirements and the bundle (`src/bundle`), so that
`bentoml serve`, `export` and `containerize` can take it elsewhere. The running endpoint only reads `src/bundle`.
"""

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from serving import bundle
from serving.code_version import source_files
from serving.errors import BuildFailedError, BundleError, BundleMissingError
from serving.packaging import requirements
from stack.settings import PROJECT_ROOT, Settings, child_environment

log = logging.getLogger(__name__)

NAME = "reelgraph"
BUNDLE_FOLDER = "bundle"
SERVICE = "serving.service:RecommenderService"
KEEP = 5
BUILD_TIMEOUT_S = 120

# What the endpoint imports; torch, mlflow and pyarrow are not among them.
ENDPOINT_REQUIREMENTS = (
    "bentoml", "clickhouse-connect", "cryptography", "faiss-cpu", "fastapi", "httptools", "httpx", "numpy",
    "opentelemetry-api", "opentelemetry-exporter-otlp-proto-http", "opentelemetry-instrumentation-asgi",
    "opentelemetry-sdk", "opentelemetry-util-http", "orjson", "prometheus-client", "psycopg2-binary", "pydantic",
    "pydantic-core", "pydantic-settings", "pyjwt", "python-dotenv", "python-multipart", "pyyaml", "redis", "sqlalchemy",
    "starlette", "uvicorn", "uvloop",
)  # fmt: skip

_TAG = re.compile(rf"{NAME}:[0-9a-zA-Z][0-9a-zA-Z._-]{{0,62}}")


@dataclass(frozen=True)
class StoredBundle:
    tag: str
    record: bundle.BundleRecord

    @property
    def created_at(self) -> datetime:
        return self.record.created_at


def build(settings: Settings, packed: Path) -> str:
    """Build the Bento of a packed bundle and return its tag. The same content is built once.

    Runs `bentoml build` in a process of its own, since it imports the service and reads BENTOML_HOME once; needs no
    network. Raises `BuildFailedError` and what `bundle.verify` raises.
    """
    record = bundle.verify(packed)
    tag = f"{NAME}:{record.bundle_id}"
    target = bundle_dir(settings, tag)
    if target.is_dir():
        try:
            bundle.verify(target)
        except BundleError as error:
            log.warning("%s is in the store but not whole, it is built again: %s", tag, error)
            shutil.rmtree(target.parents[1])
        else:
            return tag
    else:
        shutil.rmtree(target.parents[1], ignore_errors=True)  # a build that was cut off
    settings.bentoml_home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reelgraph-bento-") as scratch:
        context = Path(scratch)
        _lay_out(context, packed, record)
        _run_build(settings, context, record.bundle_id)
    bundle.verify(target)
    return tag


def publish(settings: Settings, tag: str) -> None:
    """Make a stored bundle the one in service; an older tag is a rollback. The endpoint looks every half
    second; the bundle that served before serves again at once, another once it has been read and tried.

    Raises `BundleMissingError` if the store has no such bundle, and what `bundle.verify` raises.
    """
    bundle.verify(bundle_dir(settings, tag))
    pointer = settings.current_bundle_pointer
    pointer.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=pointer.parent, prefix=".current-", delete=False) as fresh:
        fresh.write(tag + "\n")
        fresh.flush()
        os.fsync(fresh.fileno())
    Path(fresh.name).chmod(0o644)
    Path(fresh.name).replace(pointer)


def published(settings: Settings) -> tuple[str, int] | None:
    """The tag in service and a number that changes whenever something is published; None before the first."""
    try:
        with settings.current_bundle_pointer.open() as pointer:
            return pointer.read().strip(), os.fstat(pointer.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def current(settings: Settings) -> str | None:
    """The tag in service, None before the first publication."""
    found = published(settings)
    return found[0] if found else None


def bundle_dir(settings: Settings, tag: str) -> Path:
    """Where the bundle of a tag lies; raises `BundleMissingError` for what is no tag of ours."""
    if not _TAG.fullmatch(tag):
        raise BundleMissingError(f"{tag!r} is not the tag of a bundle ({NAME}:<id>)")
    return _store(settings) / tag.partition(":")[2] / "src" / BUNDLE_FOLDER


def own_bundle() -> Path | None:
    """The bundle beside this code when it runs from inside a Bento."""
    folder = PROJECT_ROOT / BUNDLE_FOLDER
    return folder if (folder / bundle.RECORD_FILE).is_file() else None


def stored(settings: Settings) -> list[StoredBundle]:
    """The readable bundles in the store, newest first."""
    found = []
    for folder in sorted(_store(settings).glob("*/")):
        tag = f"{NAME}:{folder.name}"
        try:
            found.append(StoredBundle(tag, bundle.read_record(bundle_dir(settings, tag))))
        except BundleError as error:
            log.warning("%s is left out: %s", tag, error)
    return sorted(found, key=lambda item: item.created_at, reverse=True)


def prune(settings: Settings, keep: int = KEEP) -> list[str]:
    """Delete all but the newest `keep` bundles, never the one in service; returns the deleted tags."""
    in_service = current(settings)
    deleted = []
    for item in stored(settings)[keep:]:
        if item.tag != in_service:
            shutil.rmtree(bundle_dir(settings, item.tag).parents[1])
            deleted.append(item.tag)
    return deleted


def _store(settings: Settings) -> Path:
    return settings.bentoml_home / "bentos" / NAME


def _lay_out(context: Path, packed: Path, record: bundle.BundleRecord) -> None:
    """The build context: the endpoint's code, its requirements, the bundle, and how to build them."""
    for path in source_files():
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_ROOT / path, context / path)
    shutil.copytree(packed, context / BUNDLE_FOLDER)
    (context / "requirements.txt").write_text("\n".join(requirements(ENDPOINT_REQUIREMENTS)) + "\n")
    champion = record.models[record.champion]
    (context / "README.md").write_text(
        f"# reelgraph {record.bundle_id}\n\nShort-video recommendations: {record.champion} (version"
        f" {champion.version}) over {record.counts['videos']} videos, trained on"
        f" {record.training_set.get('version', 'an unversioned training set')}.\n\nThe record of its making is"
        f" `{BUNDLE_FOLDER}/{bundle.RECORD_FILE}`; `/docs` describes the routes.\n"
    )
    (context / "bentofile.yaml").write_text(
        f"service: {SERVICE}\n"
        f"name: {NAME}\n"
        f"labels: {{bundle: '{record.bundle_id}', champion: '{record.champion}', version: '{champion.version}'}}\n"
        "include: ['**']\n"
        # Locking would resolve the requirements over the network; they are pinned already.
        "python: {requirements_txt: requirements.txt, lock_packages: false}\n"
        "docker: {python_version: '3.11'}\n"
    )


def _run_build(settings: Settings, context: Path, version: str) -> None:
    command = [
        sys.executable,
        "-m",
        "bentoml",
        "build",
        "--version",
        version,
        "--output",
        "tag",
        str(context),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=context,
            env=child_environment(settings),
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildFailedError(f"bentoml build did not end within {BUILD_TIMEOUT_S} s") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-15:]
        raise BuildFailedError("bentoml build failed:\n" + "\n".join(said))
