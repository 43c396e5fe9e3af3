"""Is a service well? One small check a kind: None when it is, else what is wrong, in a few words."""

import http.client
import json
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Protocol

from stack.settings import LOOPBACK

TIMEOUT_S = 5.0


class Probe(Protocol):
    """Asked from a worker thread; must answer within some seconds and raise nothing."""

    def check(self) -> str | None: ...


@dataclass(frozen=True)
class Alive:
    """Nothing to ask: the process is there."""

    def check(self) -> str | None:
        return None


@dataclass(frozen=True)
class HttpProbe:
    """GET `path` answers 2xx. Talks to loopback directly, whatever proxy the environment names."""

    host: str
    port: int
    path: str = "/"
    timeout_s: float = TIMEOUT_S
    tls: bool = False
    """The server speaks HTTPS. Its certificate names it as clients do, not as we reach it, so it isn't checked: we ask
    whether it is well, and tell it nothing."""

    def check(self) -> str | None:
        connection = self._connection()
        try:
            connection.request("GET", self.path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return _say(error)
        finally:
            connection.close()
        return None if 200 <= status < 300 else f"GET {self.path} answered {status}"

    def _connection(self) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout_s)
        anything = ssl.create_default_context()
        anything.check_hostname = False
        anything.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout_s, context=anything)


@dataclass(frozen=True)
class TcpProbe:
    """Something accepts connections on the port."""

    port: int
    host: str = LOOPBACK
    timeout_s: float = TIMEOUT_S

    def check(self) -> str | None:
        try:
            socket.create_connection((self.host, self.port), self.timeout_s).close()
        except OSError as error:
            return _say(error)
        return None


@dataclass(frozen=True)
class RedisProbe:
    """PING answers PONG (while loading its file it answers an error)."""

    port: int
    host: str = LOOPBACK
    timeout_s: float = TIMEOUT_S

    def check(self) -> str | None:
        try:
            with socket.create_connection((self.host, self.port), self.timeout_s) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(200)
        except OSError as error:
            return _say(error)
        return None if answer.startswith(b"+PONG") else f"PING answered {answer[:80]!r}"


@dataclass(frozen=True)
class PostgresProbe:
    """`SELECT 1` as our role."""

    port: int
    host: str = LOOPBACK
    timeout_s: float = TIMEOUT_S

    def check(self) -> str | None:
        import psycopg2

        milliseconds = int(self.timeout_s * 1000)
        try:
            connection = psycopg2.connect(
                host=self.host,
                port=self.port,
                user="reelgraph",
                dbname="postgres",
                connect_timeout=max(2, int(self.timeout_s)),
                options=f"-c statement_timeout={milliseconds}",
                tcp_user_timeout=milliseconds,
            )
        except psycopg2.OperationalError as error:
            return str(error).strip().splitlines()[0]
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error as error:
            return str(error).strip().splitlines()[0]
        finally:
            connection.close()
        return None


@dataclass(frozen=True)
class Http2Probe:
    """A gRPC server greets: the first frame of HTTP/2 is SETTINGS (RFC 9113, 3.4). A mere TCP connection is
    accepted by the kernel, also for a process that hangs."""

    port: int
    host: str = LOOPBACK
    timeout_s: float = TIMEOUT_S

    def check(self) -> str | None:
        empty_settings = b"\0\0\0\4\0\0\0\0\0"
        try:
            with socket.create_connection((self.host, self.port), self.timeout_s) as connection:
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + empty_settings)
                answer = connection.recv(9)
        except OSError as error:
            return _say(error)
        return None if answer[3:4] == b"\4" else f"greeting answered {answer!r}"


@dataclass(frozen=True)
class DagsterDaemonProbe:
    """Dagster's daemon has no port; its heartbeats are asked of the webserver.

    One of its loops may take long, so the newest heartbeat counts. A webserver that doesn't answer is not the
    daemon's fault: it has a probe of its own.
    """

    webserver_port: int
    stale_s: float = 120.0  # a heartbeat every 30
    host: str = LOOPBACK
    timeout_s: float = TIMEOUT_S

    def check(self) -> str | None:
        query = "{instance{daemonHealth{allDaemonStatuses{lastHeartbeatTime}}}}"
        connection = http.client.HTTPConnection(self.host, self.webserver_port, timeout=self.timeout_s)
        try:
            body, kind = json.dumps({"query": query}), {"Content-Type": "application/json"}
            connection.request("POST", "/graphql", body, kind)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        if response.status != 200:
            return None
        statuses = json.loads(answer)["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
        newest = max((status["lastHeartbeatTime"] or 0 for status in statuses), default=0)
        age = time.time() - newest
        if newest == 0:
            return "no heartbeat yet"
        return None if age <= self.stale_s else f"last heartbeat {age:.0f} s ago"


def _say(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    said = (error.strerror if isinstance(error, OSError) else None) or str(error).strip()
    return said or type(error).__name__
