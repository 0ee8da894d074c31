//! Dead letters that people sent again: the one thing that the dashboard
//! writes.
//!
//! A row is written before the message goes out and completed afterwards, so
//! that no two requests send the same message, and a process that ends in
//! between leaves a row that says that it is not known.

use super::PostgresError;
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;

/// A message that lies in a dead-letter topic, named by where it first lay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterKey {
    pub epoch: String,
    /// The original topic, without prefix.
    pub topic: String,
    pub origin_partition: i32,
    pub origin_offset: i64,
    pub letter_partition: i32,
    pub letter_offset: i64,
}

/// What was done about a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resent {
    pub epoch: String,
    pub topic: String,
    pub origin_partition: i32,
    pub origin_offset: i64,
    /// `sending`, `sent`, `refused` or `doubtful`.
    pub state: String,
    pub attempts: i32,
    pub requested_by: String,
    /// Wall clock.
    pub requested_at_ms: i64,
    /// Where the broker put it.
    pub sent_partition: Option<i32>,
    pub sent_offset: Option<i64>,
    pub error: Option<String>,
    /// Whether its sender has been silent for longer than a publication may
    /// take.
    pub overdue: bool,
}

/// Who may send now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The caller; this is the number of its attempt, for [`finish`].
    Mine(i32),
    /// Nobody: this was done, or is being done.
    Taken(Resent),
}

/// How sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// The broker has it, on this partition under this offset.
    Sent(i32, i64),
    /// The broker will not take it.
    Refused(&'a str),
    /// No acknowledgement came.
    Doubtful(&'a str),
}

/// A pool on the same server as `pool` for this module's writes: it takes the
/// role `midwatch_resender`, which may write nothing else, where this user may.
#[must_use]
pub fn resender_pool(pool: &PgPool) -> PgPool {
    let options = (*pool.connect_options())
        .clone()
        .application_name("midwatch-resender")
        .options([("statement_timeout", "5000")]);
    PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(5))
        .after_connect(|connection, _| {
            Box::pin(async move {
                let may = sqlx::query_scalar!(
                    r#"SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'midwatch_resender'
                           AND pg_has_role(oid, 'MEMBER')) AS "may!""#
                )
                .fetch_one(&mut *connection)
                .await?;
                if may {
                    sqlx::query!("SET ROLE midwatch_resender")
                        .execute(connection)
                        .await?;
                }
                Ok(())
            })
        })
        .connect_lazy_with(options)
}

/// Notes that `by` is about to send the message. One that was sent, or may
/// have been, is not begun again unless `despite_doubt`; one that was sent
/// for certain never is.
///
/// # Errors
/// The database is away.
pub async fn begin(
    pool: &PgPool,
    key: &LetterKey,
    by: &str,
    despite_doubt: bool,
) -> Result<Begun, PostgresError> {
    let attempt = sqlx::query_scalar!(
        "INSERT INTO dead_letters_resent AS row (epoch, topic, origin_partition, origin_offset,
             letter_partition, letter_offset, state, requested_by)
         VALUES ($1, $2, $3, $4, $5, $6, 'sending', $7)
         ON CONFLICT (epoch, topic, origin_partition, origin_offset) DO UPDATE
             SET state = 'sending', attempts = row.attempts + 1, requested_by = $7,
                 requested_at = now(), finished_at = NULL, error = NULL,
                 letter_partition = $5, letter_offset = $6
             WHERE row.state = 'refused' OR ($8 AND (row.state = 'doubtful'
                 OR (row.state = 'sending' AND row.requested_at < now() - INTERVAL '60 seconds')))
         RETURNING attempts",
        key.epoch,
        key.topic,
        key.origin_partition,
        key.origin_offset,
        key.letter_partition,
        key.letter_offset,
        by,
        despite_doubt
    )
    .fetch_optional(pool)
    .await?;
    if let Some(attempt) = attempt {
        return Ok(Begun::Mine(attempt));
    }
    let places = [(key.origin_partition, key.origin_offset)];
    let found = resent(pool, &key.epoch, &key.topic, &places).await?;
    found
        .into_iter()
        .next()
        .map(Begun::Taken)
        .ok_or_else(|| sqlx::Error::RowNotFound.into())
}

/// Notes how attempt `attempt` ended; `false` where somebody took over since.
///
/// # Errors
/// The database is away; the row goes on saying `sending`.
pub async fn finish(
    pool: &PgPool,
    key: &LetterKey,
    attempt: i32,
    ended: Ended<'_>,
) -> Result<bool, PostgresError> {
    let (state, place, error) = match ended {
        Ended::Sent(partition, offset) => ("sent", Some((partition, offset)), None),
        Ended::Refused(why) => ("refused", None, Some(why)),
        Ended::Doubtful(why) => ("doubtful", None, Some(why)),
    };
    let (partition, offset) = place.unzip();
    let done = sqlx::query!(
        "UPDATE dead_letters_resent SET state = $6, sent_partition = $7, sent_offset = $8,
             error = $9, finished_at = now()
         WHERE epoch = $1 AND topic = $2 AND origin_partition = $3 AND origin_offset = $4
           AND attempts = $5 AND state = 'sending'",
        key.epoch,
        key.topic,
        key.origin_partition,
        key.origin_offset,
        attempt,
        state,
        partition,
        offset,
        error
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What was done about messages of `topic` that first lay at these partitions
/// and offsets.
///
/// # Errors
/// The database is away.
pub async fn resent(
    pool: &PgPool,
    epoch: &str,
    topic: &str,
    places: &[(i32, i64)],
) -> Result<Vec<Resent>, PostgresError> {
    let (partitions, offsets): (Vec<i32>, Vec<i64>) = places.iter().copied().unzip();
    Ok(sqlx::query_as!(
        Resent,
        r#"SELECT epoch, topic, origin_partition, origin_offset, state, attempts, requested_by,
               (extract(epoch FROM requested_at) * 1000)::bigint AS "requested_at_ms!",
               sent_partition, sent_offset, error,
               (state = 'sending' AND requested_at < now() - INTERVAL '60 seconds') AS "overdue!"
           FROM dead_letters_resent
           WHERE epoch = $1 AND topic = $2 AND (origin_partition, origin_offset) IN
               (SELECT * FROM unnest($3::int[], $4::bigint[]))
           ORDER BY requested_at DESC"#,
        epoch,
        topic,
        &partitions,
        &offsets
    )
    .fetch_all(pool)
    .await?)
}
