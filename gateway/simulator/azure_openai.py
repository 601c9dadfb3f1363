"""Azure OpenAI: OpenAI's models behind Microsoft's addresses, keys, errors and content filters.

Both of its APIs are served: the classic one, where the path names the deployment and the query the API version, and v1,
which is OpenAI's own under `/openai/v1`. A prompt with `[filter prompt]` in it is blocked, one with `[filter answer]`
gets an answer that the filter cuts off; a deployment with `async-filter` in its name filters after the text was sent.
"""

from dataclasses import replace
from urllib.parse import parse_qs

from gateway.simulator import openai
from gateway.simulator.azure_openai_errors import api_error, failure, refused
from gateway.simulator.azure_openai_filter import blocked, filtered
from gateway.simulator.dialect import Asked, Circumstances, Headers, Refused, Reply, Request, Stream
from gateway.simulator.openai_errors import error_body

_CLASSIC = "/openai/deployments/"
_V1 = "/openai/v1"
_V1_VERSIONS = ("", "v1", "latest", "preview")
_FILTERED = ("/chat/completions", "/completions")


def look(request: Request) -> Asked:
    """Read what can be read of a request; in the classic API the deployment is the model."""
    asked = openai.look(request)
    deployment, operation = _deployment_of(request.path)
    return replace(asked, model=deployment) if operation else asked


def authenticate(request: Request, api_key: str) -> None:
    """Check the key in `api-key`, or the Bearer token, which Microsoft Entra would have given. Raises Refused."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = request.headers.get("api-key") or (token.strip() if scheme.lower() == "bearer" else "")
    if not given or (api_key and given != api_key):
        raise refused(401)


def respond(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    """Answer a request, with the headers that every answer of Azure's has. Raises Refused."""
    headers = _headers(circumstances)
    try:
        return replace(_answer(request, asked, circumstances), headers=headers)
    except Refused as refusal:
        refusal.reply = replace(refusal.reply, headers=headers)
        raise


def _answer(request: Request, asked: Asked, circumstances: Circumstances) -> Reply | Stream:
    operation, asked = _operation(request, asked)
    answer = openai.route(replace(request, path=f"{openai.BASE_PATH}{operation}"), asked, circumstances, strict=True)
    if operation not in _FILTERED:
        return answer
    if blocked(asked.body):
        raise Refused(failure(400, None, code="content_filter"))
    return filtered(answer, asked)


def _operation(request: Request, asked: Asked) -> tuple[str, Asked]:
    """Return the path in OpenAI's API, and what is asked of it. Raises Refused."""
    version = parse_qs(request.query).get("api-version", [""])[0]
    if request.path.startswith(f"{_V1}/"):
        if version not in _V1_VERSIONS:
            raise Refused(api_error(400, "BadRequest", "API version not supported"))
        return request.path.removeprefix(_V1), asked
    if not version:
        raise refused(404)
    deployment, operation = _deployment_of(request.path)
    if operation:
        if "missing" in deployment or "does-not-exist" in deployment:
            raise Refused(failure(404, None, code="DeploymentNotFound"))
        body = {**asked.body, "model": asked.model} if isinstance(asked.body, dict) else asked.body
        return operation, replace(asked, body=body)
    if request.path == "/openai/models":
        return "/models", asked
    raise refused(404)


def _deployment_of(path: str) -> tuple[str, str]:
    """Return the deployment that a classic path names, and the operation; both empty for another path."""
    if not path.startswith(_CLASSIC):
        return "", ""
    deployment, slash, operation = path.removeprefix(_CLASSIC).partition("/")
    return deployment, slash + operation


def _headers(circumstances: Circumstances) -> Headers:
    return (
        ("apim-request-id", circumstances.token),
        ("x-request-id", circumstances.token[::-1]),
        ("x-ms-region", "Simulated Central"),
        ("x-ms-deployment-name", "simulated"),
        ("x-ratelimit-limit-requests", "1000"),
        ("x-ratelimit-limit-tokens", "100000"),
        ("x-ratelimit-remaining-requests", "999"),
        ("x-ratelimit-remaining-tokens", "99990"),
    )


AZURE_OPENAI = replace(
    openai.OPENAI,
    family="azure_openai",
    base_path="",
    look=look,
    authenticate=authenticate,
    answer=respond,
    failure=failure,
    quota_failure=Reply(
        429,
        error_body(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            None,
            "insufficient_quota",
        ),
    ),
)
