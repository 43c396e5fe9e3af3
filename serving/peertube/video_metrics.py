"""What Prometheus reads of uploads and streams."""

from prometheus_client import CollectorRegistry, Counter


class VideoMetrics:
    """What the video routes count."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.uploads = Counter(
            "reelgraph_video_uploads", "Uploads by what became of them", ["result"], registry=registry
        )
        self.streams = Counter(
            "reelgraph_video_streams",
            "Answers about streams by where they came from",
            ["source"],
            registry=registry,
        )
