"""The OpenAPI document, made from the views themselves: what is the same for all of them is said here, once.

A view says its operation's name, summary and answer (`extend_schema`). Its scope, its errors, the request id on every
answer and who may call come from the view's own declarations, so that they cannot differ from what it does. The data
plane, which is no REST framework view, adds its part by a hook (gateway/openapi.py).
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import inline_serializer
from rest_framework import serializers

from nexus.errors import TYPES_BY_STATUS, NexusError

Json = dict[str, Any]
REFUSALS = {
    400: ("InvalidRequest", "Malformed: `param` names the member or parameter at fault."),
    401: ("Unauthenticated", "The API key is missing, unknown, expired or revoked (`INVALID_API_KEY`)."),
    403: ("Refused", "The key or role lacks the scope (`SCOPE_REQUIRED`), or a rule forbids it."),
    404: ("Missing", "There is no such object, or it belongs to another tenant."),
    409: ("Contradiction", "It contradicts what there is, such as a name that is taken."),
}
ANY_OTHER = ("OtherError", "Any other error, in the same shape.")
_SAFE = ("GET", "HEAD")
_TAGS = {"circuits": "Providers"}  # else the noun of the path


class ApiSchema(AutoSchema):
    """Describes one operation. What a view declares about itself is not said a second time."""

    def get_tags(self) -> list[str]:
        noun = self.path.removeprefix("/v1/").partition("/")[0]
        return [_TAGS.get(noun, noun.capitalize())]

    def get_description(self) -> str:  # type: ignore[override]  # drf-spectacular knows path and method
        told = [super().get_description() or ""]
        scope = getattr(self.view, "scopes", {}).get(self.method)
        told.append(f"Scope: `{scope}`." if scope else "Every key and member of the tenant may call it.")
        return "\n\n".join(filter(None, told))

    def get_operation(self, *arguments: Any, **named: Any) -> Json | None:
        operation: Json | None = super().get_operation(*arguments, **named)
        if operation is None:
            return None
        for answer in operation["responses"].values():
            answer.setdefault("headers", {})["x-request-id"] = header("x-request-id")
        return {**operation, "responses": {**operation["responses"], **errors(*self._refusals(operation))}}

    def _refusals(self, operation: Json) -> Iterator[int]:
        yield from (401, 403)
        parameters = operation.get("parameters", [])
        if "requestBody" in operation or any(each["in"] == "query" for each in parameters):
            yield 400
        if any(each["in"] == "path" for each in parameters):
            yield 404
        if self.method not in _SAFE:
            yield 409


class StrictSerializerExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Members that are not named are refused, so the document names all there are."""

    target_class = "nexus.rest.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: str) -> Json:
        schema: Json = auto_schema._map_serializer(  # type: ignore[no-untyped-call]
            self.target, direction, bypass_extensions=True
        )
        for name, field in self.target.fields.items():
            if isinstance(field, serializers.CharField) and not field.allow_blank:
                schema["properties"][name].setdefault("minLength", 1)
        return {**schema, "additionalProperties": False}


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.auth.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> Json:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "nxk_…", "description": "An API key."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.auth.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> Json:
        told = (
            "The console's session. Writing needs the header `X-CSRFToken`; `X-Nexus-Tenant` chooses the tenant by its "
            "slug where the user belongs to several."
        )
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": told}


def page_of(item: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    """Return the shape of a page of these."""
    name = item.__name__.removesuffix("Serializer")
    return inline_serializer(
        f"{name}Page",
        {
            "data": item(many=True),
            "next_cursor": serializers.CharField(
                allow_null=True, help_text="Give it as `cursor` for the next page; null: this is the last one."
            ),
        },
    )


@cache
def document() -> Json:
    """Return the whole document. It depends on the code alone, so it is made once per process."""
    made: Json = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return made


def errors(*statuses: int) -> Json:
    """Return the responses of an operation that may fail with these statuses, by reference."""
    named = {str(status): _response(REFUSALS[status][0]) for status in sorted(statuses)}
    return {**named, "default": _response(ANY_OTHER[0])}


def header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}


def add_errors(result: Json, **_: Any) -> Json:
    """Add the one error shape, and the responses that have it (drf-spectacular's hook)."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = error_schema()
    components.setdefault("headers", {}).update(
        {
            "x-request-id": _text_header("The request's id; `GET /v1/requests/{id}` shows what became of it.", "uuid"),
            "retry-after": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
            "x-should-retry": {
                "description": "`false`: the same request will fail again.",
                "schema": {"type": "string", "enum": ["true", "false"]},
            },
            "www-authenticate": _text_header("How to authenticate: `Bearer`."),
        }
    )
    named = (*REFUSALS.values(), ANY_OTHER)
    components.setdefault("responses", {}).update({name: error_response(told) for name, told in named})
    components["responses"]["Unauthenticated"]["headers"]["www-authenticate"] = header("www-authenticate")
    components["schemas"] = dict(sorted(components["schemas"].items()))
    return result


def error_response(told: str) -> Json:
    """Return a response that is an error."""
    names = ("x-request-id", "x-should-retry", "retry-after")
    return {
        "description": told,
        "headers": {name: header(name) for name in names},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def error_schema() -> Json:
    """Return the shape of every error. The codes are those that the program can raise."""
    types = sorted({*TYPES_BY_STATUS.values(), "server_error"})
    told = {
        "message": {"type": "string", "description": "What is wrong and what to do about it, for people."},
        "type": {"type": "string", "description": f"OpenAI's word, by which SDKs choose: {', '.join(types)}."},
        "param": {"type": ["string", "null"], "description": "The member or parameter at fault."},
        "code": {
            "description": "Stable, for programs. A provider that refuses a request itself has codes of its own.",
            "anyOf": [{"type": "string", "enum": error_codes()}, {"type": "string"}],
        },
        "request_id": {"type": "string", "format": "uuid", "description": "The same as the header `x-request-id`."},
        "nexus": {"type": "object", "description": "What is ours alone, such as the `attempts` at providers."},
    }
    inner = {"type": "object", "properties": told, "required": [name for name in told if name != "nexus"]}
    return {
        "type": "object",
        "description": "Every error of every endpoint has this shape.",
        "properties": {"error": inner},
        "required": ["error"],
        "examples": [
            {
                "error": {
                    "message": "The API key is missing, unknown, expired or revoked.",
                    "type": "authentication_error",
                    "param": None,
                    "code": "INVALID_API_KEY",
                    "request_id": "01a21235-38d2-723d-80b0-d22a1f7f8d85",
                }
            }
        ],
    }


def error_codes() -> list[str]:
    """Return the code of every error class that is loaded."""

    def below(kind: type[NexusError]) -> Iterator[type[NexusError]]:
        yield kind
        for each in kind.__subclasses__():
            yield from below(each)

    return sorted({kind.code for kind in below(NexusError)})


def _response(name: str) -> Mapping[str, str]:
    return {"$ref": f"#/components/responses/{name}"}


def _text_header(told: str, form: str | None = None) -> Json:
    return {"description": told, "schema": {"type": "string", **({"format": form} if form else {})}}
