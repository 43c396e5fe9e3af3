"""Bundle and code, each of its own version: what differs is said, and what is newer than the endpoint is refused."""

import pytest

from serving import bundle
from serving.code_version import CodeVersion, code_version
from serving.compatibility import difference
from serving.errors import IncompatibleBundleError


def code(package="0.1.0", sha256="a" * 64, git_commit=None):
    return CodeVersion(package=package, git_commit=git_commit, git_dirty=None, sha256=sha256)


@pytest.fixture
def made_by(packed):
    record = bundle.read_record(packed("a"))
    return lambda **changes: record.model_copy(update={"code": code(**changes)})


def test_the_same_code_to_the_byte_is_no_difference(made_by, packed):
    assert difference(made_by(), code()) is None
    assert difference(bundle.read_record(packed("b")), code_version()) is None


@pytest.mark.parametrize("package", ["0.1.0", "0.1.9", "0.0.5", "unknown", ""])
def test_other_code_of_the_release_is_said_in_words(made_by, package):
    found = difference(made_by(package=package, sha256="b" * 64, git_commit="0123456789abcdef"), code())
    assert found == "made by 0123456789ab, served by aaaaaaaaaaaa"


@pytest.mark.parametrize("package", ["0.2.0", "1.0.0", "0.10.0"])
def test_a_bundle_of_a_later_release_is_refused(made_by, package):
    with pytest.raises(IncompatibleBundleError, match=f"release {package}, this endpoint is 0.1.0"):
        difference(made_by(package=package), code())


def test_an_endpoint_that_does_not_know_its_release_takes_any(made_by):
    assert difference(made_by(package="9.0.0", sha256="b" * 64), code(package="unknown")) is not None
