"""What a request costs: exact arithmetic over prices per million tokens. Pure once the price table is loaded.

Prices come from the genai-prices package, whose data lies in the wheel: nothing is fetched, ever. Where the package
has no single price (unknown model, price that depends on the amount or the hour), the model is unpriced: a shown gap
is better than a wrong number.
"""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version

import msgspec
from genai_prices import data_snapshot, types

_NANO = 1_000_000_000  # billionths of a USD, the unit in which a request's cost is kept


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request. Input includes the cached ones, output the reasoning ones, as OpenAI counts."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


class Price(msgspec.Struct, frozen=True):
    """USD per million tokens of each kind.

    Costs are sums of whole numbers: of tokens times the prices in units of `1 / scale` USD per million tokens, where
    `scale` is the power of ten that leaves no price a fraction. No float and no Decimal on a request's way.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal
    cache_write: Decimal
    source: str
    _units: tuple[int, int, int, int, int] | None = None

    def __post_init__(self) -> None:
        prices = (self.input, self.output, self.cached_input, self.cache_write)
        scale = 10 ** max(0, *(-int(price.normalize().as_tuple().exponent) for price in prices))
        msgspec.structs.force_setattr(self, "_units", (*(int(price * scale) for price in prices), scale * 1_000_000))

    def nano_usd(self, usage: Usage) -> int:
        """Return the cost in billionths of a USD, rounded once, half to even."""
        assert self._units is not None
        for_input, for_output, for_cached, for_written, per_usd = self._units
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        total = (
            (plain * for_input if plain > 0 else 0)
            + usage.cached_tokens * for_cached
            + usage.cache_write_tokens * for_written
            + usage.output_tokens * for_output
        )
        whole, rest = divmod(total * _NANO, per_usd)
        return whole + (rest * 2 > per_usd or (rest * 2 == per_usd and whole % 2))

    def as_json(self) -> dict[str, str]:
        """Return the price as a request's row keeps it."""
        return {
            "input": str(self.input),
            "output": str(self.output),
            "cached_input": str(self.cached_input),
            "cache_write": str(self.cache_write),
            "source": self.source,
        }


def usd(nano: int) -> str:
    """Return billionths of a USD as a decimal string in USD, with all nine places."""
    return f"{nano // _NANO}.{nano % _NANO:09d}"


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
