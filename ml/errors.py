"""What can go wrong with data and models, named after the cause."""


class ModelError(Exception):
    """Base of every error `ml` raises on purpose; the message names the thing and what it must be."""


class TrainingSetError(ModelError):
    """A training-set file is missing, lacks a column or holds values that cannot be trained on."""


class EmptyTrainingSetError(TrainingSetError):
    """Nothing to learn from: no interactions, or none of the kind the model needs."""


class EmptySplitError(TrainingSetError):
    """The time split leaves no interaction that ended by the cut, so there is nothing to train the holdout model on."""


class NothingToJudgeError(ModelError):
    """No test user has a positive interaction that the model could have recommended."""


class UnknownKindError(ModelError):
    """The model kind is none of those `ml` can train."""


class ConfigurationError(ModelError):
    """A hyper-parameter has a value that cannot work."""


class UnknownVideoError(ModelError, KeyError):
    """The video id is not in the model's catalogue."""

    def __str__(self) -> str:  # KeyError would show the message's repr
        return str(self.args[0]) if self.args else ""


class ModelFilesError(ModelError):
    """A saved model is missing files, damaged or of a format this code does not read."""


class MismatchedHoldoutError(ModelError):
    """The models to compare were not trained on the same training set with the same cut."""


class DivergedError(ModelError):
    """Training produced a loss that is not finite."""


class MissingPartError(ModelError):
    """A model is made of others, and one of them is not there or was fitted on other rows."""
