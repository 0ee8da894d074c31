//! `midwatch ack`, `snooze`, `merge`, `split`, `reopen`, `close`, `review`,
//! `publish`, `resend` and `maintain`: what an operator asks of the agents, over the API.
//!
//! The token is that of `OPERATOR_TOKEN`. What comes of a command is for the
//! agents to say; the timeline of the incident tells.

use crate::api::Api;
use crate::arguments::{OperatorCommand, Reason, SplitOff, Window};
use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::incidents;
use crate::output::{self, Paint, Style};
use serde_json::{Value, json};

/// Columns before the values.
const LABEL: usize = 13;

/// What is asked, and of what.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Below `/api`.
    path: String,
    body: Value,
}

/// The request that a command line stands for.
///
/// # Errors
/// The id is none.
pub fn asked(command: &OperatorCommand) -> Result<Asked, Failure> {
    Ok(match command {
        OperatorCommand::Ack { id, reason } => about(id, "acknowledge", reason)?,
        OperatorCommand::Snooze {
            id,
            minutes,
            reason,
        } => about(id, "snooze", reason)?.with("minutes", json!(minutes)),
        OperatorCommand::Merge { id, other, reason } => {
            incidents::harmless(other)?;
            about(id, "merge", reason)?.with("target", json!(other))
        }
        OperatorCommand::Split { id, what, reason } => {
            about(id, "split", reason)?.with("target", json!(leaving(what)))
        }
        OperatorCommand::Reopen { id, reason } => about(id, "reopen", reason)?,
        OperatorCommand::Close { id, reason } => about(id, "close", reason)?,
        OperatorCommand::Review { id, read, reason } => {
            having_read(about(id, "review", reason)?, *read)
        }
        OperatorCommand::Publish { id, read, reason } => {
            having_read(about(id, "publish", reason)?, *read)
        }
        OperatorCommand::Resend { what, reason } => resend(what, reason)?,
        OperatorCommand::Maintain(window) => maintain(window),
    })
}

impl Asked {
    fn with(mut self, field: &str, value: Value) -> Asked {
        self.body[field] = value;
        self
    }
}

/// A command about one incident.
fn about(id: &str, command: &str, reason: &Reason) -> Result<Asked, Failure> {
    incidents::harmless(id)?;
    let asked = Asked {
        path: format!("/api/incidents/{id}/commands"),
        body: json!({"command": command}),
    };
    Ok(because(asked, reason))
}

/// Binds a word about a postmortem to the version that was read.
fn having_read(asked: Asked, version: Option<u32>) -> Asked {
    match version {
        Some(version) => asked.with("target", json!(version.to_string())),
        None => asked,
    }
}

fn because(asked: Asked, reason: &Reason) -> Asked {
    match &reason.reason {
        Some(reason) => asked.with("reason", json!(reason)),
        None => asked,
    }
}

/// What leaves an incident, as the API takes it.
fn leaving(what: &SplitOff) -> String {
    match &what.service {
        Some(service) => service.clone(),
        None => what.anomaly.join(","),
    }
}

fn maintain(window: &Window) -> Asked {
    let asked = Asked {
        path: "/api/maintenance".to_owned(),
        body: json!({
            "environment": window.environment,
            "service": window.service,
            "minutes": window.minutes,
        }),
    };
    because(asked, &window.reason)
}

/// A Message-ID has an `@`; an incident's id has none.
fn resend(what: &str, reason: &Reason) -> Result<Asked, Failure> {
    let body = if what.contains('@') {
        json!({"message_id": what, "channel": "cli"})
    } else {
        incidents::harmless(what)?;
        json!({"incident": what, "channel": "cli"})
    };
    let asked = Asked {
        path: "/api/notifications/resend".to_owned(),
        body,
    };
    Ok(because(asked, reason))
}

/// Asks, and answers with what the broker has.
///
/// # Errors
/// No token, or as [`Api::post`].
pub async fn ask(configuration: &Configuration, api: &Api, asked: Asked) -> Result<Value, Failure> {
    let token = token(configuration)?;
    api.post(&asked.path, &asked.body, &token).await
}

/// The operator's token.
///
/// # Errors
/// It is not set.
pub fn token(configuration: &Configuration) -> Result<String, Failure> {
    let token = configuration.settings.get("OPERATOR_TOKEN");
    let token = token.ok_or_else(|| {
        Failure::new(
            "OPERATOR_TOKEN is not set: commands are for operators only",
            "set it to the token of your line in the file that OPERATOR_TOKENS_FILE of the API \
             names",
        )
    })?;
    Ok(token.trim().to_owned())
}

/// What was asked, for people.
#[must_use]
pub fn render(answer: &Value, paint: Paint) -> String {
    if let Some(items) = answer["items"].as_array() {
        let each: Vec<String> = items.iter().map(|one| render(one, paint)).collect();
        return each.join("\n");
    }
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    let at = |name: &str| answer[name].as_i64().map(output::time).unwrap_or_default();
    let mut out = format!(
        "{}\n",
        paint.text(
            Style::Good,
            &format!("{} was asked for", output::fit(&text("command"), 20))
        )
    );
    let maintenance = answer["command"] == "maintain";
    let place = format!(
        "operator.commands, partition {}, offset {}",
        answer["partition"], answer["offset"]
    );
    let values = [
        (
            "incident",
            if maintenance {
                String::new()
            } else {
                text("incident_id")
            },
        ),
        ("environment", text("environment")),
        ("target", text("target")),
        ("until", at("until_ms")),
        ("reason", text("reason")),
        ("by", format!("{} ({})", text("by"), text("credential_id"))),
        ("lies at", place),
        ("obeyed until", at("expires_at_ms")),
    ];
    for (label, value) in values {
        if !value.is_empty() {
            output::hang(&mut out, label, LABEL, &value);
        }
    }
    if !maintenance {
        let id = text("incident_id");
        output::hang(
            &mut out,
            "",
            0,
            &format!("`midwatch incidents show {id}` tells what came of it."),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Arguments, Command};
    use clap::Parser as _;

    #[test]
    fn what_was_asked_fits_eighty_columns() {
        let answer = json!({
            "event_id": "a1b2c3d4-0000-4000-8000-000000000001",
            "incident_id": "a1b2c3d4-0000-5000-8000-000000000001", "command": "split",
            "target": "order-service", "by": "ana", "credential_id": "sha256:0123456789ab",
            "reason": "two faults at once: the orders have nothing to do with the payments \u{1b}[31m",
            "environment": "simulation", "issued_at_ms": 1_795_316_645_000_i64,
            "expires_at_ms": 1_795_316_945_000_i64, "partition": 2, "offset": 15,
        });
        let shown = render(&answer, Paint::PLAIN);
        assert!(
            shown
                .lines()
                .all(|line| output::columns(line) <= output::WIDTH),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'));
        assert!(shown.contains("operator.commands, partition 2, offset 15"));
        assert!(!shown.contains("until_ms"));
    }

    #[test]
    fn each_command_line_is_a_request_of_the_api() {
        let read = |line: &str| {
            let arguments = Arguments::try_parse_from(line.split(' ')).expect("a command line");
            match arguments.command {
                Command::Operate(command) => asked(&command),
                other => panic!("{other:?}"),
            }
        };
        let path = "/api/incidents/INC-1/commands";
        for (line, path, body) in [
            ("ack INC-1", path, json!({"command": "acknowledge"})),
            (
                "snooze INC-1 --minutes 30 --reason x",
                path,
                json!({"command": "snooze", "minutes": 30, "reason": "x"}),
            ),
            (
                "merge INC-1 INC-2",
                path,
                json!({"command": "merge", "target": "INC-2"}),
            ),
            (
                "split INC-1 --anomaly a --anomaly b",
                path,
                json!({"command": "split", "target": "a,b"}),
            ),
            (
                "split INC-1 --service s",
                path,
                json!({"command": "split", "target": "s"}),
            ),
            ("reopen INC-1", path, json!({"command": "reopen"})),
            ("close INC-1", path, json!({"command": "close"})),
            ("review INC-1", path, json!({"command": "review"})),
            (
                "review INC-1 --read 2",
                path,
                json!({"command": "review", "target": "2"}),
            ),
            ("publish INC-1", path, json!({"command": "publish"})),
            (
                "resend INC-1 --reason x",
                "/api/notifications/resend",
                json!({"incident": "INC-1", "channel": "cli", "reason": "x"}),
            ),
            (
                "resend opened.1@midwatch",
                "/api/notifications/resend",
                json!({"message_id": "opened.1@midwatch", "channel": "cli"}),
            ),
            (
                "maintain * --environment e --minutes 5",
                "/api/maintenance",
                json!({"environment": "e", "service": "*", "minutes": 5}),
            ),
        ] {
            let asked = read(&format!("midwatch {line}")).expect("a request");
            assert_eq!((asked.path.as_str(), asked.body), (path, body), "{line}");
        }
        assert!(read("midwatch close ../x").is_err());
        assert!(read("midwatch resend ../x").is_err());
    }
}
