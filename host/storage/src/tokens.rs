//! Bearer tokens: hashed at rest, scoped.

use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::hex;
use crate::schema::now_ns;
use crate::sqlite::{Database, Kept, Noun, Source};
use rusqlite::{OptionalExtension, Row};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

/// What every secret begins with, so that a leaked one is recognised.
const PREFIX: &str = "shp_";
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Bytes of a token's name.
const NAME_BYTES_MAX: usize = 64;
/// `last_used_at` is written at most this often: a feed that writes a thousand times a second must not
/// turn each of them into another write.
const USED_EVERY_NS: i64 = 3_600_000_000_000;

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    pub name: String,
    pub scope: Scope,
    /// Nanoseconds since the Unix epoch.
    pub created_at: i64,
    pub expires_at: Option<i64>,
    /// To the hour.
    pub last_used_at: Option<i64>,
}

/// The tokens of a database.
#[derive(Debug)]
pub struct Tokens {
    db: Arc<Database>,
}

impl Tokens {
    pub fn new(db: Arc<Database>) -> Self {
        Self { db }
    }

    /// Makes a token. The secret is in the answer and nowhere else.
    pub fn create(
        &self,
        caller: &Caller,
        name: &str,
        scope: Scope,
        expires_at: Option<i64>,
    ) -> Result<(TokenInfo, String)> {
        caller.require(Scope::Admin, "create tokens")?;
        let ok = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !ok {
            return Err(Error::invalid(format!("`{}` is not a name of a token", name.escape_debug()))
                .hint(format!("use 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`")));
        }
        let mut random = [0_u8; SECRET_BYTES];
        getrandom::fill(&mut random).map_err(|e| Error::new(Kind::Io, format!("no random bytes: {e}")))?;
        let secret = PREFIX.to_string() + &hex::encode(random);
        let info =
            TokenInfo { name: name.into(), scope, created_at: now_ns(), expires_at, last_used_at: None };
        self.db.write(|tx| {
            let taken: Option<i64> =
                tx.query_row("SELECT id FROM tokens WHERE name = ?1", [name], |r| r.get(0)).optional()?;
            if taken.is_some() {
                return Err(Error::conflict(format!("a token `{name}` exists"))
                    .hint(format!("choose another name, or `shiphold tokens revoke {name}` first")));
            }
            tx.execute(
                "INSERT INTO tokens(name, hash, scope, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                (name, hash(&secret).as_slice(), scope.to_string(), info.created_at, expires_at),
            )?;
            let entry = Entry::new(caller, "tokens.create", format!("token:{name}"));
            Audit::append(tx, &entry.detail(json!({ "scope": scope, "expires_at": expires_at })))?;
            Ok(())
        })?;
        Ok((info, secret))
    }

    /// Every token, by name.
    pub fn list(&self, caller: &Caller) -> Result<Vec<TokenInfo>> {
        caller.require(Scope::Admin, "list tokens")?;
        self.db.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT name, scope, created_at, expires_at, last_used_at FROM tokens ORDER BY name",
            )?;
            let rows = statement.query_map([], |r| {
                Ok(TokenInfo {
                    name: r.get(0)?,
                    scope: scope_of(&r.get::<_, String>(1)?),
                    created_at: r.get(2)?,
                    expires_at: r.get(3)?,
                    last_used_at: r.get(4)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Takes a token away; from now on it opens nothing.
    pub fn revoke(&self, caller: &Caller, name: &str) -> Result<()> {
        caller.require(Scope::Admin, "revoke tokens")?;
        self.db.write_always(|tx| {
            if tx.execute("DELETE FROM tokens WHERE name = ?1", [name])? == 0 {
                return Err(Error::not_found(format!("there is no token `{name}`"))
                    .hint("`shiphold tokens list` shows them"));
            }
            Audit::append(tx, &Entry::new(caller, "tokens.revoke", format!("token:{name}")))?;
            Ok(())
        })
    }

    /// Who bears this secret. The look-up is by hash, so its time says nothing about the secret.
    pub fn authenticate(&self, secret: &str) -> Result<Caller> {
        let refused = || {
            Error::new(Kind::Unauthenticated, "the token is unknown, revoked or expired")
                .hint("create one with `shiphold tokens create NAME --scope write`")
        };
        if !secret.starts_with(PREFIX) {
            return Err(refused());
        }
        let hash = hash(secret);
        let found = self.db.value(&hash, |c| {
            let found = c
                .prepare_cached(
                    "SELECT id, name, scope, expires_at, last_used_at FROM tokens WHERE hash = ?1",
                )?
                .query_row([hash.as_slice()], Bearer::read)
                .optional()?;
            let bearer = found.ok_or_else(refused)?;
            let id = bearer.id;
            Ok((bearer, vec![Source::Token(id)]))
        })?;
        let now = now_ns();
        if !found.is_valid(now) {
            return Err(refused());
        }
        if found.is_to_be_noted(now) {
            let noted = self.db.write_always(|tx| {
                Ok(tx.execute("UPDATE tokens SET last_used_at = ?1 WHERE id = ?2", (now, found.id))?)
            });
            if let Err(e) = noted {
                // On a full disk a reader must still get in.
                tracing::warn!(error = %e, token = found.name, "the use of a token could not be noted");
            }
        }
        Ok(found.caller())
    }

    /// [`Tokens::authenticate`] of somebody who came before, without waiting: for a thread that must not block. `None`: ask it.
    pub fn known(&self, secret: &str) -> Option<Caller> {
        if !secret.starts_with(PREFIX) {
            return None;
        }
        let (found, now) = (self.db.known::<Bearer>(&hash(secret))?, now_ns());
        (found.is_valid(now) && !found.is_to_be_noted(now)).then(|| found.caller())
    }
}

/// Who comes with a secret.
#[derive(Debug)]
struct Bearer {
    id: i64,
    name: String,
    scope: Scope,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl Bearer {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            scope: scope_of(&row.get::<_, String>(2)?),
            expires_at: row.get(3)?,
            last_used_at: row.get(4)?,
        })
    }

    fn is_valid(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|t| t > now)
    }

    fn is_to_be_noted(&self, now: i64) -> bool {
        self.last_used_at.is_none_or(|t| now.saturating_sub(t) > USED_EVERY_NS)
    }

    fn caller(&self) -> Caller {
        Caller::Token { id: self.id, name: self.name.clone(), scope: self.scope }
    }
}

impl Kept for Bearer {
    const NOUN: Noun = Noun::Tokens;

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len()
    }
}

/// An unknown word in the table grants the least.
fn scope_of(text: &str) -> Scope {
    match text {
        "admin" => Scope::Admin,
        "write" => Scope::Write,
        _ => Scope::Read,
    }
}

fn hash(secret: &str) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Options;

    const OP: Caller = Caller::Operator;

    fn tokens() -> (tempfile::TempDir, Arc<Database>, Tokens) {
        let dir = tempfile::tempdir().unwrap();
        let db = Arc::new(
            Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap(),
        );
        (dir, db.clone(), Tokens::new(db))
    }

    #[test]
    fn a_secret_opens_until_it_is_revoked() {
        let (_dir, _db, t) = tokens();
        let (info, secret) = t.create(&OP, "feed", Scope::Write, None).unwrap();
        assert_eq!((info.name.as_str(), info.scope), ("feed", Scope::Write));
        let caller = t.authenticate(&secret).unwrap();
        assert!(matches!(caller, Caller::Token { scope: Scope::Write, ref name, .. } if name == "feed"));
        assert_eq!(t.create(&caller, "more", Scope::Admin, None).unwrap_err().kind(), Kind::Denied);
        t.revoke(&OP, "feed").unwrap();
        assert_eq!(t.authenticate(&secret).unwrap_err().kind(), Kind::Unauthenticated);
        assert_eq!(t.revoke(&OP, "feed").unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn an_expired_token_opens_nothing() {
        let (_dir, _db, t) = tokens();
        let (_, past) = t.create(&OP, "past", Scope::Read, Some(now_ns() - 1)).unwrap();
        let (_, future) = t.create(&OP, "future", Scope::Read, Some(now_ns() + 60_000_000_000)).unwrap();
        assert!(t.authenticate(&past).is_err());
        assert!(t.authenticate(&future).is_ok());
    }

    #[test]
    fn the_secret_is_not_in_the_database_and_not_in_the_audit() {
        let (dir, db, t) = tokens();
        let (_, secret) = t.create(&OP, "feed", Scope::Read, None).unwrap();
        db.checkpoint().unwrap();
        let bytes = std::fs::read(dir.path().join("a.db")).unwrap();
        let random = secret.trim_start_matches(PREFIX);
        assert!(!bytes.windows(random.len()).any(|w| w == random.as_bytes()));
        assert_eq!(secret.len(), PREFIX.len() + 2 * SECRET_BYTES);
    }

    #[test]
    fn hostile_secrets_and_names_are_refused() {
        let (_dir, _db, t) = tokens();
        t.create(&OP, "a", Scope::Admin, None).unwrap();
        for bad in ["", "shp_", "' OR 1=1 --", "shp_' OR 1=1 --", "\0"] {
            assert_eq!(t.authenticate(bad).unwrap_err().kind(), Kind::Unauthenticated, "{bad:?}");
        }
        for bad in ["", "a b", "a/b", "\u{202e}x", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(t.create(&OP, bad, Scope::Read, None).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        assert_eq!(t.create(&OP, "a", Scope::Read, None).unwrap_err().kind(), Kind::Conflict);
    }
}
