//! Actions on the world: each begun once and ended once, one at a time for a
//! service, with limits over all of them.

use super::{PostgresError, Tx, millis};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// The one gate of this database: whoever begins an action holds it until the
/// limits are counted and the intent is written, so that two processes cannot
/// both be the last one that a limit lets through.
const GATE: i64 = 0x6d69_6477_6163_7401;

/// After this long without a living owner an intent stands in nobody's way any
/// more: its job was given up. It ends as unknown.
const ABANDONED_S: f64 = 3_600.0;

/// An action that is to be begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent<'a> {
    pub key: &'a str,
    pub incident_id: Uuid,
    pub environment: &'a str,
    pub service: &'a str,
    pub plan_id: Uuid,
    pub step_id: &'a str,
    pub kind: &'a str,
    pub is_undo: bool,
    pub action: &'a Value,
    /// No action begins on a service for so long after another one ended there.
    /// What takes one back does not wait.
    pub cool_down_ms: i64,
    /// Actions per hour; what takes one back is counted and not refused.
    pub hourly_limit: u32,
}

/// A process, and for how long what it has taken is its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    /// The process slot. A process that starts in it again takes back what its
    /// predecessor held, at once.
    pub slot: String,
    /// Which start of a process it is.
    pub start: Uuid,
    pub lease_s: f64,
}

impl Owner {
    fn name(&self) -> String {
        format!("{}#{}", self.slot, self.start)
    }
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// `done`, `failed`, `refused` or `unknown`.
    pub status: String,
    pub rule: String,
    pub output: String,
    /// Event time.
    pub acted_at_ms: Option<i64>,
    pub reconciled: bool,
}

/// That the world may have been touched.
#[derive(Clone, Debug, PartialEq)]
pub struct Acting {
    /// Wall clock of the database, epoch milliseconds.
    pub at_ms: i64,
    /// The machine.
    pub on: String,
    /// What was found before.
    pub observed: Value,
}

/// What became of [`begin`].
#[derive(Clone, Debug, PartialEq)]
pub enum Begun {
    /// The intent is written; nothing was done so far.
    Fresh,
    /// An intent without outcome was there, and now belongs to the caller.
    Taken(Option<Acting>),
    /// It has its outcome.
    Ended(Ended),
    /// A living process has it in hand.
    Held { owner: String },
    /// A limit does not allow it now; nothing was written.
    Refused { rule: &'static str, reason: String },
    /// The key belongs to an action of another kind or with other arguments.
    OtherAction,
}

/// Begins an action, or finds out how it stands.
///
/// # Errors
/// The database is away.
pub async fn begin(
    pool: &PgPool,
    intent: &Intent<'_>,
    owner: &Owner,
) -> Result<Begun, PostgresError> {
    let mut tx = pool.begin().await?;
    pass_gate(&mut tx).await?;
    let begun = match resume(&mut tx, intent, owner).await? {
        Some(begun) => begun,
        None => match refusal(&mut tx, intent).await? {
            Some(refused) => refused,
            None => {
                insert(&mut tx, intent, owner).await?;
                Begun::Fresh
            }
        },
    };
    tx.commit().await?;
    Ok(begun)
}

/// How an action that was begun before stands.
async fn resume(
    tx: &mut Tx,
    intent: &Intent<'_>,
    owner: &Owner,
) -> Result<Option<Begun>, PostgresError> {
    let found = sqlx::query!(
        r#"SELECT phase, status, rule, output, acted_at_ms, reconciled, owner, acting_at, acting_on,
                observed, lease_until < now() AS "is_free!",
                (kind = $2 AND action->'arguments' IS NOT DISTINCT FROM $3::jsonb->'arguments')
                    AS "is_same!"
           FROM executions WHERE key = $1"#,
        intent.key,
        intent.kind,
        intent.action
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = found else { return Ok(None) };
    if !row.is_same {
        return Ok(Some(Begun::OtherAction));
    }
    if row.phase == "outcome" {
        return Ok(Some(Begun::Ended(Ended {
            status: row.status.unwrap_or_default(),
            rule: row.rule,
            output: row.output,
            acted_at_ms: row.acted_at_ms,
            reconciled: row.reconciled,
        })));
    }
    let me = owner.name();
    let is_predecessor = row.owner != me
        && row
            .owner
            .rsplit_once('#')
            .is_some_and(|(slot, _)| slot == owner.slot);
    if !row.is_free && !is_predecessor {
        return Ok(Some(Begun::Held { owner: row.owner }));
    }
    sqlx::query!(
        "UPDATE executions SET owner = $2, lease_until = now() + make_interval(secs => $3)
         WHERE key = $1",
        intent.key,
        me,
        owner.lease_s
    )
    .execute(&mut **tx)
    .await?;
    let acting = row.acting_at.map(|at| Acting {
        at_ms: millis(at),
        on: row.acting_on.unwrap_or_default(),
        observed: row.observed.unwrap_or(Value::Null),
    });
    Ok(Some(Begun::Taken(acting)))
}

/// Waits until nobody else begins or withdraws an action; held until the
/// transaction ends.
async fn pass_gate(tx: &mut Tx) -> Result<(), PostgresError> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1) AS \"gate!: ()\"", GATE)
        .fetch_one(&mut **tx)
        .await?;
    Ok(())
}

/// The limit that does not allow an action now.
async fn refusal(tx: &mut Tx, intent: &Intent<'_>) -> Result<Option<Begun>, PostgresError> {
    sqlx::query!(
        "UPDATE executions SET phase = 'outcome', status = 'unknown', ended_at = now(),
             output = 'Its process ended and nobody came back to it. A person must look.'
         WHERE environment = $1 AND service = $2 AND phase = 'intent'
           AND lease_until < now() - make_interval(secs => $3)",
        intent.environment,
        intent.service,
        ABANDONED_S
    )
    .execute(&mut **tx)
    .await?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 ms")]
    let cool_down_s = intent.cool_down_ms as f64 / 1000.0;
    let found = sqlx::query!(
        r#"SELECT
             (SELECT min(incident_id::text || ' ' || step_id) FROM executions
               WHERE environment = $1 AND service = $2 AND phase = 'intent' AND NOT dry_run)
               AS open,
             (SELECT extract(epoch FROM max(ended_at) + make_interval(secs => $3) - now())::float8
                FROM executions
               WHERE environment = $1 AND service = $2 AND NOT dry_run AND acting_at IS NOT NULL
                 AND ended_at > now() - make_interval(secs => $3)) AS cools_for_s,
             (SELECT count(*) FROM executions
               WHERE began_at > now() - INTERVAL '1 hour' AND NOT dry_run
                 AND (acting_at IS NOT NULL OR phase = 'intent')) AS "in_an_hour!""#,
        intent.environment,
        intent.service,
        cool_down_s
    )
    .fetch_one(&mut **tx)
    .await?;
    let service = intent.service;
    let refused = |rule, reason| Ok(Some(Begun::Refused { rule, reason }));
    if let Some(open) = found.open {
        return refused(
            "one_action_per_service",
            format!("another action on {service} is not finished: incident and step {open}"),
        );
    }
    if intent.is_undo {
        return Ok(None);
    }
    if let Some(rest_s) = found.cools_for_s {
        return refused(
            "cool_down",
            format!(
                "{service} was acted on before; wait {:.0} s more",
                rest_s.ceil()
            ),
        );
    }
    let limit = intent.hourly_limit;
    if found.in_an_hour >= i64::from(limit) {
        let count = found.in_an_hour;
        return refused(
            "hourly_limit",
            format!("{count} actions began within the hour, and {limit} may"),
        );
    }
    Ok(None)
}

async fn insert(tx: &mut Tx, intent: &Intent<'_>, owner: &Owner) -> Result<(), PostgresError> {
    sqlx::query!(
        "INSERT INTO executions (key, incident_id, environment, service, plan_id, step_id, kind,
             is_undo, dry_run, action, phase, owner, lease_until)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, FALSE, $9, 'intent', $10,
             now() + make_interval(secs => $11))",
        intent.key,
        intent.incident_id,
        intent.environment,
        intent.service,
        intent.plan_id,
        intent.step_id,
        intent.kind,
        intent.is_undo,
        intent.action,
        owner.name(),
        owner.lease_s
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Writes that the world is about to be touched; `false`, and nothing may be
/// touched, where somebody else has the action by now.
///
/// # Errors
/// The database is away; nothing may be touched then either.
pub async fn mark_acting(
    pool: &PgPool,
    key: &str,
    owner: &Owner,
    on: &str,
    observed: &Value,
) -> Result<bool, PostgresError> {
    let done = sqlx::query!(
        "UPDATE executions SET acting_at = clock_timestamp(), acting_on = $3, observed = $4,
             lease_until = now() + make_interval(secs => $5)
         WHERE key = $1 AND owner = $2 AND phase = 'intent'",
        key,
        owner.name(),
        on,
        observed,
        owner.lease_s
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Extends the lease; `false` where somebody else has the action by now.
///
/// # Errors
/// The database is away.
pub async fn renew(pool: &PgPool, key: &str, owner: &Owner) -> Result<bool, PostgresError> {
    let done = sqlx::query!(
        "UPDATE executions SET lease_until = now() + make_interval(secs => $3)
         WHERE key = $1 AND owner = $2 AND phase = 'intent'",
        key,
        owner.name(),
        owner.lease_s
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes the outcome; `false`, and nothing is written, where somebody else has
/// the action by now.
///
/// # Errors
/// The database is away.
pub async fn end(
    pool: &PgPool,
    key: &str,
    owner: &Owner,
    ended: &Ended,
) -> Result<bool, PostgresError> {
    let done = sqlx::query!(
        "UPDATE executions SET phase = 'outcome', status = $3, rule = $4, output = $5,
             acted_at_ms = $6, reconciled = $7, ended_at = now()
         WHERE key = $1 AND owner = $2 AND phase = 'intent'",
        key,
        owner.name(),
        ended.status,
        ended.rule,
        ended.output,
        ended.acted_at_ms,
        ended.reconciled
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What became of [`withdraw`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// It had not begun, and will not: it has the given outcome.
    Now,
    /// Its intent is on record, and no outcome.
    Begun,
    /// It has its outcome.
    Ended { status: String, rule: String },
}

/// Gives an action an outcome before it begins, or finds out that it has
/// begun. This and [`begin`] go through one gate, so that one of them is the
/// first; a rehearsal has begun when it has ended.
///
/// # Errors
/// The database is away.
pub async fn withdraw(
    pool: &PgPool,
    intent: &Intent<'_>,
    owner: &Owner,
    dry_run: bool,
    ended: &Ended,
) -> Result<Withdrawn, PostgresError> {
    let mut tx = pool.begin().await?;
    pass_gate(&mut tx).await?;
    let key = if dry_run {
        format!("dry-run:{}", intent.key)
    } else {
        intent.key.to_owned()
    };
    let done = sqlx::query!(
        "INSERT INTO executions (key, incident_id, environment, service, plan_id, step_id, kind,
             is_undo, dry_run, action, phase, status, rule, output, owner, lease_until, ended_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'outcome', $11, $12, $13, $14, now(),
             now())
         ON CONFLICT (key) DO NOTHING",
        key,
        intent.incident_id,
        intent.environment,
        intent.service,
        intent.plan_id,
        intent.step_id,
        intent.kind,
        intent.is_undo,
        dry_run,
        intent.action,
        ended.status,
        ended.rule,
        ended.output,
        owner.name()
    )
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 1 {
        tx.commit().await?;
        return Ok(Withdrawn::Now);
    }
    let row = sqlx::query!("SELECT status, rule FROM executions WHERE key = $1", key)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(match row.status {
        None => Withdrawn::Begun,
        Some(status) => Withdrawn::Ended {
            status,
            rule: row.rule,
        },
    })
}

/// Writes what a rehearsal found; a later one of the same key replaces it. It
/// holds nothing up and counts for no limit. `false`, and nothing is written,
/// where it was taken out before by [`withdraw`], under the rule `rejected`:
/// what another rule refused may be asked again.
///
/// # Errors
/// The database is away.
pub async fn rehearsed(
    pool: &PgPool,
    intent: &Intent<'_>,
    owner: &Owner,
    ended: &Ended,
) -> Result<bool, PostgresError> {
    let done = sqlx::query!(
        "INSERT INTO executions (key, incident_id, environment, service, plan_id, step_id, kind,
             is_undo, dry_run, action, phase, status, rule, output, owner, lease_until, ended_at)
         VALUES ('dry-run:' || $1::text, $2, $3, $4, $5, $6, $7, $8, TRUE, $9, 'outcome', $10, $11,
             $12, $13, now(), now())
         ON CONFLICT (key) DO UPDATE SET status = excluded.status, rule = excluded.rule,
             output = excluded.output, owner = excluded.owner, began_at = now(), ended_at = now()
         WHERE executions.rule <> 'rejected'",
        intent.key,
        intent.incident_id,
        intent.environment,
        intent.service,
        intent.plan_id,
        intent.step_id,
        intent.kind,
        intent.is_undo,
        intent.action,
        ended.status,
        ended.rule,
        ended.output,
        owner.name()
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}
