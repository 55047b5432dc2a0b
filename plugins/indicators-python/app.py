"""Where Python meets the host: what is offered, what is asked of the host, and rows in and out.

One question has one instance: what `build` and each `transform` leave in a module's variable, the next one still knows.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.query_builder import NamedQuery, Param, ParamType
from wit_world.imports import config
from wit_world.imports.types import Column, Error_Invalid, Frame, Values_Floats

from indicators import Bollinger, Drawdown, Rsi

CONFIG = None
INDICATOR = None


def configuration():
    global CONFIG
    if CONFIG is None:
        CONFIG = json.loads(config.get())
    return CONFIG


def param(name, type, description, default=None, required=False):
    return Param(name, type, required, description, None if default is None else json.dumps(default))


def bars():
    return [
        param("symbol", ParamType.TEXT, "As in the measurement: SPY for bar.1d.SPY.", required=True),
        param("timeframe", ParamType.TEXT, "Of the bars.", "1d"),
        param("start", ParamType.TIMESTAMP, "The first bar; the oldest there is without it."),
        param("end", ParamType.TIMESTAMP, "The first bar that is not in the answer."),
    ]


def queries():
    period = configuration().get("rsi_period", 14)
    return [
        NamedQuery("rsi", "Wilder's relative strength index of the closes.", bars() + [
            param("period", ParamType.INTEGER, "Bars that it looks back.", period),
        ], True),
        NamedQuery("bollinger", "Bollinger bands of the closes.", bars() + [
            param("period", ParamType.INTEGER, "Bars of the mean.", 20),
            param("deviations", ParamType.FLOAT, "Standard deviations from the mean to a band.", 2.0),
        ], True),
        NamedQuery("drawdown", "How far each close lies below the highest before it.", bars(), True),
    ]


def indicator(name, params):
    if name == "rsi":
        return Rsi(params["period"])
    if name == "bollinger":
        return Bollinger(params["period"], params["deviations"])
    if name == "drawdown":
        return Drawdown()
    raise ValueError(f"there is no query `{name}`")


def floats(column):
    """The numbers of a column; None where a row has none."""
    values = column.values.value
    return [v if ok else None for v, ok in zip(values, column.valid)] if column.valid else values


def as_column(name, values):
    return Column(name, Values_Floats([0.0 if v is None else v for v in values]), [v is not None for v in values])


class QueryBuilder(exports.QueryBuilder):
    def describe(self):
        return queries()

    def build(self, name, params):
        global INDICATOR
        params = json.loads(params)
        try:
            INDICATOR = indicator(name, params)
        except ValueError as e:
            raise Err(Error_Invalid(str(e)))
        ask = {"measurement": f"bar.{params['timeframe']}.{params['symbol']}", "fields": ["close"]}
        ask |= {key: params[key] for key in ("start", "end") if key in params}
        if "bucket" in configuration():
            ask["bucket"] = CONFIG["bucket"]
        return json.dumps(ask)

    def transform(self, name, params, batch, last):
        if any(c.name == "measurement" for c in batch.columns):
            raise Err(Error_Invalid("these bars are several series that differ in their tags; name a symbol that has one"))
        closes = next((floats(c) for c in batch.columns if c.name == "close"), [])
        rows = [(time, INDICATOR.add(close)) for time, close in zip(batch.times, closes) if close is not None]
        columns = [as_column(n, [row[i] for _, row in rows]) for i, n in enumerate(INDICATOR.columns)]
        return Frame([time for time, _ in rows], columns)
