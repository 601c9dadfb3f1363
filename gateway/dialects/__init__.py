"""The APIs that clients speak beside OpenAI's chat completions: each is translated to chat and back. Pure."""
