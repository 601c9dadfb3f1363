"""Amazon's own SDK takes the simulator for Bedrock."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import boto3
import botocore.auth
import botocore.exceptions
import pytest
from botocore.config import Config
from botocore.eventstream import ChecksumMismatch
from cryptography import x509

from tests.gateway.test_transport_connect import certificate
from tests.upstream import Upstream

ACCESS_KEY_ID, SECRET = "AKIDSIMULATED", "the/secret+access-key"
CLAUDE, NOVA = "anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-lite-v1:0"
ASK: Any = [{"role": "user", "content": [{"text": "Hello there"}]}]


def tool(name: str, **properties: Any) -> Any:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"toolSpec": {"name": name, "description": "A tool.", "inputSchema": {"json": schema}}}


WEATHER = tool("weather", city={"type": "string"}, days={"type": "integer", "minimum": 2})
TIME = tool("time", zone={"enum": ["UTC", "CET"]})


@pytest.fixture(scope="module")
def simulator() -> Iterator[Upstream]:
    with Upstream("bedrock", api_key=SECRET) as running:
        yield running


@pytest.fixture
def upstream(simulator: Upstream) -> Upstream:
    simulator.reset()
    return simulator


def client(url: str, service: str = "bedrock-runtime", *, secret: str = SECRET, **options: Any) -> Any:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=options.pop("read_timeout", 5))
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=secret,
        config=config,
        **options,
    )


@pytest.fixture(scope="module")
def kept(simulator: Upstream) -> Any:
    """One client for all tests: making one takes boto3 seconds."""
    return client(simulator.origin)


@pytest.fixture
def sdk(kept: Any, upstream: Upstream) -> Any:
    return kept


def text_of(answer: Any) -> str:
    return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])


def streamed(sdk: Any, **arguments: Any) -> list[dict[str, Any]]:
    return list(sdk.converse_stream(**{"modelId": CLAUDE, "messages": ASK, **arguments})["stream"])


def deltas(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]


def test_a_signed_request_is_answered_and_says_that_it_is_simulated(sdk: Any) -> None:
    answer = sdk.converse(modelId=CLAUDE, messages=ASK, system=[{"text": "Be brief."}])
    assert text_of(answer) == "[simulated] You said: Hello there"
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"] == {
        "inputTokens": 3 + 3,
        "outputTokens": 9,
        "totalTokens": 15,
        "cacheReadInputTokens": 0,
        "cacheWriteInputTokens": 0,
    }
    assert answer["metrics"]["latencyMs"] >= 0
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-nexus-simulated"] == "bedrock"
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36


def test_a_model_may_be_an_arn_whose_slashes_are_encoded(sdk: Any, upstream: Upstream) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert text_of(sdk.converse(modelId=arn, messages=ASK)).endswith("Hello there")
    assert upstream.log()[-1]["model"] == arn


def test_another_secret_is_refused(upstream: Upstream) -> None:
    forger = client(upstream.origin, secret="another/secret")
    with pytest.raises(botocore.exceptions.ClientError, match="signature we calculated does not match") as raised:
        forger.converse(modelId=CLAUDE, messages=ASK)
    assert raised.value.response["Error"]["Code"] == "InvalidSignatureException"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_without_a_key_of_its_own_it_knows_amazons_example_pair() -> None:
    pair = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE"}
    with Upstream("bedrock") as upstream:
        for secret, good in (("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", True), ("forged", False)):
            session = boto3.Session(aws_secret_access_key=secret, region_name="eu-central-1", **pair)
            sdk = session.client("bedrock-runtime", endpoint_url=upstream.origin)
            if good:
                assert sdk.converse(modelId=CLAUDE, messages=ASK)["stopReason"] == "end_turn"
            else:
                with pytest.raises(botocore.exceptions.ClientError, match="does not match"):
                    sdk.converse(modelId=CLAUDE, messages=ASK)


def test_a_bearer_key_is_good_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, trusted = certificate(tmp_path, x509.IPAddress(ip_address("127.0.0.1")))
    with Upstream("bedrock", api_key="bedrock-key", tls=context) as upstream:
        for key, good in (("bedrock-key", True), ("another", False)):
            monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", key)
            sdk = boto3.client(
                "bedrock-runtime", endpoint_url=upstream.origin, region_name="us-east-1", verify=str(trusted)
            )
            if good:
                assert text_of(sdk.converse(modelId=CLAUDE, messages=ASK)).endswith("Hello there")
                assert upstream.log()[-1]["headers"]["authorization"].startswith("Bearer sha256:")
            else:
                with pytest.raises(sdk.exceptions.AccessDeniedException, match="API Key is valid"):
                    sdk.converse(modelId=CLAUDE, messages=ASK)


def test_a_stream_is_start_words_stop_metadata(sdk: Any) -> None:
    events = streamed(sdk)
    assert [next(iter(event)) for event in events] == [
        "messageStart",
        *["contentBlockDelta"] * 5,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert events[0]["messageStart"]["role"] == "assistant"
    assert [delta["text"] for delta in deltas(events)] == ["[simulated] ", "You ", "said: ", "Hello ", "there"]
    assert events[-2]["messageStop"]["stopReason"] == "end_turn"
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 9


def test_a_tool_call_is_the_same_plain_and_streamed(sdk: Any) -> None:
    plain = sdk.converse(modelId=CLAUDE, messages=ASK, toolConfig={"tools": [WEATHER]})
    use = plain["output"]["message"]["content"][0]["toolUse"]
    assert (use["name"], use["input"]) == ("weather", {"city": "simulated city", "days": 2})
    assert plain["stopReason"] == "tool_use"
    events = streamed(sdk, toolConfig={"tools": [WEATHER]})
    start = next(event["contentBlockStart"] for event in events if "contentBlockStart" in event)
    assert start["start"]["toolUse"]["name"] == "weather"
    assert json.loads("".join(delta["toolUse"]["input"] for delta in deltas(events))) == use["input"]
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"


def test_two_tools_are_called_in_parallel_if_the_user_says_so(sdk: Any) -> None:
    messages = [{"role": "user", "content": [{"text": "Do both in parallel."}]}]
    events = streamed(sdk, messages=messages, toolConfig={"tools": [WEATHER, TIME], "toolChoice": {"any": {}}})
    starts = [event["contentBlockStart"] for event in events if "contentBlockStart" in event]
    assert [start["start"]["toolUse"]["name"] for start in starts] == ["weather", "time"]
    assert [start["contentBlockIndex"] for start in starts] == [0, 1]


def test_a_named_tool_is_called_and_its_result_is_quoted(sdk: Any) -> None:
    config = {"tools": [WEATHER, TIME], "toolChoice": {"tool": {"name": "time"}}}
    first = sdk.converse(modelId=CLAUDE, messages=ASK, toolConfig=config)["output"]["message"]
    use = first["content"][0]["toolUse"]
    assert use["name"] == "time"
    result = {"toolUseId": use["toolUseId"], "content": [{"text": "18 degrees"}]}
    history = [*ASK, first, {"role": "user", "content": [{"toolResult": result}]}]
    answer = sdk.converse(modelId=CLAUDE, messages=history, toolConfig={"tools": [WEATHER, TIME]})
    assert text_of(answer) == "[simulated] The tool answered: 18 degrees"


def test_an_image_is_mentioned_and_counted(sdk: Any) -> None:
    image = {"image": {"format": "png", "source": {"bytes": b"\x89PNG\r\n\x1a\n"}}}
    answer = sdk.converse(modelId=CLAUDE, messages=[{"role": "user", "content": [{"text": "What?"}, image]}])
    assert text_of(answer) == "[simulated] You said: What? [1 image(s): image/png, 8 bytes]"
    assert answer["usage"]["inputTokens"] == 2 + 85


def test_a_json_schema_is_kept(sdk: Any) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "additionalProperties": False}
    structure = {"jsonSchema": {"name": "person", "schema": json.dumps(schema)}}
    config = {"textFormat": {"type": "json_schema", "structure": structure}}
    assert json.loads(text_of(sdk.converse(modelId=CLAUDE, messages=ASK, outputConfig=config))) == {"age": 1}
    with pytest.raises(sdk.exceptions.ValidationException, match="doesn't support the outputConfig"):
        sdk.converse(modelId=NOVA, messages=ASK, outputConfig=config)


def test_reasoning_comes_first_and_signed(sdk: Any) -> None:
    more = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    answer = sdk.converse(modelId=CLAUDE, messages=ASK, additionalModelRequestFields=more)
    reasoning, text = answer["output"]["message"]["content"]
    assert reasoning["reasoningContent"]["reasoningText"]["signature"]
    assert text["text"].startswith("[simulated] You said")
    assert answer["usage"]["outputTokens"] == 9 + 32
    thoughts = [delta["reasoningContent"] for delta in deltas(streamed(sdk, additionalModelRequestFields=more))[:-5]]
    assert "".join(thought.get("text", "") for thought in thoughts).startswith("[simulated] The user")
    assert thoughts[-1] == {"signature": reasoning["reasoningContent"]["reasoningText"]["signature"]}
    again = [*ASK, {"role": "assistant", "content": [reasoning, text]}, *ASK]
    assert sdk.converse(modelId=CLAUDE, messages=again)["stopReason"] == "end_turn"
    reasoning["reasoningContent"]["reasoningText"]["text"] = "Something else."
    with pytest.raises(sdk.exceptions.ValidationException, match="Invalid `signature`"):
        sdk.converse(modelId=CLAUDE, messages=again)


def test_what_stands_before_a_cache_point_is_written_once_and_then_read(sdk: Any) -> None:
    system = [{"text": "x" * 8000}, {"cachePoint": {"type": "default"}}]
    usages = [sdk.converse(modelId=CLAUDE, messages=ASK, system=system)["usage"] for _ in range(2)]
    assert [(usage["cacheWriteInputTokens"], usage["cacheReadInputTokens"]) for usage in usages] == [
        (2000, 0),
        (0, 2000),
    ]
    assert {usage["inputTokens"] for usage in usages} == {3}
    assert {usage["totalTokens"] for usage in usages} == {2000 + 3 + 9}


@pytest.mark.parametrize(
    ("config", "reason", "text"),
    [
        ({"maxTokens": 5}, "max_tokens", "[simulated] You said"),
        ({"stopSequences": ["there"]}, "stop_sequence", "[simulated] You said: Hello "),
        ({"temperature": 0.5, "stopSequences": ["nowhere"]}, "end_turn", "[simulated] You said: Hello there"),
    ],
)
def test_what_ends_an_answer_is_told(sdk: Any, config: Any, reason: str, text: str) -> None:
    answer = sdk.converse(modelId=CLAUDE, messages=ASK, inferenceConfig=config)
    assert (answer["stopReason"], text_of(answer)) == (reason, text)
    events = streamed(sdk, inferenceConfig=config)
    assert "".join(delta["text"] for delta in deltas(events)) == text
    assert events[-2]["messageStop"]["stopReason"] == reason


USE: Any = {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {}}}
RESULT: Any = {"toolResult": {"toolUseId": "t1", "content": [{"text": "x"}]}}
TOOLS: Any = {"tools": [WEATHER]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"messages": []}, "must start with a user message"),
        ({"messages": [{"role": "assistant", "content": [{"text": "Hi"}]}]}, "must start with a user message"),
        ({"messages": [*ASK, *ASK]}, "must alternate between user and assistant"),
        ({"messages": [{"role": "user", "content": []}]}, "The content field in the Message object at messages.0"),
        ({"messages": [{"role": "user", "content": [{"text": " "}]}]}, "at messages.0.content.0 is blank"),
        ({"messages": [*ASK, {"role": "assistant", "content": [USE]}]}, "toolConfig field must be defined"),
        ({"messages": [*ASK, {"role": "assistant", "content": [USE]}, *ASK], "toolConfig": TOOLS}, "Expected toolRes"),
        ({"messages": [{"role": "user", "content": [RESULT]}], "toolConfig": TOOLS}, "exceeds the number of toolUse"),
        ({"inferenceConfig": {"temperature": 1.5}}, "less than or equal to 1"),
        ({"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}, "cannot both be specified"),
        ({"inferenceConfig": {"stopSequences": [" "]}}, "non-whitespace"),
        ({"modelId": "anthropic.claude-opus-5-5-v1:0", "inferenceConfig": {"temperature": 0.5}}, "is deprecated"),
        ({"modelId": NOVA, "inferenceConfig": {"stopSequences": list("abcde")}}, "maximum item count: 4"),
        ({"modelId": "meta.llama3-3-70b", "toolConfig": {**TOOLS, "toolChoice": {"any": {}}}}, "toolChoice.any"),
        ({"modelId": "no.model-is-missing"}, "model identifier is invalid"),
        ({"modelId": "amazon.titan-embed-text-v2:0"}, "This action doesn't support the model"),
        (
            {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 10}}},
            "greater than or equal to 1024",
        ),
    ],
)
def test_what_bedrock_refuses_is_refused_in_its_words(sdk: Any, arguments: Any, words: str) -> None:
    with pytest.raises(sdk.exceptions.ValidationException, match=words):
        sdk.converse(**{"modelId": CLAUDE, "messages": ASK, **arguments})


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("status=400", "ValidationException"),
        ("status=403", "AccessDeniedException"),
        ("status=404", "ResourceNotFoundException"),
        ("status=408", "ModelTimeoutException"),
        ("status=424", "ModelErrorException"),
        ("status=429", "ThrottlingException"),
        ("insufficient_quota", "ThrottlingException"),
        ("status=500", "InternalServerException"),
        ("status=503", "ServiceUnavailableException"),
    ],
)
def test_each_failure_raises_its_exception(sdk: Any, fault: str, code: str) -> None:
    for ask in (sdk.converse, sdk.converse_stream):
        with pytest.raises(getattr(sdk.exceptions, code)) as raised:
            ask(modelId=f"{CLAUDE}!{fault}", messages=ASK)
        assert raised.value.response["Error"]["Message"]


def test_an_exception_in_the_stream_raises_after_what_came_before(sdk: Any) -> None:
    for fault, before in (("error_first", 0), ("error@3", 2)):
        stream = iter(sdk.converse_stream(modelId=f"{CLAUDE}!{fault}", messages=ASK)["stream"])
        assert len([next(stream) for _ in range(before)]) == before
        with pytest.raises(botocore.exceptions.EventStreamError, match="modelStreamErrorException"):
            next(stream)


def test_a_wrong_checksum_is_noticed(sdk: Any) -> None:
    with pytest.raises(ChecksumMismatch):
        streamed(sdk, modelId=f"{CLAUDE}!bad_crc@3")


@pytest.mark.parametrize("fault", ["crlf", "comments", "split", "unknown_event", "split+crlf+comments"])
def test_harmless_faults_leave_the_text_alone(sdk: Any, fault: str) -> None:
    events = streamed(sdk, modelId=f"{CLAUDE}!{fault}")
    assert "".join(delta["text"] for delta in deltas(events)) == "[simulated] You said: Hello there"


def test_faults_of_the_end_are_there(sdk: Any) -> None:
    def kinds(fault: str) -> list[str]:
        return [next(iter(event)) for event in streamed(sdk, modelId=f"{CLAUDE}!{fault}")]

    assert kinds("no_done")[-1] == "messageStop"
    assert kinds("cut@3") == ["messageStart", "contentBlockDelta"]
    assert kinds("empty") == []
    assert kinds("usage_twice")[-2:] == ["metadata", "metadata"]
    assert kinds("double_finish").count("messageStop") == 2
    assert "usage" not in streamed(sdk, modelId=f"{CLAUDE}!no_usage")[-1]["metadata"]


def test_the_control_plane_lists_models(upstream: Upstream) -> None:
    control = client(upstream.origin, "bedrock")
    names = [model["modelId"] for model in control.list_foundation_models()["modelSummaries"]]
    assert {CLAUDE, NOVA} <= set(names)
    only = control.list_foundation_models(byProvider="Amazon", byOutputModality="EMBEDDING")["modelSummaries"]
    assert [model["modelId"] for model in only] == ["amazon.titan-embed-text-v2:0"]
    assert control.get_foundation_model(modelIdentifier=CLAUDE)["modelDetails"]["modelId"] == CLAUDE


def test_titan_and_cohere_embed_through_invoke_model(sdk: Any) -> None:
    def invoke(model: str, **body: Any) -> Any:
        return json.loads(sdk.invoke_model(modelId=model, body=json.dumps(body))["body"].read())

    titan = invoke("amazon.titan-embed-text-v2:0", inputText="a cat", dimensions=256)
    assert len(titan["embedding"]) == 256
    assert titan["inputTextTokenCount"] == 2
    cohere = invoke("cohere.embed-english-v3", texts=["a cat", "b"], input_type="search_query")
    assert [len(vector) for vector in cohere["embeddings"]] == [1024, 1024]
    with pytest.raises(sdk.exceptions.ValidationException, match="input_type"):
        invoke("cohere.embed-english-v3", texts=["a cat"])


def test_time_that_is_out_of_step_is_refused(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(botocore.exceptions.ClientError, match="Signature expired: 20200101T000000Z"):
        client(upstream.origin).converse(modelId=CLAUDE, messages=ASK)
