"""What can go wrong with a video, named after the cause."""


class VideoError(Exception):
    """Base of the errors here; the message is fit for a client."""


class PeerTubeUnavailableError(VideoError):
    """PeerTube does not answer, answers with an error of its own, or asks to wait longer than we do."""


class PeerTubeRefusedError(VideoError):
    """PeerTube refuses what was asked, and would again: `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class PeerTubeLoginError(PeerTubeRefusedError):
    """PeerTube does not accept our user and password, or none are set."""


class CopyGoneError(VideoError):
    """PeerTube no longer has the video that we registered."""


class NoCopyError(VideoError):
    """The video is known, but came with a data set: there is no file of it to stream."""


class UnknownVideoError(VideoError):
    """No video with this id is registered."""


class CatalogueUnavailableError(VideoError):
    """Postgres cannot say now; `known` is whether the bundle in service has the video, None if nobody can say."""

    def __init__(self, message: str, known: bool | None = None) -> None:
        super().__init__(message)
        self.known = known


class KeyReusedError(VideoError):
    """The idempotency key belongs to another upload."""


class UploadUnderWayError(VideoError):
    """The first upload with this key has not ended, or as many uploads as we take at once are under way."""


class UploadRefusedError(VideoError):
    """What was sent is no upload: `status` says how (400, 413, 415, 422), `field` which part."""

    def __init__(self, message: str, status: int, field: str = "body") -> None:
        super().__init__(message)
        self.status = status
        self.field = field


class NoRoomError(VideoError):
    """An upload could not be written to our disk, which is full or cannot be written; the cause has the details."""
