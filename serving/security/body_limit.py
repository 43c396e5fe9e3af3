"""A request's body weighs no more than it may, whatever its length header says, or without one."""

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive


class BodyTooLargeError(HTTPException):
    """Raised where the app reads the body, which lets an `HTTPException` through as it is; answered with 413."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, too_large(limit), headers={"Connection": "close"})


def too_large(limit: int) -> str:
    return f"the body is longer than {limit} bytes"


def counted(receive: Receive, limit: int) -> Receive:
    """`receive` that raises `BodyTooLargeError` once more than `limit` bytes came."""
    taken = 0

    async def receive_counted() -> Message:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > limit:
                raise BodyTooLargeError(limit)
        return message

    return receive_counted
