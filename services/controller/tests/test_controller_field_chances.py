"""The slow loop's distributions, against another implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import false_discovery_control, hypergeom

from twinloop.controller.field.chances import Floats, adjusted, hypergeometric


@pytest.mark.parametrize(
    ("joints", "anomalous", "drawn"),
    [(10, 3, 4), (10, 0, 4), (10, 3, 0), (10, 10, 4), (10, 8, 7), (200_000, 700, 5_000), (96, 96, 96)],
)
def test_the_hypergeometric_distribution(joints: int, anomalous: int, drawn: int) -> None:
    found = hypergeometric(joints, anomalous, drawn)
    due = hypergeom.pmf(np.arange(min(anomalous, drawn) + 1), joints, anomalous, drawn)
    np.testing.assert_allclose(found, due, rtol=1e-7, atol=1e-300)


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1)))
def test_the_adjustment(p: Floats) -> None:
    np.testing.assert_allclose(adjusted(p), false_discovery_control(p, method="by"), rtol=1e-12)


def test_nothing_to_adjust() -> None:
    assert len(adjusted(np.empty(0))) == 0
