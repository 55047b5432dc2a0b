def enter(bars):
    return bars[-1]["close"] > max(b["high"] for b in bars[-21:-1])
