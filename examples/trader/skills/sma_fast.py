def sma(closes, window):
    total = 0.0
    for close in closes[-window:]:
        total += close
    return total / window
