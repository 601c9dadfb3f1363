"""What a request costs: Decimal arithmetic over prices per million tokens. Pure once the price table is loaded.

Prices come from the genai-prices package, whose data lies in the wheel: nothing is fetched, ever. Where the package
has no single price (unknown model, price that depends on the amount or the hour), the model is unpriced: a shown gap
is better than a wrong number.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from importlib.metadata import version

from genai_prices import data_snapshot, types

_MILLION = Decimal(1_000_000)
_NANO_USD = Decimal("0.000000001")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request. Input includes the cached ones, output the reasoning ones, as OpenAI counts."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens of each kind."""

    input: Decimal
    output: Decimal
    cached_input: Decimal
    cache_write: Decimal
    source: str

    def cost(self, usage: Usage) -> Decimal:
        """Return the cost in USD, rounded once, half to even, to a billionth."""
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        total = (
            max(plain, 0) * self.input
            + usage.cached_tokens * self.cached_input
            + usage.cache_write_tokens * self.cache_write
            + usage.output_tokens * self.output
        )
        return (total / _MILLION).quantize(_NANO_USD, rounding=ROUND_HALF_EVEN)

    def as_json(self) -> dict[str, str]:
        """Return the price as a request's row keeps it."""
        return {
            "input": str(self.input),
            "output": str(self.output),
            "cached_input": str(self.cached_input),
            "cache_write": str(self.cache_write),
            "source": self.source,
        }


_VENDORS = {
    "openai": "openai",
    "azure_openai": "azure",
    "anthropic": "anthropic",
    "gemini": "google",
    "bedrock": "aws",
    "mistral": "mistral",
    "cohere": "cohere",
}


@lru_cache(maxsize=10_000)
def find_price(family: str, upstream_model: str, base_url: str = "") -> Price | None:
    """Return the price of a family's model today, or None: unpriced.

    An OpenAI-compatible server is priced only when its base URL is a known vendor's: what runs on one's own GPU costs
    something else than the model of that name at OpenAI.
    """
    vendor = _VENDORS.get(family)
    if vendor is None and not base_url:
        return None
    try:
        _, model = data_snapshot.get_snapshot().find_provider_model(
            upstream_model, None, vendor, base_url if vendor is None else None
        )
    except LookupError:
        return None
    price = model.get_prices(datetime.now(UTC))
    paid = _single(price.input_mtok)
    if paid is None or isinstance(price.output_mtok, types.TieredPrices):
        return None
    output, cached, written = map(_single, (price.output_mtok, price.cache_read_mtok, price.cache_write_mtok))
    return Price(
        input=paid,
        output=output if output is not None else Decimal(0),
        cached_input=cached if cached is not None else paid,
        cache_write=written if written is not None else paid,
        source=f"genai-prices {version('genai-prices')}",
    )


def _single(rate: Decimal | types.TieredPrices | None) -> Decimal | None:
    return rate if isinstance(rate, Decimal) else None
