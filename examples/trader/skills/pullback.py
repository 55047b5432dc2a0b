def enter(bars, uptrend, sma, atr):
    closes = [b["close"] for b in bars]
    return uptrend(closes, sma) and closes[-1] < sma(closes, 20) - 2 * atr(bars)
