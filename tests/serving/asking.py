"""Asking for lists without a server: a state with stand-ins, and what comes of it."""

import asyncio
import json

from serving.api.state import State
from serving.context.session import NOTHING
from serving.lists.lists import Ask, list_for
from serving.live import LiveBundle, Serving
from serving.pipeline.feed import FeedPipeline
from stack.settings import Settings


class Context:
    """Stands for the session store, which has tests of its own; says whom it was asked about."""

    available = True

    def __init__(self):
        self.session, self.asked = NOTHING, []

    async def of(self, user_id):
        self.asked.append(user_id)
        return self.session


class Log(list):
    """Stands for the decision log, which has tests of its own."""

    def record(self, decision):
        self.append(decision)


def state_of(home: Settings, pipeline: FeedPipeline) -> State:
    """`pipeline` is in service, with sessions and a decision log."""
    state = State()
    state.live = LiveBundle(home, state.metrics)
    state.live.current = Serving("reelgraph:one", pipeline, 0.0)
    state.context, state.decisions = Context(), Log()
    return state


def asked(user="u0001", limit=10, offset=0, request_id="r1", **more):
    return Ask(user, limit, offset, request_id, "feed", **more)


def answer(state, *many, serving=None):
    """The bodies of these, asked one after the other."""

    async def main():
        return [json.loads(await list_for(state, serving or state.serving, ask)) for ask in many]

    found = asyncio.run(main())
    return found[0] if len(many) == 1 else found


def videos(body):
    return [item["video_id"] for item in body["items"]]
