//! PostgreSQL: reachable, with this build's schema and a role for readers.

use super::{Finding, Probe, chain, names, since};
use crate::configuration::Configuration;
use midwatch_clients::postgres::MIGRATIONS;
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::str::FromStr;
use std::time::{Duration, Instant};

const SERVER: &str = "postgres";
const SCHEMA: &str = "postgres-migrations";
const READER: &str = "postgres-reader";

const RUN_INIT: &str = "run midwatch-init with the same settings (`make demo` does)";
/// PostgreSQL's code for a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

pub(super) fn probe(configuration: &Configuration) -> Probe {
    let url = configuration.settings.get("DATABASE_URL");
    Probe {
        checks: &[SERVER, SCHEMA, READER],
        limit: Duration::from_secs(10),
        remedy: "see that PostgreSQL runs, and that DATABASE_URL leads to it",
        answer: Box::pin(check(url)),
    }
}

async fn check(url: Option<String>) -> Vec<Finding> {
    let form = "set it to postgres://user:password@host:5432/midwatch";
    let Some(url) = url else {
        return vec![Finding::fail(SERVER, "DATABASE_URL is not set", form)];
    };
    let options = match PgConnectOptions::from_str(&url) {
        Ok(options) => options,
        Err(error) => {
            let found = format!("DATABASE_URL is no PostgreSQL URL: {error}");
            return vec![Finding::fail(SERVER, found, form)];
        }
    };
    let place = format!(
        "{} as {} on {}:{}",
        options.get_database().unwrap_or("the default database"),
        options.get_username(),
        options.get_host(),
        options.get_port()
    );
    let begun = Instant::now();
    let options = options.application_name("midwatch-doctor");
    let mut connection = match options.disable_statement_logging().connect().await {
        Ok(connection) => connection,
        Err(error) => {
            return vec![Finding::fail(
                SERVER,
                format!("{place} cannot be opened: {}", chain(&error)),
                "start PostgreSQL (`make demo` does), or correct DATABASE_URL: server, database, user and password",
            )];
        }
    };
    let version = connection.server_version_num();
    let mut findings = vec![Finding::ok(
        SERVER,
        format!(
            "{}, {place}, opened in {}",
            version_name(version),
            since(begun)
        ),
    )];
    let table = MIGRATIONS.table_name.as_ref();
    let applied = connection.list_applied_migrations(table).await;
    findings.push(schema(applied));
    findings.push(reader(&mut connection).await);
    // The connection ends with the process anyway.
    connection.close().await.ok();
    findings
}

fn version_name(number: Option<u32>) -> String {
    number.map_or_else(
        || "PostgreSQL".to_owned(),
        |number| format!("PostgreSQL {}.{}", number / 10_000, number % 10_000),
    )
}

fn schema(applied: Result<Vec<AppliedMigration>, MigrateError>) -> Finding {
    let applied = match applied {
        Ok(applied) => applied,
        Err(MigrateError::Execute(sqlx::Error::Database(error)))
            if error.code().as_deref() == Some(UNDEFINED_TABLE) =>
        {
            return Finding::fail(SCHEMA, "the database has no schema yet", RUN_INIT);
        }
        Err(error) => {
            let remedy = "see that this user may read the table _sqlx_migrations";
            return Finding::fail(SCHEMA, chain(&error), remedy);
        }
    };
    let ours: Vec<_> = MIGRATIONS
        .iter()
        .filter(|one| !one.migration_type.is_down_migration())
        .collect();
    let unknown: Vec<String> = applied
        .iter()
        .filter(|one| ours.iter().all(|own| own.version != one.version))
        .map(|one| one.version.to_string())
        .collect();
    if !unknown.is_empty() {
        return Finding::fail(
            SCHEMA,
            format!(
                "the database is newer than this build: it has migration {}",
                names(&unknown)
            ),
            "use the build that migrated it, or a newer one",
        );
    }
    let changed: Vec<String> = ours
        .iter()
        .filter(|own| {
            applied
                .iter()
                .any(|one| one.version == own.version && one.checksum != own.checksum)
        })
        .map(|own| own.version.to_string())
        .collect();
    if !changed.is_empty() {
        return Finding::fail(
            SCHEMA,
            format!("migration {} was applied in another form", names(&changed)),
            "use the build that migrated it, or start with an empty database",
        );
    }
    let missing: Vec<String> = ours
        .iter()
        .filter(|own| applied.iter().all(|one| one.version != own.version))
        .map(|own| format!("{} ({})", own.version, own.description))
        .collect();
    if !missing.is_empty() {
        return Finding::fail(
            SCHEMA,
            format!("not applied: {}", names(&missing)),
            RUN_INIT,
        );
    }
    Finding::ok(SCHEMA, format!("all {} are applied", ours.len()))
}

/// The role that the dashboard reads with.
async fn reader(connection: &mut PgConnection) -> Finding {
    // Of the server's own catalogue; Midwatch's tables are none of our
    // business here.
    let asked: Result<(bool, bool), sqlx::Error> = sqlx::query_as(
        "SELECT count(*) > 0, coalesce(bool_or(pg_has_role(oid, 'MEMBER')), false)
         FROM pg_roles WHERE rolname = 'midwatch_reader'",
    )
    .fetch_one(connection)
    .await;
    match asked {
        Ok((true, true)) => Finding::ok(
            READER,
            "midwatch_reader is there, and this user may take it",
        ),
        Ok((true, false)) => Finding::warn(
            READER,
            "midwatch_reader is there, but this user may not take it",
            "GRANT midwatch_reader TO the user in DATABASE_URL; until then the dashboard reads with all rights of that user",
        ),
        Ok((false, _)) => Finding::warn(
            READER,
            "the role midwatch_reader is not there",
            "run midwatch-init as a user who may create roles; until then the dashboard reads with all rights of its user",
        ),
        Err(error) => Finding::fail(READER, chain(&error), "look again"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn applied() -> Vec<AppliedMigration> {
        let all = MIGRATIONS.iter();
        all.map(|one| AppliedMigration {
            version: one.version,
            checksum: one.checksum.clone(),
        })
        .collect()
    }

    #[test]
    fn the_schema_is_right_old_new_or_another() {
        assert_eq!(schema(Ok(applied())).status, Status::Ok);
        let found = schema(Ok(Vec::new()));
        assert_eq!(found.status, Status::Fail);
        assert!(
            found.found.starts_with("not applied: 1 ("),
            "{}",
            found.found
        );
        let mut newer = applied();
        newer.push(AppliedMigration {
            version: 9_999,
            checksum: Vec::new().into(),
        });
        let found = schema(Ok(newer));
        assert!(found.found.contains("newer than this build") && found.found.contains("9999"));
        let mut other = applied();
        other[0].checksum = vec![1, 2, 3].into();
        assert!(schema(Ok(other)).found.contains("in another form"));
    }

    #[test]
    fn versions_are_named_as_the_server_counts_them() {
        assert_eq!(version_name(Some(150_014)), "PostgreSQL 15.14");
        assert_eq!(version_name(None), "PostgreSQL");
    }
}
