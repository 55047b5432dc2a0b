"""The indicators themselves: each takes the closes of one series, one after another, and remembers what it needs.

Nothing here knows of WebAssembly, so `python3 -m unittest` tests it as it is.
"""

from collections import deque
from math import fsum, sqrt

PERIOD_MAX = 1_000
DEVIATIONS_MAX = 100.0


def period_of(value):
    if not 2 <= value <= PERIOD_MAX:
        raise ValueError(f"`period` must be from 2 to {PERIOD_MAX} bars")
    return value


class Rsi:
    """Wilder's relative strength index: 100 - 100 / (1 + average gain / average loss). The first averages are the plain ones
    of `period` changes; then each is (before * (period - 1) + change) / period (Wilder: New Concepts in Technical Trading
    Systems, 1978)."""

    columns = ("close", "rsi")

    def __init__(self, period):
        self.period = period_of(period)
        self.before = None
        self.changes = 0
        self.gain = self.loss = 0.0

    def add(self, close):
        change = None if self.before is None else close - self.before
        self.before = close
        if change is None:
            return close, None
        gain, loss = max(change, 0.0), max(-change, 0.0)
        self.changes += 1
        if self.changes <= self.period:
            self.gain += gain / self.period
            self.loss += loss / self.period
        else:
            self.gain = (self.gain * (self.period - 1) + gain) / self.period
            self.loss = (self.loss * (self.period - 1) + loss) / self.period
        if self.changes < self.period:
            return close, None
        if self.gain + self.loss == 0.0:
            return close, 50.0
        return close, 100.0 * self.gain / (self.gain + self.loss)


class Bollinger:
    """Mean of the last `period` closes and bands `deviations` standard deviations of that population away (Bollinger on
    Bollinger Bands, 2001)."""

    columns = ("close", "middle", "upper", "lower")

    def __init__(self, period, deviations):
        self.closes = deque(maxlen=period_of(period))
        if not 0.0 < deviations <= DEVIATIONS_MAX:
            raise ValueError(f"`deviations` must be above 0 and at most {DEVIATIONS_MAX:g}")
        self.deviations = deviations

    def add(self, close):
        self.closes.append(close)
        count = len(self.closes)
        if count < self.closes.maxlen:
            return close, None, None, None
        mean = fsum(self.closes) / count
        width = self.deviations * sqrt(fsum((c - mean) ** 2 for c in self.closes) / count)
        return close, mean, mean + width, mean - width


class Drawdown:
    """How far a close lies below the highest one so far, as a share of it, and the deepest of these."""

    columns = ("close", "drawdown", "deepest")

    def __init__(self):
        self.peak = None
        self.deepest = 0.0

    def add(self, close):
        self.peak = close if self.peak is None else max(self.peak, close)
        drawdown = (self.peak - close) / self.peak if self.peak > 0.0 else None
        self.deepest = max(self.deepest, drawdown or 0.0)
        return close, drawdown, self.deepest
