"""API keys as text: how one is made, stored and shown. Pure but for the randomness of `generate`."""

import secrets
from hashlib import sha256

KEY_PREFIX = "nxk_"
_RANDOM_BYTES = 32  # 43 characters of URL-safe base64; too many to guess, so a plain SHA-256 is enough


def generate() -> str:
    """Return a new key. It is shown once and never stored."""
    return KEY_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hash_key(key: str | bytes) -> str:
    """Return the SHA-256 of the whole key, hexadecimal: all that is stored of it."""
    return sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def display_prefix(key: str) -> str:
    """Return the part that is shown in lists: the first 8 characters."""
    return key[:8]


def looks_like_key(value: str) -> bool:
    """Whether a value has a key's form; saying so tells nothing about whether it is one."""
    return value.startswith(KEY_PREFIX) and len(value) == len(KEY_PREFIX) + 43
