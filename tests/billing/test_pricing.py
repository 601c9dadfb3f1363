"""Prices and costs: exact to a billionth of a USD, against arithmetic of another kind."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Price, Usage, find_price, usd

RATES = st.decimals(min_value=0, max_value=1000, places=6, allow_nan=False)
TOKENS = st.integers(min_value=0, max_value=10_000_000)


def by_decimal(price: Price, usage: Usage) -> Decimal:
    """Return the cost by Decimal, as one would write it down."""
    plain = max(usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens, 0)
    total = (
        plain * price.input
        + usage.cached_tokens * price.cached_input
        + usage.cache_write_tokens * price.cache_write
        + usage.output_tokens * price.output
    )
    return (total / 1_000_000).quantize(Decimal("1e-9"), rounding=ROUND_HALF_EVEN)


@given(RATES, RATES, RATES, RATES, TOKENS, TOKENS, TOKENS, TOKENS)
def test_the_cost_is_exact(
    paid: Decimal, out: Decimal, cached: Decimal, written: Decimal, n_in: int, n_out: int, n_cached: int, n_written: int
) -> None:
    price = Price(paid, out, cached, written, "test")
    usage = Usage(n_in, n_out, n_cached, n_written)
    assert Decimal(usd(price.nano_usd(usage))) == by_decimal(price, usage)


def test_a_half_goes_to_the_even_neighbour() -> None:
    price = Price(Decimal("0.0005"), Decimal(0), Decimal(0), Decimal(0), "test")
    assert [price.nano_usd(Usage(n, 0)) for n in (1, 2, 3, 5)] == [0, 1, 2, 2]


def test_costs_are_written_with_all_places() -> None:
    assert [usd(nano) for nano in (0, 1, 106_800, 12_345_678_901)] == [
        "0.000000000",
        "0.000000001",
        "0.000106800",
        "12.345678901",
    ]


def test_a_known_model_costs_what_its_vendor_says() -> None:
    price = find_price("openai", "gpt-4o-mini")
    assert price is not None
    assert (price.input, price.output, price.cached_input) == (Decimal("0.15"), Decimal("0.6"), Decimal("0.075"))
    assert usd(price.nano_usd(Usage(1_000_000, 1_000_000, cached_tokens=500_000))) == "0.712500000"
    assert price.as_json()["input"] == "0.15"


@pytest.mark.parametrize("family", ["openai", "openai_compatible"])
def test_an_unknown_model_has_no_price(family: str) -> None:
    assert find_price(family, "my-own-model", "http://10.0.0.7/v1") is None
