//! `midwatch postmortem`, `bundle`, `verify`, `keys new` and `runbook suggest`:
//! what is left of an incident on paper.
//!
//! They read PostgreSQL (DATABASE_URL) and change nothing in it; `verify` and
//! `keys new` need no settings and no network.

use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::output::{self, plain};
use clap::{Subcommand, ValueEnum};
use midwatch_clients::postgres::{Postgres, read, review};
use midwatch_postmortem::bundle::{self, key};
use midwatch_postmortem::document::Document;
use midwatch_postmortem::lesson::Lesson;
use midwatch_postmortem::{forms, runbook};
use serde_json::json;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use uuid::Uuid;

/// Lessons that are looked through for repeated causes.
const LESSONS: i64 = 2000;
const AWAY: &str = "start PostgreSQL (`make demo` does), and see that DATABASE_URL leads to it";

/// What to put on paper.
#[derive(Debug, Subcommand)]
pub enum PaperCommand {
    /// Print the newest postmortem of an incident
    Postmortem {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
        /// In which form
        #[arg(long, value_enum, default_value_t = Form::Markdown)]
        form: Form,
        /// Into this file; otherwise to standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Export an incident with all that is stored into one signed file
    #[command(after_help = "\
Needs BUNDLE_KEY_FILE (`midwatch keys new FILE` makes one) and DATABASE_URL.")]
    Bundle {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
        /// Into this file, which must not exist yet
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Check offline that a bundle is what was signed
    #[command(after_help = "\
Says which entry does not hold first. Exit code 1 where one does not.")]
    Verify {
        /// The bundle
        file: PathBuf,
        /// The public key that `keys new` and `bundle` printed
        #[arg(long, value_name = "KEY")]
        key: String,
    },
    /// Keys that bundles are signed with
    Keys {
        #[command(subcommand)]
        what: KeysCommand,
    },
    /// Runbooks from what happened before
    Runbook {
        #[command(subcommand)]
        what: RunbookCommand,
    },
}

/// Below `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key; prints the public half
    New {
        /// The new file for the private half
        file: PathBuf,
    },
}

/// Below `runbook`.
#[derive(Debug, Subcommand)]
pub enum RunbookCommand {
    /// Draft runbooks from incidents that came again with one cause
    Suggest {
        /// Only where the cause was in this service
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
    },
}

/// The forms of a postmortem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Markdown,
    /// One file, made to be printed
    Html,
    /// Statements with their ids and records
    Json,
}

/// What needs no settings, done; none for the other commands.
#[must_use]
pub fn without_settings(command: &PaperCommand, json: bool) -> Option<Result<ExitCode, Failure>> {
    match command {
        PaperCommand::Verify { file, key } => Some(verify(file, key, json)),
        PaperCommand::Keys {
            what: KeysCommand::New { file },
        } => Some(new_key(file, json)),
        _ => None,
    }
}

/// Does what was asked for.
///
/// # Errors
/// PostgreSQL or a file, with the remedy.
pub async fn run(
    configuration: &Configuration,
    command: &PaperCommand,
    json: bool,
) -> Result<ExitCode, Failure> {
    match command {
        PaperCommand::Postmortem { id, form, output } => {
            let form = if json { Form::Json } else { *form };
            postmortem(configuration, id, form, output.as_deref()).await?;
        }
        PaperCommand::Bundle { id, output } => export(configuration, id, output, json).await?,
        PaperCommand::Runbook {
            what: RunbookCommand::Suggest { service },
        } => suggest(configuration, service.as_deref(), json).await?,
        PaperCommand::Verify { file, key } => return verify(file, key, json),
        PaperCommand::Keys {
            what: KeysCommand::New { file },
        } => return new_key(file, json),
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(file: &Path, key: &str, json: bool) -> Result<ExitCode, Failure> {
    let public = key::public(key).map_err(|error| {
        let mend = "give the 64 digits that `midwatch keys new` or `midwatch bundle` printed";
        Failure::new(error.to_string(), mend)
    })?;
    let opened = File::open(file).map_err(|error| {
        Failure::new(
            format!("{}: {error}", file.display()),
            "name a bundle that exists",
        )
    })?;
    match bundle::verify(BufReader::new(opened), &public) {
        Ok(found) => {
            let answer = json!({"verified": true, "short_id": found.short_id,
                "incident_id": found.incident_id, "created_at_ms": found.created_at_ms,
                "entries": found.entries});
            let words = format!(
                "{} holds: {} of {}, {} entries, signed by the key given.\n",
                plain(&file.display().to_string()),
                plain(&found.short_id),
                output::time(found.created_at_ms),
                found.entries
            );
            print(json, &answer, &words)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let answer = json!({"verified": false, "problem": error.to_string()});
            let words = format!(
                "{}: {}\n",
                plain(&file.display().to_string()),
                plain(&error.to_string())
            );
            print(json, &answer, &words)?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn new_key(file: &Path, json: bool) -> Result<ExitCode, Failure> {
    let public = key::create(file).map_err(|error| {
        Failure::new(
            error.to_string(),
            "name a new file in a folder that you may write to",
        )
    })?;
    let digits = key::hex(public.as_bytes());
    let words = format!(
        "The private key is in {}; set BUNDLE_KEY_FILE to it and keep it to yourself.\n\
         Public key, for `midwatch verify --key`:\n{digits}\n",
        plain(&file.display().to_string())
    );
    print(json, &json!({ "public_key": digits }), &words)?;
    Ok(ExitCode::SUCCESS)
}

async fn postmortem(
    configuration: &Configuration,
    id: &str,
    form: Form,
    file: Option<&Path>,
) -> Result<(), Failure> {
    let range = range(id)?;
    let postgres = connect(configuration).await?;
    let away = |error| Failure::new(format!("{error}"), AWAY);
    let incident = read::incident(&postgres.pool, range.0, range.1)
        .await
        .map_err(away)?;
    let incident = incident.ok_or_else(|| unknown(id))?;
    let newest = review::latest(&postgres.pool, incident.id)
        .await
        .map_err(away)?;
    let newest = newest.ok_or_else(|| {
        let mend = "wait until the incident is over; a merged one is told by the other's";
        Failure::new(format!("{id} has no postmortem yet"), mend)
    })?;
    let document = || {
        serde_json::from_value::<Document>(newest.statements.clone()).map_err(|error| {
            let what = format!("the statements of {id} are of another version: {error}");
            Failure::new(what, "use --form markdown, or the version that wrote them")
        })
    };
    let text = match form {
        Form::Markdown => newest.markdown.clone(),
        Form::Html => forms::page(&document()?),
        Form::Json => {
            let mut shown = forms::json(&document()?);
            shown["status"] = json!(newest.status);
            shown["reviewed_by"] = json!(newest.reviewed_by);
            shown["published_by"] = json!(newest.published_by);
            format!("{shown:#}\n")
        }
    };
    match file {
        Some(file) => std::fs::write(file, text).map_err(|error| unwritable(file, &error)),
        None if form == Form::Markdown => Ok(output::print(&lines(&text))?),
        None => Ok(output::print(&text)?),
    }
}

/// Text for a terminal: each line without what steers one.
fn lines(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", plain(line)))
        .collect()
}

async fn export(
    configuration: &Configuration,
    id: &str,
    file: &Path,
    json: bool,
) -> Result<(), Failure> {
    let range = range(id)?;
    let mend = "make one with `midwatch keys new FILE` and set BUNDLE_KEY_FILE to it";
    let path = configuration
        .settings
        .get("BUNDLE_KEY_FILE")
        .ok_or_else(|| Failure::new("BUNDLE_KEY_FILE is not set: a bundle is signed", mend))?;
    let key = key::read(Path::new(&path)).map_err(|error| Failure::new(error.to_string(), mend))?;
    let public = key::hex(key.verifying_key().as_bytes());
    let postgres = connect(configuration).await?;
    let out = File::create_new(file).map_err(|error| unwritable(file, &error))?;
    let now = midwatch_runtime::clock::now_ms();
    let done = bundle::export(&postgres.pool, range, key, now, BufWriter::new(out)).await;
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            // Half a bundle would be taken for a broken one.
            let left = std::fs::remove_file(file).err();
            let left = left.map_or(String::new(), |left| {
                format!("; and {} stays: {left}", file.display())
            });
            return Err(Failure::new(format!("{id}: {error:#}{left}"), AWAY));
        }
    };
    let answer = json!({"short_id": done.short_id, "entries": done.entries, "kinds": done.kinds,
        "public_key": public, "file": file});
    let kinds: Vec<String> = done
        .kinds
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let words = format!(
        "{}: {} entries of {} ({}).\nPublic key, for `midwatch verify --key`:\n{public}\n",
        plain(&file.display().to_string()),
        done.entries,
        done.short_id,
        kinds.join(", ")
    );
    print(json, &answer, &words)
}

async fn suggest(
    configuration: &Configuration,
    service: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let postgres = connect(configuration).await?;
    let rows = review::lessons(&postgres.pool, service, LESSONS)
        .await
        .map_err(|error| Failure::new(format!("{error}"), AWAY))?;
    // What an older version wrote has no lesson.
    let lessons: Vec<Lesson> = rows
        .into_iter()
        .filter_map(|row| serde_json::from_value(row).ok())
        .collect();
    let drafts = runbook::suggest(&lessons);
    let mut words = String::new();
    if drafts.is_empty() {
        words = format!(
            "No cause came {} times in {} incidents with a postmortem.\n",
            runbook::REPEATED,
            lessons.len()
        );
    }
    for draft in &drafts {
        words.push_str(&lines(&draft.markdown));
    }
    print(json, &json!({ "drafts": drafts }), &words)
}

async fn connect(configuration: &Configuration) -> Result<Postgres, Failure> {
    let url = configuration.settings.get("DATABASE_URL").ok_or_else(|| {
        Failure::new(
            "DATABASE_URL is not set",
            "set it to postgres://user:password@host:5432/midwatch",
        )
    })?;
    Postgres::connect(&url, 1)
        .await
        .map_err(|error| Failure::new(configuration.mask(&error.to_string()), AWAY))
}

/// All ids that a full or a short id stands for.
fn range(id: &str) -> Result<(Uuid, Uuid), Failure> {
    if let Ok(id) = id.parse::<Uuid>() {
        return Ok((id, id));
    }
    let digits = id
        .strip_prefix("INC-")
        .or_else(|| id.strip_prefix("inc-"))
        .unwrap_or(id);
    let is_short = digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let begin = is_short
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten();
    let begin = begin.map(|begin| u128::from(begin) << 96).ok_or_else(|| {
        Failure::new(
            format!("{:?} is no incident id", plain(id)),
            "give a short id such as INC-A1B2C3D4, or a UUID",
        )
    })?;
    Ok((
        Uuid::from_u128(begin),
        Uuid::from_u128(begin | (u128::MAX >> 32)),
    ))
}

fn unknown(id: &str) -> Failure {
    Failure::new(
        format!("there is no incident {}", plain(id)),
        "`midwatch incidents` lists them",
    )
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("{} cannot be written: {error}", file.display()),
        "name a file in a folder that you may write to; a bundle needs a new one",
    )
}

fn print(json: bool, answer: &serde_json::Value, words: &str) -> Result<(), Failure> {
    if json {
        output::print_json(answer)?;
    } else {
        output::print(words)?;
    }
    std::io::stdout().flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_id_is_the_range_of_the_ids_that_begin_with_it() {
        let (first, last) = range("INC-A1B2C3D4").expect("a short id");
        assert_eq!(first.to_string(), "a1b2c3d4-0000-0000-0000-000000000000");
        assert_eq!(last.to_string(), "a1b2c3d4-ffff-ffff-ffff-ffffffffffff");
        assert_eq!(range(&first.to_string()).expect("an id"), (first, first));
        for wrong in [
            "",
            "INC-",
            "INC-A1B2",
            "../x",
            "INC-A1B2C3D4E5",
            "INC-+1B2C3D4",
        ] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_and_a_bundle_are_proven_without_settings() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, secret) = (folder.path().join("b"), folder.path().join("k"));
        let public = key::create(&secret).expect("a key");
        let out = File::create_new(&file).expect("a file");
        let secret = key::read(&secret).expect("the key");
        let begun = bundle::Bundle::begin(out, secret, Uuid::nil(), "INC-00000000", 0);
        begun.and_then(bundle::Bundle::end).expect("a bundle");
        let digits = key::hex(public.as_bytes());
        assert_eq!(
            verify(&file, &digits, true).expect("checked"),
            ExitCode::SUCCESS
        );
        let mut bytes = std::fs::read(&file).expect("the bundle");
        bytes[70] ^= 1;
        std::fs::write(&file, bytes).expect("written");
        assert_eq!(
            verify(&file, &digits, true).expect("checked"),
            ExitCode::FAILURE
        );
        assert!(verify(&file, "00", true).is_err());
    }
}
