def size(equity, bars, atr):
    return 0.01 * equity / atr(bars)
