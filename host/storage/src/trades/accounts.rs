//! Accounts.

use super::types::{ACCOUNT_BYTES_MAX, ACCOUNTS_MAX, Account, PAGE_MAX};
use super::writing::Writing;
use super::{Trades, check};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::names;
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::json;

impl Trades {
    /// Opens an account; the same once more changes nothing. Audited.
    pub fn open_account(&self, caller: &Caller, account: &Account) -> Result<Account> {
        caller.require(Scope::Write, "open accounts")?;
        names::check_name("name of an account", &account.name, ACCOUNT_BYTES_MAX)?;
        check::currency(&account.currency)?;
        check::text("name of the broker", account.broker.as_deref())?;
        self.db.write(|tx| {
            if let Some((_, there)) = find(tx, &account.name)? {
                if there == *account {
                    return Ok(there);
                }
                return Err(Error::conflict(format!(
                    "account `{}` is there, and is another one",
                    account.name
                ))
                .hint("accounts do not change: open one with another name"));
            }
            let id: i64 = tx
                .prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM trade_accounts")?
                .query_row([], |r| r.get(0))?;
            if id > ACCOUNTS_MAX {
                return Err(Error::limit(
                    "one more account",
                    format!("{ACCOUNTS_MAX} accounts"),
                    "use one that is there",
                ));
            }
            let mut writing = Writing::begin(tx)?;
            let seq = writing.row("accounts", account)?;
            tx.prepare_cached(
                "INSERT INTO trade_accounts(id, name, currency, broker, seq) VALUES (?1,?2,?3,?4,?5)",
            )?
            .execute((id, &account.name, &account.currency, &account.broker, seq))?;
            let object = format!("account:{}", account.name);
            writing.finish(caller, "trades.account", object, json!({ "currency": account.currency }))?;
            Ok(account.clone())
        })
    }

    /// Accounts by name, those after one that the caller may see.
    pub fn accounts(&self, caller: &Caller, after: Option<&str>, limit: u64) -> Result<Vec<Account>> {
        // Of what it may not see a plugin does not learn that it is there.
        let plugin = matches!(caller, Caller::Plugin { .. });
        if !plugin {
            caller.require(Scope::Read, "list accounts")?;
        }
        let seen = |a: &Account| !plugin || caller.may_read_trades(&a.name, "list accounts").is_ok();
        let page = usize::try_from(limit.min(PAGE_MAX)).unwrap_or(usize::MAX);
        self.db.read(|c| {
            // There are no more than [`ACCOUNTS_MAX`].
            let mut statement = c.prepare_cached(
                "SELECT name, currency, broker FROM trade_accounts WHERE name > ?1 ORDER BY name",
            )?;
            let rows = statement.query_map([after.unwrap_or_default()], |r| {
                Ok(Account { name: r.get(0)?, currency: r.get(1)?, broker: r.get(2)? })
            })?;
            let seen = rows.filter(|row| row.as_ref().map_or(true, seen));
            Ok(seen.take(page).collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn find(c: &Connection, name: &str) -> Result<Option<(i64, Account)>> {
    Ok(c.prepare_cached("SELECT id, name, currency, broker FROM trade_accounts WHERE name = ?1")?
        .query_row([name], |r| {
            Ok((r.get(0)?, Account { name: r.get(1)?, currency: r.get(2)?, broker: r.get(3)? }))
        })
        .optional()?)
}

/// The number of an account and what it is.
pub(super) fn account(c: &Connection, name: &str) -> Result<(i64, Account)> {
    find(c, name)?.ok_or_else(|| {
        let shown: String = name.chars().take(ACCOUNT_BYTES_MAX).collect();
        Error::not_found(format!("there is no account `{}`", shown.escape_debug()))
            .hint("`shiphold trades account open NAME --currency USD` opens it")
    })
}
