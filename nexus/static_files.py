"""Static files from the process itself: WhiteNoise, made fit for Django's asynchronous handler.

WhiteNoise is synchronous only. As it stands it would send every request of the console through a thread, and Django
warns about each file that it serves.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, override

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]  # it has no types of its own
    """Answers for static files, and passes everything else on untouched."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    @override
    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        answer: HttpResponseBase | Awaitable[HttpResponseBase] = super().__call__(request)
        if iscoroutinefunction(self.get_response) and isinstance(answer, HttpResponseBase):
            return _soon(answer)
        return answer

    @staticmethod
    @override
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Return a file whole: ours are small, and a file as an iterator would be read in a thread."""
        found = static_file.get_response(request.method, request.META)
        content = b""
        if found.file is not None:
            with found.file as file:
                content = file.read()
        response = HttpResponse(content, status=int(found.status), headers=dict(found.headers))
        if "Content-Type" not in dict(found.headers):
            del response.headers["content-type"]  # Django's default would say that a 304 is HTML
        return response

    @override
    def add_files(self, root: Any, prefix: str | None = None) -> None:
        """Take a folder in. A checkout has not collected its files: it serves them from where they lie."""
        if Path(root).is_dir():
            super().add_files(root, prefix)


async def _soon(response: HttpResponseBase) -> HttpResponseBase:
    return response
