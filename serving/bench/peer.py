"""The peer: a bare ASGI app that does only the top-100 dot product and sends the ids. `python -m serving.bench.peer`.

No validation, no filter, no metadata, no session, no log: what a feed would cost if it were nothing but arithmetic.
"""

import sys
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from ml.factors import FactorModel
from ml.ids import lookup
from ml.saved import load

TOP = 100


def app_over(model: FactorModel) -> ASGIApp:
    """`GET /?user_id=` answers the ids of the user's `TOP` best videos."""

    top = min(TOP, len(model.video_ids))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        user_id = parse_qs(scope["query_string"].decode())["user_id"][0]
        user = lookup(model.user_ids, [user_id])[0]
        scores = model.video_factors @ model.user_factors[user]
        best = np.argpartition(scores, -top)[-top:]
        best = best[np.argsort(scores[best])[::-1]]
        body = orjson.dumps(model.video_ids[best].tolist())
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def main(model: Path, port: int) -> None:
    import uvicorn

    loaded = load(model)
    assert isinstance(loaded, FactorModel)
    uvicorn.run(app_over(loaded), port=port, lifespan="off", access_log=False, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
