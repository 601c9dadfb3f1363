"""The API's description: the OpenAPI document for programs, and a page that shows it, from our own server alone."""

import json
from functools import cache
from hashlib import sha256

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.csp import CSP
from django.views.decorators.csp import csp_override
from django.views.decorators.http import condition, require_safe

from nexus.openapi import document

_PAGE_POLICY: dict[str, list[str]] = {
    **settings.SECURE_CSP,
    "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
}  # Swagger UI styles its icons so


@cache
def _rendered() -> tuple[bytes, str]:
    body = json.dumps(document(), ensure_ascii=False, indent=1).encode()
    return body, f'"{sha256(body).hexdigest()[:32]}"'


def _etag(request: HttpRequest) -> str:
    return _rendered()[1]


@require_safe
@condition(etag_func=_etag)
def openapi_document(request: HttpRequest) -> HttpResponse:
    """Answer the document. It is public: it describes the program, and nothing of any tenant."""
    headers = {"access-control-allow-origin": "*", "cache-control": "no-cache"}
    return HttpResponse(_rendered()[0], content_type="application/json", headers=headers)


@require_safe
@csp_override(_PAGE_POLICY)
def documentation(request: HttpRequest) -> HttpResponse:
    """Show the document, with the means to try what it describes."""
    return render(request, "documentation.html")
