"""How many tokens a request may take, before anybody has counted them. Pure."""

DEFAULT_OUTPUT_TOKENS = 512  # reserved for the answer to a request that sets no limit of its own
TOKENS_PER_FILE = 1_000  # about what a vendor bills for an image in a request, whatever its size in bytes
_BYTES_PER_TOKEN = 4
_SMALL_BYTES = 4_096  # too small to be worth a look for files
_FILE_BEGINS = b";base64,"


def input_tokens(body: bytes) -> int:
    """Return a rough count of input tokens: four bytes of JSON each, files in it by the piece."""
    if len(body) < _SMALL_BYTES:
        return len(body) // _BYTES_PER_TOKEN
    files, file_bytes, start = 0, 0, body.find(_FILE_BEGINS)
    while start >= 0:
        end = body.find(b'"', start)
        end = len(body) if end < 0 else end
        files, file_bytes = files + 1, file_bytes + end - start
        start = body.find(_FILE_BEGINS, end)
    return (len(body) - file_bytes) // _BYTES_PER_TOKEN + files * TOKENS_PER_FILE


def tokens_reserved(sent: int, most_output: int | None, limit: int) -> int:
    """Return what is reserved of a limit until the real use is known: the input, and the most that may be answered.

    Where the request sets no limit to its answer, as much of DEFAULT_OUTPUT_TOKENS is reserved as fits.
    """
    if most_output is not None:
        return sent + most_output
    return max(sent, min(sent + DEFAULT_OUTPUT_TOKENS, limit))
