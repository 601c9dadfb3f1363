"""Amazon Bedrock: the Converse API, signed by Signature Version 4 or under an API key.

Wire facts: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.providers.base import Adapter, Headers, ModelsRequest, Target, UpstreamRequest
from gateway.providers.bedrock_answers import BedrockStream, parse_response
from gateway.providers.bedrock_embeddings import invoke_body
from gateway.providers.bedrock_errors import parse_error
from gateway.providers.bedrock_request import converse_body
from gateway.providers.chat import chat_of
from gateway.providers.headers import UNCOMPRESSED, bearer_headers
from gateway.providers.sigv4 import SigningKey, amz_date, signature_headers, signing_key
from gateway.schema import Endpoint, ModelRequest

DEFAULT_REGION = "us-east-1"
_SERVICE = "bedrock"


class _Summary(msgspec.Struct):
    modelId: str  # noqa: N815


class _Models(msgspec.Struct):
    modelSummaries: list[_Summary]  # noqa: N815


_decode_models = msgspec.json.Decoder(_Models).decode
_encode = msgspec.json.encode


def build_request(request: ModelRequest, target: Target) -> UpstreamRequest:
    """Return the request to Converse, or InvokeModel, unsigned. Raises InvalidRequest, and Unsupported."""
    model = target.upstream_model
    drop = target.options.get("drop_unsupported") is True
    if request.endpoint is Endpoint.EMBEDDINGS:
        operation = "invoke"
        body, dropped = invoke_body(request.payload, model, drop=drop)
    else:
        operation = "converse-stream" if request.stream else "converse"
        body, dropped = converse_body(chat_of(request), model, drop=drop)
    path = f"{target.base_path}/model/{quote(model, safe='')}/{operation}".encode()
    headers = ((b"content-type", b"application/json"), *_identity(target))
    return UpstreamRequest(path, headers, _encode(body), dropped)


def _identity(target: Target) -> Headers:
    """Return the headers of every request; an API key among them, but not a signature."""
    return UNCOMPRESSED if target.options.get("access_key_id") else bearer_headers(target)


def sign(
    request: UpstreamRequest, target: Target, *, host: bytes, now: float, method: bytes = b"POST"
) -> UpstreamRequest:
    """Sign a request, if the connection has an access key; else its API key is there already."""
    access_key_id = target.options.get("access_key_id")
    if not access_key_id:
        return request
    moment = amz_date(now)
    key: SigningKey | None = target.memo.get("signing_key")
    if key is None or key.date != moment[:8]:
        region = target.options.get("region") or _region_of(host)
        key = signing_key(access_key_id, target.api_key, date=moment[:8], region=region, service=_SERVICE)
        target.memo["signing_key"] = key
    signature = signature_headers(request, key, host=host, moment=moment, method=method)
    return msgspec.structs.replace(request, headers=(*request.headers, *signature))


def _region_of(host: bytes) -> str:
    """Return the region that an address of AWS names, as in `bedrock-runtime.eu-west-1.amazonaws.com`."""
    labels = host.decode().split(".")
    for before, label in pairwise(labels):
        if before.startswith(_SERVICE):
            return label
    return DEFAULT_REGION


def own_base_url(options: Mapping[str, Any]) -> str:
    """Return AWS's own address of the region that the options name."""
    return f"https://bedrock-runtime.{options.get('region') or DEFAULT_REGION}.amazonaws.com"


def models_request(target: Target) -> ModelsRequest:
    """Return the request for the foundation models, which the control plane answers."""
    return ModelsRequest(f"{target.base_path}/foundation-models".encode(), _identity(target))


def models_host(host: str) -> str:
    """Return the control plane's host: the runtime's under another name, and any other server itself."""
    return host.replace("bedrock-runtime", "bedrock", 1)


def parse_models(body: bytes) -> Sequence[str]:
    """Return the names of the models. Raises ValueError."""
    return [model.modelId for model in _decode_models(body).modelSummaries]


BEDROCK = Adapter(
    "bedrock",
    own_base_url({}),
    build_request,
    parse_response,
    BedrockStream,
    parse_error,
    models_request,
    parse_models,
    sign=sign,
    models_host=models_host,
    own_base_url=own_base_url,
)
