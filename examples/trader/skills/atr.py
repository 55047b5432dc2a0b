def atr(bars, window=14):
    ranges = [max(b["high"], a["close"]) - min(b["low"], a["close"]) for a, b in zip(bars, bars[1:])]
    return sum(ranges[-window:]) / window
