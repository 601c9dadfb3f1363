"""The families the gateway can call, in every API that clients speak. Adding one is a file and a line here."""

from collections.abc import Mapping

from gateway.dialects.by_chat import by_chat
from gateway.dialects.registry import DIALECTS
from gateway.providers.anthropic_native import ANTHROPIC
from gateway.providers.azure_openai import AZURE_OPENAI
from gateway.providers.base import Adapter
from gateway.providers.bedrock import BEDROCK
from gateway.providers.cohere import COHERE
from gateway.providers.gemini import GEMINI
from gateway.providers.mistral import MISTRAL
from gateway.providers.openai import OPENAI
from gateway.providers.openai_compatible import OPENAI_COMPATIBLE
from gateway.providers.openai_responses import with_responses

_SPOKEN = (with_responses(OPENAI), OPENAI_COMPATIBLE, ANTHROPIC, AZURE_OPENAI, BEDROCK, COHERE, GEMINI, MISTRAL)
FAMILIES: Mapping[str, Adapter] = {adapter.family: by_chat(adapter, DIALECTS) for adapter in _SPOKEN}
