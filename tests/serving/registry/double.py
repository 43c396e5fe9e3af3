"""MLflow's REST, the three calls that we make, saying what a test wants."""

from http.server import BaseHTTPRequestHandler


class Registry(BaseHTTPRequestHandler):
    """Says what it is told to, and counts."""

    answers: dict[str, tuple[int, bytes]] = {}  # noqa: RUF012 - set by the test
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        path = self.path.split("?")[0].removeprefix("/api/2.0/mlflow/")
        self.asked.append(path)
        status, body = self.answers.get(path, (404, b"{}"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


ONE = (
    b'{"model_versions": [{"version": "1", "creation_timestamp": 1, "run_id": "r", "status": "READY"}],'
    b'"registered_model": {"aliases": [{"alias": "champion", "version": "1"}]}}'
)
RUN = (
    b'{"run": {"info": {"experiment_id": "1", "status": "FINISHED"},'
    b'"data": {"metrics": [{"key": "a", "value": 1}]}}}'
)
GOOD = {
    "registered-models/get": (200, ONE),
    "model-versions/search": (200, ONE),
    "runs/get": (200, RUN),
}
