"""What can go wrong with experiments, named after the cause."""


class ExperimentsFileError(Exception):
    """The declaration cannot be read or cannot be right; the message names the file, the experiment and the field."""


class UnknownExperimentError(LookupError):
    """A tester asked for an experiment or a variant that is not there; the message names it."""
