"""The families the gateway can call. Adding one is a file beside this and a line here."""

from collections.abc import Mapping

from gateway.providers.anthropic import ANTHROPIC
from gateway.providers.azure_openai import AZURE_OPENAI
from gateway.providers.base import Adapter
from gateway.providers.bedrock import BEDROCK
from gateway.providers.cohere import COHERE
from gateway.providers.mistral import MISTRAL
from gateway.providers.openai import OPENAI
from gateway.providers.openai_compatible import OPENAI_COMPATIBLE

FAMILIES: Mapping[str, Adapter] = {
    adapter.family: adapter
    for adapter in (OPENAI, OPENAI_COMPATIBLE, ANTHROPIC, BEDROCK, AZURE_OPENAI, MISTRAL, COHERE)
}
