"""The endpoint's opt-out list: in force within a second, whatever the bundle in service knows."""

import time
from dataclasses import dataclass

from ingestion.erasure.book import User
from ingestion.erasure.receipt import Entry, State
from stack.endpoint_trust import endpoint_trust
from stack.erased_users import ErasedUsers, OptOutFileError, opt_out_file, read_opt_out, write_opt_out
from stack.settings import Settings

WAIT_S = 5.0
_ASK_EVERY_S = 0.1
_TIMEOUT_S = 2.0


@dataclass
class OptOutList:
    """`erased` is the whole list, from Postgres: the file is its copy for an endpoint that needs no store."""

    settings: Settings
    erased: ErasedUsers
    wait_s: float = WAIT_S
    name: str = "endpoint"

    def erase(self, user: User) -> int:
        """Writes the list; the endpoint looks at it every half second."""
        if self._listed() != self.erased:
            write_opt_out(self.settings, self.erased)
        return 0

    def look(self, user: User) -> Entry:
        listed = self._listed()
        if listed is None or user.hash not in listed.hashes:
            return Entry(self.name, State.HELD, left=1, note="the user is not on the endpoint's opt-out list")
        deadline = time.monotonic() + self.wait_s
        while (served := self._in_force()) not in (None, listed.version):
            if time.monotonic() > deadline:
                note = f"it answers by another opt-out list ({served or 'of an older release'}): restart it"
                return Entry(self.name, State.HELD, left=1, note=note)
            time.sleep(_ASK_EVERY_S)
        if served is None:
            return Entry(
                self.name, State.GONE, note="not answering now; it reads the opt-out list when it starts"
            )
        return Entry(self.name, State.GONE, note="answers as to an unknown user")

    def _listed(self) -> ErasedUsers | None:
        try:
            return read_opt_out(opt_out_file(self.settings))
        except OptOutFileError:
            return None  # written anew by `erase`, and not taken for a list by `look`

    def _in_force(self) -> str | None:
        """The version of the list the endpoint answers by, '' from one that has none; None if it serves nothing."""
        import httpx

        try:
            url = f"{self.settings.endpoint_url}/health/ready"
            answer = httpx.get(url, timeout=_TIMEOUT_S, verify=endpoint_trust(self.settings))
            body = answer.json()
        except (httpx.HTTPError, ValueError):
            return None
        if answer.status_code != httpx.codes.OK or not isinstance(body, dict):
            return None  # without a bundle in service it answers nobody
        return str(body.get("opt_out") or "")
