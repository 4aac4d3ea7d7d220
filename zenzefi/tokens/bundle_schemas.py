"""Response bodies of the bundle endpoints."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from zenzefi.api.models import MoneyOut, Output
from zenzefi.tokens.schemas import TokenOut


class BundleOut(Output):
    """Tokens sold together."""

    id: UUID
    """The bundle's identifier."""
    name: str
    """The bundle's name."""
    description: str
    """A description of the bundle."""
    duration_hours: int
    """How long each token lasts from its first use, in hours."""
    token_count: int
    """How many tokens the bundle holds."""
    scope: str
    """The scope of each token: the paths that it permits."""
    price_znc: MoneyOut
    """The price in ZNC."""
    total_price: MoneyOut
    """The same as `price_znc`."""
    single_price_znc: MoneyOut
    """The price of the same tokens bought one by one, in ZNC."""
    base_price: MoneyOut
    """The same as `single_price_znc`."""
    is_active: bool
    """Whether the bundle is on sale."""


class BundlesOut(Output):
    """The bundles on sale."""

    items: list[BundleOut] = Field(max_length=1000)
    """The bundles, the cheapest first."""


class BundlePurchased(Output):
    """The tokens of a bundle just bought."""

    bundle_id: UUID
    """The bundle's identifier."""
    tokens: list[TokenOut] = Field(max_length=1000)
    """The tokens, with their values."""
    cost_znc: MoneyOut
    """The price paid, in ZNC."""
    new_balance: MoneyOut
    """The balance afterwards, in ZNC."""
