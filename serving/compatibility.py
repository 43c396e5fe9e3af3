"""Whether the code that runs may serve a bundle that other code has made."""

from serving.bundle import BundleRecord
from serving.code_version import CodeVersion
from serving.errors import IncompatibleBundleError


def difference(record: BundleRecord, running: CodeVersion) -> str | None:
    """How the bundle's code differs from the running one, in words; None if it is the same to the byte.

    A difference within a release is normal while an endpoint is being replaced, and the trial decides. Raises
    `IncompatibleBundleError` for a bundle of a later release: what it means may have changed in ways this code can't
    see. (`read_record` refuses formats it does not know.)
    """
    made, here = _release(record.code.package), _release(running.package)
    if made and here and made > here:
        raise IncompatibleBundleError(
            f"the bundle was made by release {record.code.package}, this endpoint is {running.package}"
        )
    if record.code.sha256 == running.sha256:
        return None
    return f"made by {_short(record.code)}, served by {_short(running)}"


def _short(code: CodeVersion) -> str:
    return (code.git_commit or code.sha256)[:12]


def _release(package: str) -> tuple[int, int] | None:
    """Major and minor version; None where it is not known (inside a Bento the package is not installed)."""
    parts = package.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])
