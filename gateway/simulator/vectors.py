"""Embeddings: hashed n-grams of a text as a unit vector, so that similar texts have similar vectors."""

import math
import zlib
from array import array
from functools import lru_cache

MAX_HASHED_CHARACTERS = 20_000  # of a text; more would take seconds and change little


@lru_cache(maxsize=4096)
def vector(text: str, dimensions: int) -> tuple[float, ...]:
    """Return a unit vector. Its numbers are exact in single precision, as the API's are."""
    sums = [0.0] * dimensions
    for gram in _grams(text[:MAX_HASHED_CHARACTERS].casefold()):
        digest = zlib.crc32(gram.encode(errors="surrogatepass"))
        sums[(digest >> 1) % dimensions] += 1.0 if digest & 1 else -1.0
    length = math.sqrt(sum(number * number for number in sums))
    if not length:
        sums[0] = length = 1.0
    return tuple(array("f", (number / length for number in sums)))


def _grams(text: str) -> list[str]:
    """Return words and runs of three characters: shared words count, and so do shared parts of words."""
    padded = f" {' '.join(text.split())} "
    return [*(f"#{word}" for word in text.split()), *(padded[i : i + 3] for i in range(len(padded) - 2))]
