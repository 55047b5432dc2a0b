def sma(closes, window):
    return sum(closes[-window:]) / window
