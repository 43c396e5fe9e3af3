"""Dagster's GraphQL, the two calls that we make, as a real server on loopback."""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4


class Dagster:
    """Speaks the two calls we make; `error` is answered instead of anything, `delay_s` late."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.launched: list[dict[str, Any]] = []
        self.delay_s = 0.0
        self.error: dict[str, Any] | None = None
        self.cancelled: list[str] = []
        self.before_launch: list[str] = []
        """Statuses of trainings that somebody else starts just before ours."""
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(double.answer(asked["query"], asked["variables"])).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        time.sleep(self.delay_s)
        if self.error:
            return self.error
        if "terminateRun" in query:
            self.cancelled.append(variables["id"])
            return {"data": {"terminateRun": {"__typename": "TerminateRunSuccess"}}}
        if "launchRun" in query:
            while self.before_launch:
                self.run("training_job", self.before_launch.pop())
            params = variables["params"]
            self.launched.append(params)
            tags = params["executionMetadata"]["tags"]
            run = self.run(params["selector"]["jobName"], "QUEUED", tags=tags)
            return {"data": {"launchRun": {"__typename": "LaunchRunSuccess", "run": run}}}
        if "filter" not in variables:
            return {"errors": [{"message": "not a query of this double"}]}
        wanted = variables["filter"]
        found = [
            run
            for run in self.runs
            if ("runIds" not in wanted or run["runId"] in wanted["runIds"])
            and ("statuses" not in wanted or run["status"] in wanted["statuses"])
            and all(tag in run["tags"] for tag in wanted.get("tags", []))
        ]
        return {"data": {"runsOrError": {"__typename": "Runs", "results": found}}}

    def run(self, job: str, status: str, *, tags: list[dict[str, str]] | None = None, **times: Any) -> dict:
        run = {"runId": str(uuid4()), "jobName": job, "status": status, "startTime": None, "endTime": None}
        run["creationTime"] = time.time()
        run |= {"tags": tags or [], **times}
        self.runs.insert(0, run)
        return run
