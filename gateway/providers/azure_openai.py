"""Azure OpenAI: OpenAI's bodies, answers and streams at Microsoft's addresses and under Microsoft's keys.

The upstream model name is the deployment. Two APIs are spoken, told apart by the base URL: v1 under `…/openai/v1`, else
the classic one, with the deployment in the path and `options.api_version` in the query. Its streams begin with what the
content filter says of the prompt, in a chunk without choices: no content, so nothing is committed to by it.

Wire facts: https://learn.microsoft.com/azure/ai-foundry/openai/reference.
"""

from dataclasses import replace
from urllib.parse import quote

from gateway.providers.base import Headers, ModelsRequest, Target, UpstreamRequest
from gateway.providers.headers import bearer_headers, json_headers, key_headers
from gateway.providers.openai import OPENAI
from gateway.schema import ModelRequest

API_VERSION = "2024-10-21"  # the newest that is generally available
_V1_PATH = "/openai/v1"
_CLASSIC_PATH = "/openai"
_V1_VERSIONS = ("v1", "latest", "preview")  # api versions that belong to v1


def build_request(request: ModelRequest, target: Target) -> UpstreamRequest:
    """Return the upstream request: the client's body at the deployment's address."""
    known = (request.endpoint, request.stream)
    if known not in target.memo:
        headers = json_headers(_identity(target), stream=request.stream)
        target.memo[known] = (_path(target, request.endpoint.value), headers)
    path, headers = target.memo[known]
    return UpstreamRequest(path, headers, request.body_for(target.upstream_model))


def models_request(target: Target) -> ModelsRequest:
    """Return the request for the models of the resource's region. Deployments are listed by no key of this API."""
    return ModelsRequest(_path(target, "models"), ((b"accept", b"application/json"), *_identity(target)))


def _path(target: Target, operation: str) -> bytes:
    root, version, is_v1 = _api(target)
    if is_v1:
        query = f"?api-version={version}" if version in ("latest", "preview") else ""
        return f"{root}{_V1_PATH}/{operation}{query}".encode()
    where = operation if operation == "models" else f"deployments/{quote(target.upstream_model, safe='')}/{operation}"
    return f"{root}{_CLASSIC_PATH}/{where}?api-version={version}".encode()


def _api(target: Target) -> tuple[str, str, bool]:
    """Return the resource's path, the API's version, and whether it is v1; what SDKs take as base URL is understood."""
    version = str(target.options.get("api_version") or "")
    root, found, rest = target.base_path.rpartition(_CLASSIC_PATH)
    if not found or rest.partition("/deployments/")[0] not in ("", "/v1"):
        root, rest = target.base_path, ""
    if rest == "/v1" or version in _V1_VERSIONS:
        return root, version, True
    return root, version or API_VERSION, False


def _identity(target: Target) -> Headers:
    """Return the headers that every request has. A token of Microsoft Entra is a JWT, which no key looks like."""
    is_token = target.api_key.startswith("eyJ") and target.api_key.count(".") == 2
    return bearer_headers(target) if is_token else key_headers(target, b"api-key")


AZURE_OPENAI = replace(
    OPENAI,
    family="azure_openai",
    default_base_url="",
    build_request=build_request,
    models_request=models_request,
)
