"""Secrets at rest: Fernet (AES-128-CBC with HMAC-SHA-256), many keys, each ciphertext bound to the row it belongs to.

The first key encrypts, all decrypt, so a key is rotated by putting a new one in front. The context (for example
`provider:<id>`) is part of the plaintext: a ciphertext copied to another row does not open there.
"""

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class SecretUnreadable(Exception):
    """A stored secret does not open with any of NEXUS_ENCRYPTION_KEYS, or belongs to another row."""


class Cipher:
    """Seals and opens secrets with the given Fernet keys. Raises ValueError for a malformed key."""

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            fernets = [Fernet(key) for key in keys]
        except ValueError as error:
            raise ValueError(
                "each key must be 32 bytes in URL-safe base64, as `Fernet.generate_key()` makes."
            ) from error
        self._fernet = MultiFernet(fernets) if fernets else None

    @property
    def usable(self) -> bool:
        """Whether there is a key at all."""
        return self._fernet is not None

    def seal(self, secret: str, *, context: str) -> str:
        """Return the ciphertext of a secret, bound to its context."""
        return self.seal_bytes(secret.encode(), context=context).decode()

    def seal_bytes(self, content: bytes, *, context: str) -> bytes:
        """Return the ciphertext of bytes, bound to their context."""
        return self._open_box().encrypt(context.encode() + b"\0" + content)

    def open(self, sealed: str, *, context: str) -> str:
        """Return the secret. Raises SecretUnreadable for a foreign key or another row's ciphertext."""
        return self.open_bytes(sealed.encode(), context=context).decode()

    def open_bytes(self, sealed: bytes, *, context: str) -> bytes:
        """Return the bytes that were sealed. Raises SecretUnreadable as `open` does."""
        try:
            plain = self._open_box().decrypt(sealed)
        except InvalidToken as error:
            raise SecretUnreadable(f"The secret of {context} does not open with NEXUS_ENCRYPTION_KEYS.") from error
        bound, _, content = plain.partition(b"\0")
        if bound != context.encode():
            raise SecretUnreadable(f"The secret stored for {context} belongs to another row.")
        return content

    def _open_box(self) -> MultiFernet:
        if self._fernet is None:
            raise SecretUnreadable("NEXUS_ENCRYPTION_KEYS is not set: no secret can be stored or read.")
        return self._fernet
