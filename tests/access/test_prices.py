"""What answers cost, worked out by hand from the list prices that are shipped.

Each expected cost is in US dollars; the comment before it shows the calculation.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from importlib import import_module

import pytest
from django.core.exceptions import ValidationError

from llmchat.access import prices
from llmchat.access.catalogue import Route
from llmchat.models import Price, Provider, ProviderModel
from llmchat.models.hours import check_days, check_hours, spans
from llmchat.providers.types import Usage
from tests.support.access import cost_of

shipped = import_module("llmchat.migrations.0032_models")

# A Thursday.
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def price_of(model: str, **changes: object) -> Price:
    return Price(**(shipped.PRICES[model] | changes))


def usage(
    uncached: int = 0, output: int = 0, *, read: int = 0, write: int = 0, **more: int
) -> Usage:
    return Usage(
        uncached + read + write,
        output,
        "provider",
        cache_read_tokens=read,
        cache_write_tokens=write,
        **more,
    )


def cost(
    price: Price,
    used: Usage,
    at: datetime = NOON,
    *,
    is_refused: bool = False,
) -> Decimal:
    found = prices.charge([price], used, at, is_refused=is_refused)
    assert found is not None
    assert found.price is price
    return found.cost


# gpt-6.2-sol: input 2, cache read 0.10, cache write 2.50 (kept for long 5), output 10;
# above 272,000 tokens of input the input side twice that, output 1.5 times.
OPENAI = {
    # 1,000 x 2 + 500 x 10 = 2,000 + 5,000 = 7,000 millionths
    "plain": (usage(1_000, 500), "0.0070"),
    # 200 x 2 + 800 x 0.10 + 500 x 10 = 400 + 80 + 5,000
    "cached": (usage(200, 500, read=800), "0.00548"),
    # 200 x 2 + 800 x 2.50 + 500 x 10 = 400 + 2,000 + 5,000
    "cache written": (usage(200, 500, write=800), "0.0074"),
    # 100 x 2 + 600 x 0.10 + 300 x 2.50 + 500 x 10 = 200 + 60 + 750 + 5,000
    "read and written": (usage(100, 500, read=600, write=300), "0.00601"),
    # 1,000 x 2 + 2,500 x 10: the 2,400 of reasoning are among the 2,500
    "reasoning": (usage(1_000, 2_500, reasoning_tokens=2_400), "0.0270"),
    # 272,000 x 2 + 1,000 x 10 = 544,000 + 10,000: not above yet
    "at the threshold": (usage(272_000, 1_000), "0.5540"),
    # 272,001 x 4 + 1,000 x 15 = 1,088,004 + 15,000
    "above the threshold": (usage(272_001, 1_000), "1.103004"),
    # cached input counts for the threshold:
    # 10,000 x 4 + 300,000 x 0.20 + 20,000 x 5 + 1,000 x 15
    #   = 40,000 + 60,000 + 100,000 + 15,000
    "above it with the cache": (
        usage(10_000, 1_000, read=300_000, write=20_000),
        "0.2150",
    ),
    # 400 x 2.50 + 600 x 5 + 500 x 10 = 1,000 + 3,000 + 5,000
    "kept for long": (
        usage(0, 500, write=1_000, cache_write_long_tokens=600),
        "0.0090",
    ),
    # 1,000 x 2: a refusal is billed like any answer
    "no output": (usage(1_000, 0), "0.0020"),
}
# claude-fable-5-2: input 8, output 40; no rates of caches are known, so 8 as well.
CLAUDE = {
    # 1,000 x 8 + 500 x 40 = 8,000 + 20,000
    "plain": (usage(1_000, 500), "0.0280"),
    # 1,000 x 8 + 500 x 40, however much of the input is cached
    "cached": (usage(100, 500, read=700, write=200), "0.0280"),
    # 50,000 x 8 + 0: the stream broke before any output
    "broken": (usage(50_000, 0), "0.4000"),
    # 10 x 8 + 3,000 x 40 = 80 + 120,000
    "reasoning": (usage(10, 3_000, reasoning_tokens=2_900), "0.12008"),
}
# claude-fable-5-1: input 10, output 50.
OLDER_CLAUDE = {
    # 1,000 x 10 + 500 x 50 = 10,000 + 25,000
    "plain": (usage(1_000, 500), "0.0350"),
}
# gemini-4-argon: input 2, output 10.
GEMINI = {
    # 11 x 2 + 42 x 10 = 22 + 420: 40 of the 42 are thoughts
    "thoughts": (usage(11, 42, reasoning_tokens=40), "0.000442"),
    # 1,000,000 x 2 + 65,536 x 10 = 2,000,000 + 655,360
    "long": (usage(1_000_000, 65_536), "2.65536"),
    # 600 x 2 + 400 x 2 + 100 x 10 = 2,000 + 1,000
    "cached": (usage(600, 100, read=400), "0.0030"),
}
# deepseek-flash: miss 0.15, hit 0.003, output 0.60.
DEEPSEEK = {
    # 10,000 x 0.15 + 1,000 x 0.60 = 1,500 + 600
    "missed": (usage(10_000, 1_000), "0.0021"),
    # 2,000 x 0.15 + 8,000 x 0.003 + 1,000 x 0.60 = 300 + 24 + 600
    "hit": (usage(2_000, 1_000, read=8_000), "0.000924"),
    # 14 x 0.15 + 8 x 0.60 = 2.1 + 4.8
    "reasoning": (usage(14, 8, reasoning_tokens=5), "0.0000069"),
}
TABLES = {
    "gpt-6.2-sol": OPENAI,
    "claude-fable-5-2": CLAUDE,
    "claude-fable-5-1": OLDER_CLAUDE,
    "gemini-4-argon": GEMINI,
    "deepseek-flash": DEEPSEEK,
    "deepseek-v4-flash": DEEPSEEK,
    "SmolLM2-135M-Instruct": {"any": (usage(1_000, 500), "0")},
}
SHAPES = [(model, shape) for model, table in TABLES.items() for shape in table]


@pytest.mark.parametrize(("model", "shape"), SHAPES)
def test_an_answer_costs_what_the_list_price_says(model, shape):
    used, expected = TABLES[model][shape]
    assert cost(price_of(model), used) == Decimal(expected)


def test_every_shipped_price_is_worked_out_by_hand():
    assert TABLES.keys() == shipped.PRICES.keys()


# 1,000,000 x 0.15 + 1,000,000 x 0.60 = 0.75 dollars, at the peak 1.50
MOMENTS = {
    "before the first": ("2026-11-26 00:59:59", "0.75"),
    "the first begins": ("2026-11-26 01:00:00", "1.50"),
    "in the first": ("2026-11-26 02:30:00", "1.50"),
    "its last second": ("2026-11-26 03:59:59", "1.50"),
    "it ends": ("2026-11-26 04:00:00", "0.75"),
    "between": ("2026-11-26 05:59:59", "0.75"),
    "the second begins": ("2026-11-26 06:00:00", "1.50"),
    "the second's last": ("2026-11-26 09:59:59", "1.50"),
    "the second ends": ("2026-11-26 10:00:00", "0.75"),
    "Monday": ("2026-11-23 01:00:00", "1.50"),
    "Friday": ("2026-11-27 09:59:59", "1.50"),
    "Saturday": ("2026-11-28 02:00:00", "0.75"),
    "Sunday": ("2026-11-29 07:00:00", "0.75"),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_the_hours_of_the_week_count_in_utc(name):
    moment, expected = MOMENTS[name]
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    elsewhere = at.astimezone(timezone(timedelta(hours=-8)))
    used = usage(1_000_000, 1_000_000)

    assert cost(price_of("deepseek-flash"), used, at) == Decimal(expected)
    assert cost(price_of("deepseek-flash"), used, elsewhere) == Decimal(expected)


def test_a_public_holiday_has_no_peak():
    at = datetime(2026, 11, 26, 2, tzinfo=UTC)
    price = price_of("deepseek-flash", off_days="2026-10-01\n2026-11-26")
    # 1,000,000 x 0.15
    assert cost(price, usage(1_000_000), at) == Decimal("0.15")
    # the day after it twice that
    assert cost(price, usage(1_000_000), at + timedelta(days=1)) == Decimal("0.30")


def test_hours_and_the_tier_count_together():
    price = price_of("gpt-6.2-sol", peak_hours="12:00-13:00", peak_factor=Decimal(3))
    # (300,000 x 4 + 1,000 x 15) x 3 = (1,200,000 + 15,000) x 3
    assert cost(price, usage(300_000, 1_000)) == Decimal("3.645")


def test_what_is_kept_for_long_has_its_own_rate():
    # 400 x 2.50 + 600 x 5 = 1,000 + 3,000
    used = usage(write=1_000, cache_write_long_tokens=600)
    price = price_of("gpt-6.2-sol")
    assert cost(price, used) == Decimal("0.0040")
    price = price_of("gpt-6.2-sol", long_cache_write=None)
    # 1,000 x 2.50
    assert cost(price, used) == Decimal("0.0025")


@pytest.mark.parametrize(
    ("model", "expected"),
    [("claude-fable-5-2", "0"), ("gpt-6.2-sol", "0.0020")],  # 1,000 x 2
)
def test_a_refusal_without_output_costs_what_its_provider_bills(model, expected):
    found = cost(price_of(model), usage(1_000), is_refused=True)
    assert found == Decimal(expected)


def test_what_its_provider_does_not_bill_is_free_whatever_its_price_says():
    free = usage(50_000, 3, is_free=True)
    price = price_of("claude-fable-5-2", bills_refusals=True)
    assert cost(price, free) == 0


def dated(*days: str) -> list[Price]:
    """Return prices of 1, 2, … dollars per million tokens, from these days on."""
    return [
        Price(valid_from=date.fromisoformat(day), input=Decimal(n), output=Decimal(0))
        for n, day in enumerate(days, 1)
    ]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-10-31 23:59:59", None),
        ("2026-11-01 00:00:00", 1),
        ("2026-11-14 23:59:59", 1),
        ("2026-11-15 00:00:00", 2),
        ("2030-01-01 00:00:00", 2),
    ],
)
def test_the_latest_price_of_the_day_holds(moment, expected):
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    for rows in (dated("2026-11-01", "2026-11-15"), None):
        rows = rows or dated("2026-11-01", "2026-11-15")[::-1]
        found = prices.charge(rows, usage(1_000_000), at)
        assert (found and found.cost) == expected


def test_the_day_of_a_price_begins_in_utc():
    rows = dated("2026-11-01", "2026-11-15")
    at = datetime(2026, 11, 15, 1, tzinfo=timezone(timedelta(hours=8)))
    found = prices.charge(rows, usage(1_000_000), at)
    assert found is not None
    assert found.cost == 1


def test_behind_its_last_day_an_answer_is_not_priced():
    rows = [price_of("gemini-4-argon")]
    last = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
    assert prices.charge(rows, usage(1), last) is not None
    assert prices.charge(rows, usage(1), last + timedelta(minutes=1)) is None
    assert prices.highest(rows, usage(1), last + timedelta(minutes=1)) is None


# The most that may be reserved is by the dearest rate, hour and tier.
def test_a_reservation_is_by_the_dearest_rate():
    # 1,000 x 5, the cache write that is kept for long, + 500 x 10
    price = price_of("gpt-6.2-sol")
    assert prices.highest([price], usage(1_000, 500), NOON) == Decimal("0.0100")
    # (300,000 x 10 + 500 x 15)
    most = prices.highest([price], usage(300_000, 500), NOON)
    assert most == Decimal("3.0075")
    # 1,000 x 0.15 x 2 at the peak
    peak = datetime(2026, 11, 26, 1, tzinfo=UTC)
    found = prices.highest([price_of("deepseek-flash")], usage(1_000), peak)
    assert found == Decimal("0.0003")


@pytest.mark.parametrize(("model", "shape"), SHAPES)
def test_no_answer_costs_more_than_was_reserved(model, shape):
    used, _ = TABLES[model][shape]
    price = price_of(model)
    most = prices.highest([price], used, NOON)
    assert most is not None
    assert cost(price, used) <= most


def route(model_prices: list[Price], flat: int | None) -> Route:
    row = ProviderModel(name="m-1")
    row.__dict__["price_rows"] = tuple(model_prices)
    rate = None if flat is None else Decimal(flat)
    return Route(None, (), "m-1", False, rate, rate, model_rows={"m-1": row})  # type: ignore[arg-type]


def test_a_model_without_a_price_costs_what_its_provider_does():
    used = usage(1_000_000)
    both = route(dated("2026-01-01"), 7)
    assert cost_of(both, used) == cost_of(both, used, "m-1") == 1
    assert cost_of(both, used, "m-2") == 7
    assert cost_of(route([], 7), used) == 7
    assert route([], 7).highest_cost(used) == 7
    before = datetime(2025, 1, 1, tzinfo=UTC)
    assert cost_of(both, used, at=before) == 7
    assert cost_of(route([], None), used) is None
    assert route([], None).highest_cost(used) is None


@pytest.mark.parametrize(
    "text", ["1:00-04:00", "04:00-01:00", "01:00", "24:00-24:00", "01:00-24:01", "x"]
)
def test_what_are_no_hours_is_refused(text):
    with pytest.raises(ValidationError):
        check_hours(text)


def test_hours_reach_to_midnight():
    assert spans("22:30-24:00, 00:00-01:00") == ((1350, 1440), (0, 60))


def test_what_is_no_day_is_refused():
    check_days("2026-10-01, 2026-10-02")
    for text in ("1 October", "2026-13-01"):
        with pytest.raises(ValidationError):
            check_days(text)


def test_hours_that_nobody_can_read_are_none():
    """SQL by hand may have stored them: an answer must still be able to end."""
    price = price_of("deepseek-flash", peak_hours="all day")
    assert not prices.is_peak(price, NOON)


def test_a_price_ends_behind_its_beginning():
    price = price_of("gpt-6.2-sol", valid_until=date(2026, 11, 22))
    with pytest.raises(ValidationError):
        price.clean()


def test_the_default_model_cannot_be_disabled():
    provider = Provider(name="p", default_model="m-1")
    row = ProviderModel(provider=provider, name="m-1", enabled=False)
    with pytest.raises(ValidationError):
        row.clean()
    row.name = "m-2"
    row.clean()
