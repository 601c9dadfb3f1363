"""A client of the management API, as small as the set-up needs it."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from bench.programs import CannotMeasure


class Refused(CannotMeasure):
    """The API refused a request. `param` is the member that it names as the cause."""

    def __init__(self, path: str, status: int, body: str) -> None:
        super().__init__(f"{path} answered {status}: {body[:500]}")
        self.status = status
        try:
            self.param = json.loads(body)["error"]["param"]
        except (ValueError, KeyError, TypeError):
            self.param = None


class Management:
    """Calls a console on a loopback port with an API key."""

    def __init__(self, port: int, api_key: str) -> None:
        self._origin = f"http://127.0.0.1:{port}"
        self._headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object. Raises Refused."""
        made: dict[str, Any] = json.loads(self._ask(path, json.dumps(body).encode()))
        return made

    def exists(self, path: str) -> bool:
        """Whether a path is one that the installation answers."""
        try:
            self._ask(path, None)
        except Refused as refusal:
            if refusal.status == 404:
                return False
            if refusal.status in (400, 401, 403, 405):
                return True
            raise
        return True

    def is_ready(self) -> bool:
        try:
            self._ask("/readyz", None)
        except (Refused, urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def _ask(self, path: str, body: bytes | None) -> str:
        request = urllib.request.Request(f"{self._origin}{path}", data=body, headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                answer: bytes = response.read()
                return answer.decode()
        except urllib.error.HTTPError as error:
            raise Refused(path, error.code, error.read().decode(errors="replace")) from None
