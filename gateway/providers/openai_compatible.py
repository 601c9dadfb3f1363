"""Every server that speaks OpenAI's API at another address: vLLM, Ollama, Groq, Together, DeepSeek, OpenRouter and kin.

The wire is OpenAI's; the base URL has no default, and a key is optional.
"""

from gateway.providers.base import Adapter
from gateway.providers.openai import build_request, parse_error, parse_response, stream_decoder

OPENAI_COMPATIBLE = Adapter("openai_compatible", "", build_request, parse_response, stream_decoder, parse_error)
