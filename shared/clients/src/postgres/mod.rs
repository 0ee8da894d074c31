//! PostgreSQL: the incidents, the audit trail, and what the runtime needs to
//! carry out effects exactly once. All SQL of Midwatch is below this module,
//! checked against the schema when it is compiled.

pub mod approval_links;
pub mod artifacts;
pub mod audit;
pub mod channels;
pub mod dead_letters;
pub mod delivery;
pub mod executions;
pub mod export;
pub mod history;
pub mod incident;
pub mod jobs;
pub mod ledger;
pub mod llm;
pub mod notifications;
pub mod parking;
pub mod read;
pub mod records;
pub mod review;

pub use notifications::{Delivered, Notification, Unreached};
pub use records::KeptRecord;

use crate::error::Gravity;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres as Database, Transaction};
use std::str::FromStr;
use std::time::Duration;
use time::OffsetDateTime;

/// A transaction on this database.
pub type Tx = Transaction<'static, Database>;

/// A pool of connections; cheap to clone.
#[derive(Clone, Debug)]
pub struct Postgres {
    pub pool: PgPool,
}

/// A failed conversation with PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(
        "DATABASE_URL is not a PostgreSQL URL ({0}); it looks like postgres://user:password@host:5432/midwatch"
    )]
    Url(String),
    #[error("postgres: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("postgres: migrating the schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Somebody else wrote the state since it was read: this process no longer
    /// owns it, and must read again.
    #[error("the state of {agent}/{scope} was written by somebody else since version {version}")]
    StaleOwner {
        agent: String,
        scope: String,
        version: i64,
    },
}

impl PostgresError {
    /// What a caller can do about it.
    #[must_use]
    pub fn gravity(&self) -> Gravity {
        match self {
            PostgresError::Url(_) | PostgresError::Migrate(_) => Gravity::Fatal,
            PostgresError::StaleOwner { .. } => Gravity::Transient,
            PostgresError::Sql(error) => match error {
                sqlx::Error::Database(error)
                    if error.is_unique_violation()
                        || error.is_check_violation()
                        || error.is_foreign_key_violation()
                        // Class 22: data that the server will never take.
                        || error.code().is_some_and(|code| code.starts_with("22")) =>
                {
                    Gravity::Permanent
                }
                _ => Gravity::Transient,
            },
        }
    }
}

/// The schema's migrations, compiled in.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

impl Postgres {
    /// Connects with at most `connections` connections; every statement has a
    /// limit of 15 s.
    ///
    /// # Errors
    /// The URL is unusable, or nobody answers within 10 s.
    pub async fn connect(url: &str, connections: u32) -> Result<Postgres, PostgresError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| PostgresError::Url(error.to_string()))?
            .application_name("midwatch")
            .options([("statement_timeout", "15000"), ("lock_timeout", "10000")]);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await?;
        Ok(Postgres { pool })
    }

    /// Brings the schema to this build's version. Safe to run by several
    /// processes at once.
    ///
    /// # Errors
    /// A migration failed, or the database is newer than this build.
    pub async fn migrate(&self) -> Result<(), PostgresError> {
        Ok(MIGRATIONS.run(&self.pool).await?)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// No connection within 10 s.
    pub async fn begin(&self) -> Result<Tx, PostgresError> {
        Ok(self.pool.begin().await?)
    }
}

/// Epoch milliseconds as a database time. Out-of-range values become 1970,
/// which no decoded event can hold.
#[must_use]
pub fn at(epoch_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A database time as epoch milliseconds.
#[must_use]
pub fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}
