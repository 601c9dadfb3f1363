"""What the terminal shows once the system answers: where it is, how to log in, and a first request to copy."""

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.05, 1.0  # a page that fails logs a traceback each time
_PAGES = ("/healthz", "/accounts/login/")
_MODEL = "gpt-4o-mini"


def await_answers(host: str, port: int, *, seconds: float, ended: Callable[[], bool]) -> bool:
    """Return whether the runtime and, through it, the console answered in time. Gives up early when `ended` says so."""
    deadline = time.monotonic() + seconds
    waiting, pause = list(_PAGES), _FIRST_POLL_SECONDS
    while waiting and time.monotonic() < deadline and not ended():
        if _answers(host, port, waiting[0]):
            waiting.pop(0)
        else:
            time.sleep(pause)
            pause = min(pause * 1.3, _LONGEST_POLL_SECONDS)
    return not waiting


def _answers(host: str, port: int, path: str) -> bool:
    """Whether somebody answers. A redirect or a refused Host header is the operator's choice, not a failure."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable_host(host: str) -> str:
    """Return the host to type for a server that listens on `host`."""
    return "127.0.0.1" if host in ("0.0.0.0", "::", "localhost", "") else host  # noqa: S104  (compared, not bound)


def welcome(url: str, demo: Mapping[str, Any] | None) -> str:
    """Return the text for the terminal."""
    if demo is None:
        return (
            f"\nNEXUS runs on {url}\n\n"
            "  A first tenant:  manage.py bootstrap --tenant acme --email you@example.com --password - \\\n"
            "                     --scopes completions:write\n\n"
            "Ctrl-C stops everything.\n"
        )
    question = json.dumps({"model": demo.get("model", _MODEL), "messages": [{"role": "user", "content": "Hello"}]})
    return (
        f"\nNEXUS runs on {url}\n\n"
        f"  Log in as   {demo['user']}   password  {demo['password']}   (demo tenant: {demo['tenant']})\n"
        f"  API key     {demo['api_key']}\n\n"
        "The demo's providers are simulated; nothing leaves this machine. A first request:\n\n"
        f"  curl {url}/v1/chat/completions \\\n"
        f"    -H 'Authorization: Bearer {demo['api_key']}' -H 'Content-Type: application/json' \\\n"
        f"    -d '{question}'\n\n"
        "Ctrl-C stops everything; the data is kept.\n"
    )
