"""Wilson, Bradley-Terry and the bootstrap: by hand, and against statsmodels."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from goldeye.intervals import wilson
from goldeye.study.statistics import bradley_terry, interval, resample, sign_test


def test_wilson_by_hand():
    # 8 of 10: z² = 3.8415, middle (0.8 + 0.19207) / 1.38415, half 1.96 √(0.016 + 0.0096036) / 1.38415
    assert wilson(8, 10) == pytest.approx([0.71672 - 0.22657, 0.71672 + 0.22657], abs=2e-4)
    assert wilson(0, 0) is None
    assert wilson(0, 7)[0] == 0
    assert wilson(7, 7)[1] == 1


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_that_of_statsmodels(counts):
    assert wilson(*counts) == pytest.approx(proportion_confint(*counts, method="wilson"), abs=1e-12)


def test_sign_test_by_hand():
    # 9 of 10 or more extreme, both sides: 2 (10 + 1) / 2^10
    assert sign_test(9, 10) == pytest.approx(22 / 1024)
    assert sign_test(5, 10) == pytest.approx(1)
    assert sign_test(0, 0) is None


def test_bradley_terry_of_two_is_the_log_odds():
    scores, needed = bradley_terry(np.array([[0.0, 30.0], [10.0, 0.0]]))
    assert scores[0] - scores[1] == pytest.approx(math.log(3))
    assert scores.sum() == pytest.approx(0)
    assert not needed


def test_bradley_terry_of_a_circle_is_even():
    """Each beats the next 2 : 1: nobody is ahead."""
    scores, _ = bradley_terry(np.array([[0.0, 2, 1], [1, 0, 2], [2, 1, 0]]))
    assert scores == pytest.approx([0, 0, 0], abs=1e-8)


def test_a_method_that_never_won_gets_half_a_win_each_way():
    scores, needed = bradley_terry(np.array([[0.0, 10.0], [0.0, 0.0]]))
    assert needed
    assert scores[0] - scores[1] == pytest.approx(math.log(10.5 / 0.5))
    nobody, needed = bradley_terry(np.zeros((3, 3)))
    assert needed
    assert nobody == pytest.approx([0, 0, 0])


def test_two_groups_of_methods_that_never_met_need_the_prior():
    """Within each group both won, but no chain of wins leads from one group to the other."""
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[1, 0] = wins[2, 3] = wins[3, 2] = 5
    wins[0, 2] = 1
    assert bradley_terry(wins)[1]
    wins[3, 1] = 1
    assert not bradley_terry(wins)[1]


@pytest.mark.parametrize("seed", range(5))
def test_bradley_terry_is_the_logistic_regression_of_statsmodels(seed):
    methods = 5
    rng = np.random.default_rng(seed)
    wins = rng.integers(1, 30, (methods, methods)).astype(float)
    np.fill_diagonal(wins, 0)
    design, outcome = [], []
    for a, b in combinations(range(methods), 2):
        row = np.zeros(methods)
        row[a], row[b] = 1, -1
        design.append(row[1:])  # the first is the one at 0
        outcome.append([wins[a, b], wins[b, a]])
    fitted = sm.GLM(np.array(outcome), np.array(design), family=sm.families.Binomial()).fit(tol=1e-12)
    expected = np.array([0, *fitted.params])
    assert bradley_terry(wins)[0] == pytest.approx(expected - expected.mean(), abs=1e-6)


def test_many_tables_of_wins_at_once_are_each_by_itself():
    rng = np.random.default_rng(0)
    wins = rng.integers(0, 4, (50, 4, 4)) * (1.0 - np.eye(4))
    wins[7, 0] = 0
    scores, needed = bradley_terry(wins)
    assert 1 <= needed.sum() < 50
    for table, row, prior in zip(wins, scores, needed, strict=True):
        one, alone = bradley_terry(table)
        assert one == pytest.approx(row, abs=1e-6)
        assert alone == prior


def test_resampling_keeps_people_and_pictures_together():
    """The first column is 1 everywhere: the sums are always the number of cells. The second counts person 0's cells,
    which come in whole rows; the third picture 0's, which come in whole columns."""
    cells = np.zeros((4, 5, 3))
    cells[:, :, 0] = 1
    cells[0, :, 1] = 1
    cells[:, 0, 2] = 1
    drawn = resample(cells, 4000, 0)
    assert (drawn[:, 0] == 20).all()
    assert set(np.unique(drawn[:, 1])) <= {0, 5, 10, 15, 20}
    assert set(np.unique(drawn[:, 2])) <= {0, 4, 8, 12, 16, 20}
    # Binomial(4, 1/4) whole rows of 5, and Binomial(5, 1/5) whole columns of 4.
    assert drawn[:, 1].mean() == pytest.approx(5, rel=0.05)
    assert drawn[:, 1].var() == pytest.approx(25 * 4 * 3 / 16, rel=0.1)
    assert drawn[:, 2].var() == pytest.approx(16 * 5 * 4 / 25, rel=0.1)


def test_a_resampling_in_pieces_is_one_resampling(monkeypatch):
    cells = np.random.default_rng(0).random((3, 4, 2))
    monkeypatch.setattr("goldeye.study.statistics._DRAWN", 40)
    pieces = resample(cells, 35, 1)
    assert pieces.shape == (35, 2)
    assert len(np.unique(pieces[:, 0])) > 20
    assert (resample(cells, 35, 1) == pieces).all()
    assert (resample(cells, 35, 2) != pieces).any()


def test_an_interval_needs_figures_that_vary():
    assert interval(np.arange(1001.0)) == pytest.approx([25, 975])
    assert interval(np.ones(100)) is None
    assert interval(np.empty(0)) is None
    assert interval(np.array([1.0, 2.0] * 40 + [np.nan] * 20)) is None
    assert interval(np.array([1.0, 2.0] * 49 + [np.nan] * 2)) == [1, 2]
