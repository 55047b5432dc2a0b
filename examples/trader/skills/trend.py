def uptrend(closes, sma, window=50):
    return sma(closes, window) > sma(closes[:-10], window)
