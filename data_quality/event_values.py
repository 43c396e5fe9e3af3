"""The values that fields of the contract may take (R1.1), for who must not load Arrow to know them: the endpoint."""

from enum import StrEnum
from typing import Final

MAX_ID_LENGTH: Final = 200  # characters; longer is a client's mistake, not an id
EARLIEST_MS: Final = (
    946_684_800_000  # 2000-01-01: before any short video; catches seconds sent as milliseconds
)
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01: catches microseconds sent as milliseconds
MAX_SCROLL_SPEED_MS: Final = 1e9
MAX_INT32: Final = 2**31 - 1


class CodedEnum(StrEnum):
    """A string value with the number ClickHouse's Enum8 stores it as."""

    code: int

    def __new__(cls, value: str, code: int) -> "CodedEnum":
        member = str.__new__(cls, value)
        member._value_ = value
        member.code = code
        return member


class EventType(CodedEnum):
    VIEW_START = "view_start", 1
    VIEW_END = "view_end", 2
    SCROLL_PASS = "scroll_pass", 3
    LIKE = "like", 4
    COMMENT = "comment", 5
    SHARE = "share", 6
    FOLLOW_CREATOR = "follow_creator", 7
    SAVE = "save", 8
    REPORT = "report", 9
    PAUSE = "pause", 10
    RESUME = "resume", 11
    SEEK = "seek", 12
    REPLAY = "replay", 13
    CLICK = "click", 14


class DeviceType(CodedEnum):
    IOS = "ios", 1
    ANDROID = "android", 2
    WEB = "web", 3


class NetworkType(CodedEnum):
    WIFI = "wifi", 1
    LTE = "4g", 2
    NR = "5g", 3
    OTHER = "other", 4


class Gender(StrEnum):
    MALE = "male"
    FEMALE = "female"
    UNKNOWN = "unknown"
