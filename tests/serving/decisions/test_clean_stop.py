"""The endpoint as it runs, stopped under load: every list that was answered is a row."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from clickhouse_connect.driver.client import Client

from serving import bento
from stack.settings import Settings
from tests.serving.conftest import shelve, wait_for
from tests.serving.experiments.declared import experiment
from tests.serving.test_endpoint import FEED, endpoint, ready

pytestmark = [pytest.mark.stack, pytest.mark.slow]
CLIENTS = 4


class Load:
    """Clients that ask one after the other until they are told to end or the endpoint is gone."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(CLIENTS)]
        self.answered: dict[str, dict[str, Any]] = {}
        self.statuses: set[int] = set()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=5) as client:
            turn = 0
            while not self._over.is_set():
                turn += 1
                try:
                    response = client.get(FEED, params={"user_id": f"user-{number}-{turn % 50}"})
                except httpx.HTTPError:
                    continue  # it is stopping: what was not answered is not counted
                self.statuses.add(response.status_code)
                if response.status_code == 200:
                    self.answered[response.headers["x-request-id"]] = response.json()


def test_a_clean_stop_under_load_loses_no_decision(
    store: Settings, client: Client, packed: Callable[..., Path]
) -> None:
    store.home.mkdir(parents=True, exist_ok=True)
    store.experiments_file.write_text(yaml.safe_dump({"experiments": [experiment()]}))
    bento.publish(store, shelve(store, packed("a")))
    with endpoint(store) as process:
        wait_for(lambda: ready(store), "a bundle")
        load = Load(store.endpoint_url)
        load.start()
        wait_for(lambda: len(load.answered) > 300, "300 answers")
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        load.stop()
    assert load.statuses == {200}
    sql = "SELECT toString(request_id), video_ids, scores, bundle, variants FROM feed_decisions"
    rows = {request_id: row for request_id, *row in client.query(sql).result_rows}
    assert client.query("SELECT count() FROM feed_decisions").result_rows == [(len(rows),)]
    for request_id, answer in load.answered.items():
        videos, scores, bundle, variants = rows[request_id]
        assert videos == [item["video_id"] for item in answer["items"]]
        assert scores == pytest.approx([item["score"] for item in answer["items"]], abs=1e-6)
        assert (bundle, variants) == (answer["bundle"], answer["variants"])
    assert list(store.spool_dir.rglob("*.jsonl")) == []
