"""Uploads through the endpoint as it runs: they outlast BentoML's time-out, and are streamed."""

import httpx
import pytest
from pydantic import SecretStr

from stack.settings import Settings
from tests.serving.conftest import free_port
from tests.serving.peertube.conftest import FIELDS, MP4
from tests.serving.peertube.double import PeerTubeDouble
from tests.serving.test_endpoint import endpoint

pytestmark = [pytest.mark.slow, pytest.mark.stack]
LONGER_THAN_THE_TIME_OUT_S = 4.0


def test_an_upload_takes_its_time_and_can_be_played(
    empty_database: Settings, redis: Settings, peertube: PeerTubeDouble, tmp_path
) -> None:
    settings = empty_database.model_copy(
        update={
            "home": tmp_path / "home",
            "endpoint_port": free_port(),
            "redis_port": redis.redis_port,
            "peertube_url": peertube.url,
            "peertube_username": peertube.user,
            "peertube_password": SecretStr(peertube.password),
        }
    )
    peertube.fail("upload", delay_s=LONGER_THAN_THE_TIME_OUT_S)
    with endpoint(settings):
        files = {"file": ("cat.mp4", MP4, "video/mp4")}
        url = f"{settings.endpoint_url}/api/v1/videos"
        response = httpx.post(url, data=FIELDS, files=files, timeout=30)
        assert response.status_code == 201, response.text
        answer = httpx.get(f"{settings.endpoint_url}{response.json()['stream_url']}").json()
    [uuid] = peertube.videos
    assert answer["hls_url"] == f"{peertube.url}/static/{uuid}/master.m3u8"
    assert answer["degraded"] is False
