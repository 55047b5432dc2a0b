-- The trading record. Everything of it is only added to: a correction is a row that takes the place of an earlier one. Quantities, prices
-- and amounts are exact decimals, as text. Times are nanoseconds since the Unix epoch.

-- What was recorded in one transaction. Each of its rows has a number (`seq`) of its own; the numbers of a batch follow each other, and
-- later batches have later ones: what was known at a time are the rows up to the last number of the last batch of then.
CREATE TABLE trade_batches(
    id           INTEGER PRIMARY KEY,
    first_seq    INTEGER NOT NULL UNIQUE,
    rows         INTEGER NOT NULL CHECK (rows > 0),
    recorded_at  INTEGER NOT NULL UNIQUE,
    recorded_by  TEXT NOT NULL,
    -- BLAKE3 of its rows, as the audit trail has it.
    digest       TEXT NOT NULL CHECK (length(digest) = 64)
) STRICT;

CREATE TABLE trade_accounts(
    id        INTEGER PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    currency  TEXT NOT NULL,
    broker    TEXT,
    seq       INTEGER NOT NULL
) STRICT;

-- What never changes of an instrument: what its fills were worth rests on it.
CREATE TABLE trade_instruments(
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,
    currency    TEXT NOT NULL,
    multiplier  TEXT NOT NULL,
    seq         INTEGER NOT NULL
) STRICT;

-- What may change, each from a time on; of one time the row that was recorded last counts.
CREATE TABLE trade_terms(
    seq          INTEGER PRIMARY KEY,
    instrument   INTEGER NOT NULL REFERENCES trade_instruments(id),
    since        INTEGER NOT NULL,
    tick         TEXT NOT NULL,
    lot          TEXT NOT NULL,
    -- The series of its bars.
    bucket       TEXT,
    measurement  TEXT
) STRICT;
CREATE INDEX trade_terms_by_instrument ON trade_terms(instrument, since);

-- Other names of an instrument: the end is not in it.
CREATE TABLE trade_aliases(
    seq         INTEGER PRIMARY KEY,
    alias       TEXT NOT NULL,
    instrument  INTEGER NOT NULL REFERENCES trade_instruments(id),
    since       INTEGER NOT NULL,
    until       INTEGER NOT NULL CHECK (until > since)
) STRICT;
CREATE INDEX trade_aliases_by_alias ON trade_aliases(alias, since);
CREATE INDEX trade_aliases_by_instrument ON trade_aliases(instrument);

-- Splits and dividends. A row with `voids` says that another one did not happen.
CREATE TABLE trade_actions(
    seq         INTEGER PRIMARY KEY,
    instrument  INTEGER NOT NULL REFERENCES trade_instruments(id),
    time        INTEGER NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('split', 'dividend')),
    -- So many pieces become so many; of a dividend its amount a piece.
    new_pieces  INTEGER,
    old_pieces  INTEGER,
    amount      TEXT,
    voids       INTEGER UNIQUE REFERENCES trade_actions(seq)
) STRICT;
CREATE INDEX trade_actions_by_instrument ON trade_actions(instrument, time);

-- From when on a chain of futures goes on with which contract. Of one time the row that was recorded last counts; one without a contract
-- takes the roll away.
CREATE TABLE trade_rolls(
    seq         INTEGER PRIMARY KEY,
    chain       TEXT NOT NULL,
    time        INTEGER NOT NULL,
    instrument  INTEGER REFERENCES trade_instruments(id)
) STRICT;
CREATE INDEX trade_rolls_by_chain ON trade_rolls(chain, time);

CREATE TABLE trade_orders(
    seq            INTEGER PRIMARY KEY,
    account        INTEGER NOT NULL REFERENCES trade_accounts(id),
    client_id      TEXT NOT NULL,
    instrument     INTEGER NOT NULL REFERENCES trade_instruments(id),
    side           TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    type           TEXT NOT NULL,
    quantity       TEXT NOT NULL,
    limit_price    TEXT,
    stop_price     TEXT,
    time_in_force  TEXT NOT NULL,
    -- Which version of which skill gave it, and what it saw.
    skill          TEXT,
    version        TEXT,
    signal         TEXT CHECK (json_valid(signal)),
    placed_at      INTEGER NOT NULL,
    UNIQUE (account, client_id),
    CHECK ((skill IS NULL) = (version IS NULL))
) STRICT;
CREATE INDEX trade_orders_by_record ON trade_orders(account, seq);
CREATE INDEX trade_orders_by_skill ON trade_orders(skill, version) WHERE skill IS NOT NULL;

-- What became of an order, but for its fills.
CREATE TABLE trade_order_events(
    seq       INTEGER PRIMARY KEY,
    order_id  INTEGER NOT NULL REFERENCES trade_orders(seq),
    time      INTEGER NOT NULL,
    state     TEXT NOT NULL,
    reason    TEXT,
    UNIQUE (order_id, time, state)
) STRICT;

-- Every version of every fill. `fill` is the number of its first version, which also orders those of one time.
CREATE TABLE trade_fills(
    account     INTEGER NOT NULL REFERENCES trade_accounts(id),
    instrument  INTEGER NOT NULL REFERENCES trade_instruments(id),
    time        INTEGER NOT NULL,
    fill        INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    client_id   TEXT NOT NULL,
    -- The version in whose place it counts.
    supersedes  INTEGER,
    -- There was no such fill.
    void        INTEGER NOT NULL CHECK (void IN (0, 1)),
    -- Of the order, which may come later.
    order_ref   TEXT,
    side        TEXT NOT NULL CHECK (side IN ('buy', 'sell')),
    quantity    TEXT NOT NULL,
    price       TEXT NOT NULL,
    fee         TEXT NOT NULL,
    -- What the broker calls it.
    broker_id   TEXT,
    -- Its order had ended when it was recorded.
    late        INTEGER NOT NULL CHECK (late IN (0, 1)),
    reason      TEXT,
    PRIMARY KEY (account, instrument, time, fill, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX trade_fills_by_client_id ON trade_fills(account, client_id);
CREATE UNIQUE INDEX trade_fills_by_superseded ON trade_fills(supersedes) WHERE supersedes IS NOT NULL;
CREATE UNIQUE INDEX trade_fills_by_record ON trade_fills(account, seq);
CREATE INDEX trade_fills_by_order ON trade_fills(account, order_ref) WHERE order_ref IS NOT NULL;

-- Money that comes and goes without a trade, in the same way. Amounts have the sign that they have for the account.
CREATE TABLE trade_cash(
    account     INTEGER NOT NULL REFERENCES trade_accounts(id),
    currency    TEXT NOT NULL,
    time        INTEGER NOT NULL,
    entry       INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    client_id   TEXT NOT NULL,
    supersedes  INTEGER,
    void        INTEGER NOT NULL CHECK (void IN (0, 1)),
    kind        TEXT NOT NULL,
    amount      TEXT NOT NULL,
    instrument  INTEGER REFERENCES trade_instruments(id),
    reason      TEXT,
    PRIMARY KEY (account, currency, time, entry, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX trade_cash_by_client_id ON trade_cash(account, client_id);
CREATE UNIQUE INDEX trade_cash_by_superseded ON trade_cash(supersedes) WHERE supersedes IS NOT NULL;
CREATE UNIQUE INDEX trade_cash_by_record ON trade_cash(account, seq);

-- Derived, as is what follows: made anew it is the same. Which instruments an account ever had fills of; `stale`: states of later fills
-- have yet to be made.
CREATE TABLE trade_positions(
    account     INTEGER NOT NULL,
    instrument  INTEGER NOT NULL,
    stale       INTEGER NOT NULL DEFAULT 0 CHECK (stale IN (0, 1)),
    PRIMARY KEY (account, instrument)
) STRICT, WITHOUT ROWID;
CREATE INDEX trade_positions_by_instrument ON trade_positions(instrument);
CREATE INDEX trade_positions_stale ON trade_positions(stale) WHERE stale = 1;

-- What the fills up to one of them add up to, every few fills: where a sum begins.
CREATE TABLE trade_states(
    account     INTEGER NOT NULL,
    instrument  INTEGER NOT NULL,
    time        INTEGER NOT NULL,
    fill        INTEGER NOT NULL,
    state       BLOB NOT NULL,
    PRIMARY KEY (account, instrument, time, fill)
) STRICT, WITHOUT ROWID;

-- Statements of brokers that were compared, and what was different. The broker's side of a difference is in `theirs`, ours in `ours`.
CREATE TABLE trade_statements(
    seq      INTEGER PRIMARY KEY,
    account  INTEGER NOT NULL REFERENCES trade_accounts(id),
    -- BLAKE3 of the file and of its mapping.
    digest   TEXT NOT NULL CHECK (length(digest) = 64),
    since    INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    lines    INTEGER NOT NULL,
    matched  INTEGER NOT NULL,
    UNIQUE (account, digest, seq)
) STRICT;

CREATE TABLE trade_differences(
    statement   INTEGER NOT NULL REFERENCES trade_statements(seq),
    number      INTEGER NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('missing-here', 'missing-there', 'differs')),
    -- Client id of the fill.
    fill        TEXT,
    -- The version of it that was compared.
    fill_seq    INTEGER,
    ours        TEXT CHECK (json_valid(ours)),
    theirs      TEXT CHECK (json_valid(theirs)),
    PRIMARY KEY (statement, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE trade_resolutions(
    seq        INTEGER PRIMARY KEY,
    statement  INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    action     TEXT NOT NULL CHECK (action IN ('theirs', 'ours')),
    reason     TEXT NOT NULL,
    UNIQUE (statement, number),
    FOREIGN KEY (statement, number) REFERENCES trade_differences(statement, number)
) STRICT;

CREATE TRIGGER trade_batches_are_immutable BEFORE UPDATE ON trade_batches
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_batches_stay BEFORE DELETE ON trade_batches
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_accounts_are_immutable BEFORE UPDATE ON trade_accounts
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_accounts_stay BEFORE DELETE ON trade_accounts
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_instruments_are_immutable BEFORE UPDATE ON trade_instruments
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_instruments_stay BEFORE DELETE ON trade_instruments
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_terms_are_immutable BEFORE UPDATE ON trade_terms
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_terms_stay BEFORE DELETE ON trade_terms
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_aliases_are_immutable BEFORE UPDATE ON trade_aliases
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_aliases_stay BEFORE DELETE ON trade_aliases
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_actions_are_immutable BEFORE UPDATE ON trade_actions
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_actions_stay BEFORE DELETE ON trade_actions
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_rolls_are_immutable BEFORE UPDATE ON trade_rolls
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_rolls_stay BEFORE DELETE ON trade_rolls
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_orders_are_immutable BEFORE UPDATE ON trade_orders
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_orders_stay BEFORE DELETE ON trade_orders
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_order_events_are_immutable BEFORE UPDATE ON trade_order_events
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_order_events_stay BEFORE DELETE ON trade_order_events
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_fills_are_immutable BEFORE UPDATE ON trade_fills
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_fills_stay BEFORE DELETE ON trade_fills
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_cash_are_immutable BEFORE UPDATE ON trade_cash
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_cash_stay BEFORE DELETE ON trade_cash
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_statements_are_immutable BEFORE UPDATE ON trade_statements
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_statements_stay BEFORE DELETE ON trade_statements
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_differences_are_immutable BEFORE UPDATE ON trade_differences
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_differences_stay BEFORE DELETE ON trade_differences
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_resolutions_are_immutable BEFORE UPDATE ON trade_resolutions
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
CREATE TRIGGER trade_resolutions_stay BEFORE DELETE ON trade_resolutions
BEGIN SELECT RAISE(ABORT, 'the trading record is only added to'); END;
