"""`python3 -m unittest` in the plugin's folder."""

import unittest

from indicators import Bollinger, Drawdown, PERIOD_MAX, Rsi


def run(indicator, closes):
    return [indicator.add(c) for c in closes]


class Indicators(unittest.TestCase):
    def test_rsi_begins_after_its_period_and_smooths_after_wilder(self):
        # Changes: +1 -1 +2 -2; averages of two: 0.5/0.5, then (0.5 + 2)/2 = 1.25 over 0.25, then 0.625 over 1.125.
        values = [v for _, v in run(Rsi(2), [10.0, 11.0, 10.0, 12.0, 10.0])]
        self.assertEqual(values[:2], [None, None])
        for got, want in zip(values[2:], [50.0, 100 * 1.25 / 1.5, 100 * 0.625 / 1.75]):
            self.assertAlmostEqual(got, want, places=12)

    def test_rsi_of_one_direction_and_of_none(self):
        self.assertEqual(run(Rsi(2), [1.0, 2.0, 3.0])[-1][1], 100.0)
        self.assertEqual(run(Rsi(2), [3.0, 2.0, 1.0])[-1][1], 0.0)
        self.assertEqual(run(Rsi(2), [1.0, 1.0, 1.0])[-1][1], 50.0)

    def test_bands_are_of_the_last_closes_alone(self):
        last = run(Bollinger(4, 2.0), [900.0, 2.0, 4.0, 4.0, 6.0])[-1]
        self.assertEqual(last[:2], (6.0, 4.0))
        self.assertAlmostEqual(last[2], 4.0 + 2.0 * 2.0**0.5, places=12)
        self.assertAlmostEqual(last[3], 4.0 - 2.0 * 2.0**0.5, places=12)

    def test_drawdown_is_from_the_highest_close_so_far(self):
        rows = run(Drawdown(), [100.0, 80.0, 120.0, 90.0, 110.0])
        self.assertEqual([d for _, d, _ in rows], [0.0, 0.2, 0.0, 0.25, 10.0 / 120.0])
        self.assertEqual([m for _, _, m in rows], [0.0, 0.2, 0.2, 0.25, 0.25])

    def test_bounds_at_their_edges(self):
        for period in (2, PERIOD_MAX):
            Rsi(period)
        for period in (1, PERIOD_MAX + 1):
            with self.assertRaises(ValueError):
                Rsi(period)
        Bollinger(2, 100.0)
        for deviations in (0.0, 100.1):
            with self.assertRaises(ValueError):
                Bollinger(2, deviations)


if __name__ == "__main__":
    unittest.main()
