"""What can go wrong with a bundle, named after the cause."""


class BundleError(Exception):
    """Base of every bundle error; the message names the bundle and what is wrong with it."""


class BundleMissingError(BundleError):
    """No bundle where one was asked for."""


class CorruptBundleError(BundleError):
    """A file of the bundle is missing, damaged or not what the record says."""


class IncompatibleBundleError(BundleError):
    """The bundle was written in a format this code does not read."""


class BundleInputError(BundleError):
    """What was to be packed cannot make a bundle: an unknown champion, no videos, a missing column."""


class SmokeTestError(BundleError):
    """The bundle loads but does not answer sanely."""


class BuildFailedError(BundleError):
    """BentoML could not build the Bento; the message carries the end of its output."""


class UnknownVideoError(LookupError):
    """The video id is not in the bundle's catalogue."""
