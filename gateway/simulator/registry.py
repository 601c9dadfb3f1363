"""The families that can be simulated, by name."""

from gateway.simulator.anthropic import ANTHROPIC
from gateway.simulator.azure_openai import AZURE_OPENAI
from gateway.simulator.bedrock import BEDROCK
from gateway.simulator.cohere import COHERE
from gateway.simulator.dialect import Dialect
from gateway.simulator.gemini import GEMINI
from gateway.simulator.mistral import MISTRAL
from gateway.simulator.openai import OPENAI, OPENAI_COMPATIBLE

DIALECTS: dict[str, Dialect] = {
    dialect.family: dialect
    for dialect in (MISTRAL, OPENAI, OPENAI_COMPATIBLE, ANTHROPIC, AZURE_OPENAI, BEDROCK, GEMINI, COHERE)
}
