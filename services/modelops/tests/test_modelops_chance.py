"""The chi-squared tail, against another implementation."""

from __future__ import annotations

import pytest
from scipy.stats import chi2

from twinloop.modelops.chance import exceeded_by_chance, upper_tail


@pytest.mark.parametrize("freedom", range(1, 16))
@pytest.mark.parametrize("x", [0.0, 0.3, 2.0, 11.0, 40.0])
def test_the_tail(freedom: int, x: float) -> None:
    assert upper_tail(x, freedom) == pytest.approx(chi2.sf(x, freedom), rel=1e-12)


@pytest.mark.parametrize("freedom", range(1, 16))
@pytest.mark.parametrize("share", [1e-4, 0.05, 0.9])
def test_what_is_exceeded(freedom: int, share: float) -> None:
    assert exceeded_by_chance(share, freedom) == pytest.approx(chi2.isf(share, freedom), rel=1e-9)
