"""What security counts: refusals by cause, and how it fares. No label holds a user, a key or an address."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class SecurityMetrics:
    """`refused` by reason: missing, expired, token, api_key, ambiguous, role, rate, failures, body, head, origin."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.refused = Counter(
            "reelgraph_security_refused", "Requests refused, by cause", ["reason"], registry=registry
        )
        self.keys = Gauge("reelgraph_api_keys", "API keys in force", registry=registry)
        self.keys_broken = Gauge(
            "reelgraph_api_keys_file_broken",
            "1 while the file of keys cannot be read and the last good one is in force",
            registry=registry,
        )
        self.callers = Gauge(
            "reelgraph_rate_limited_callers", "Callers whose requests are being counted", registry=registry
        )
