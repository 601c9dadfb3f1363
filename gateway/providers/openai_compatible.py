"""Every server that speaks OpenAI's API at another address: vLLM, Ollama, Groq, Together, DeepSeek, OpenRouter and kin.

The wire is OpenAI's; the base URL has no default, and a key is optional.
"""

from dataclasses import replace

from gateway.providers.openai import OPENAI

OPENAI_COMPATIBLE = replace(OPENAI, family="openai_compatible", default_base_url="")
