"""The words that pages have for codes."""

from __future__ import annotations

import pytest

from zenzefi.tokens.errors import ScopeNotAllowed
from zenzefi.tokens.renewals import PRICE_ABOVE_CEILING, TOO_LATE
from zenzefi.web import labels


@pytest.mark.parametrize("code", [PRICE_ABOVE_CEILING, TOO_LATE, ScopeNotAllowed.code])
def test_a_failed_renewal_names_its_own_reason(code: str) -> None:
    assert labels.renewal_reason(code) != labels.renewal_reason("unknown")
