"""Vendors and servers that speak OpenAI's API almost: a row each, with where it stands and what it has otherwise.

Adding one is adding a row. The names are what `options.preset` takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_REASONING = frozenset(("reasoning_content", "reasoning_details"))
_ANSWER_ONLY = frozenset(("refusal", "annotations", "audio"))  # OpenAI's, in answers that come back as history


@dataclass(frozen=True, slots=True)
class Preset:
    """One look-alike. What a row does not say is as at OpenAI."""

    name: str
    words: str
    base_url: str
    needs_key: bool = True
    max_tokens_field: str = ""  # the only name of the limit that it knows
    developer_role: bool = True  # else it is told `system`
    stream_usage: bool = True  # whether `stream_options` may be sent; usage comes anyway
    json_schema: bool = True
    refused: frozenset[str] = frozenset()  # members that it refuses, or silently passes over
    refused_when_reasoning: frozenset[str] = frozenset()  # and those that its reasoning models refuse
    reasoning_models: tuple[str, ...] = ()  # what their names begin with
    left_out_of_messages: frozenset[str] = frozenset()
    keeps_reasoning_of_calls: bool = False  # an assistant's thoughts go back with its tool calls
    timeout_s: int = 0  # until the first content, where it takes longer than others

    def refuses(self, model: str) -> frozenset[str]:
        """Return the members that a model does not honour."""
        if model.startswith(self.reasoning_models) and "non-reasoning" not in model:
            return self.refused | self.refused_when_reasoning
        return self.refused


_ROWS = (
    Preset(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        developer_role=False,
        refused=frozenset(("n", "logprobs", "top_logprobs", "logit_bias")),
        left_out_of_messages=_REASONING | _ANSWER_ONLY,
    ),
    Preset(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com",
        max_tokens_field="max_tokens",
        developer_role=False,
        json_schema=False,
        refused=frozenset(("n", "logit_bias")),
        left_out_of_messages=_REASONING,
        keeps_reasoning_of_calls=True,
    ),
    Preset(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        refused=frozenset(("logit_bias",)),
        refused_when_reasoning=frozenset(("stop", "presence_penalty", "frequency_penalty")),
        reasoning_models=("grok-3-mini", "grok-4", "grok-code"),
        left_out_of_messages=_REASONING,
    ),
    Preset(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        left_out_of_messages=frozenset(("reasoning_content",)),  # it takes back its own `reasoning_details`
    ),
    Preset(
        "together",
        "Together AI",
        "https://api.together.xyz/v1",
        max_tokens_field="max_tokens",
        developer_role=False,
        left_out_of_messages=_REASONING,
    ),
    Preset(
        "fireworks",
        "Fireworks AI",
        "https://api.fireworks.ai/inference/v1",
        max_tokens_field="max_tokens",
        developer_role=False,
        left_out_of_messages=_REASONING,
    ),
    Preset(
        "vllm",
        "vLLM",
        "http://localhost:8000/v1",
        needs_key=False,
        developer_role=False,
        left_out_of_messages=_REASONING,
    ),
    Preset(
        "ollama",
        "Ollama",
        "http://localhost:11434/v1",
        needs_key=False,
        max_tokens_field="max_tokens",
        developer_role=False,
        refused=frozenset(("n", "logit_bias", "tool_choice")),
        left_out_of_messages=_REASONING,
        timeout_s=300,  # a model that is not in memory is loaded first
    ),
    Preset(
        "lmstudio",
        "LM Studio",
        "http://localhost:1234/v1",
        needs_key=False,
        max_tokens_field="max_tokens",
        developer_role=False,
        refused=frozenset(("n", "logprobs", "top_logprobs")),
        left_out_of_messages=_REASONING,
        timeout_s=300,
    ),
)
PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _ROWS}
