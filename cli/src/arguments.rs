//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// What Midwatch is doing, and whether it can.
#[derive(Debug, Parser)]
#[command(
    name = "midwatch",
    version,
    after_help = "Settings are those of the services (.env.example lists them). A variable counts\n\
from the environment, else the running demo of this checkout, else its .env.\n\
Exit codes: 0 all is well, 1 a problem was found, 2 a wrong command line."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    /// Settings from the environment and FILE only
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// The API [env: MIDWATCH_API_URL or DASHBOARD_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub api: Option<String>,
    /// JSON for programs
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check every dependency and setting; say how to mend what is wrong
    #[command(after_help = "\
With --json: {\"configuration\", \"status\", \"checks\": [{\"check\", \"status\",\n\
\"found\", \"remedy\", \"took_ms\"}]}; a status is ok, warn or fail, and remedy is\n\
null where all is well. Nothing is created, written or sent.")]
    Doctor,
    /// Judge samples from standard input, one line out for each
    #[command(after_help = crate::detect::HELP)]
    Detect(crate::detect::Options),
    /// Say what would have paged, and what other settings would change
    #[command(after_help = crate::backtest::AFTER_HELP)]
    Backtest(Box<crate::backtest::Flags>),
    /// Name the culprit of a recorded fault, with evidence
    #[command(
        after_help = crate::investigate::HELP,
        override_usage = "midwatch investigate --topology FILE --metrics FILE --target SERVICE\n       --target-metric NAME --start MS --at MS [OPTIONS]"
    )]
    Investigate(crate::investigate::Options),
    /// Decide an incident of the broker again; compare with then
    #[command(after_help = crate::replay::AFTER_HELP)]
    Replay(crate::replay::Flags),
    /// List incidents, newest first, or show one
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "\
With --json: {\"items\": […], \"next\"}, and for `show` the incident, as the API\n\
gives them; GET /openapi.json describes each field. Times: epoch milliseconds."
    )]
    Incidents {
        #[command(subcommand)]
        show: Option<IncidentsCommand>,
        #[command(flatten)]
        filter: IncidentsFilter,
    },
    #[command(flatten)]
    Operate(OperatorCommand),
    #[command(flatten)]
    Respond(ResponseCommand),
    #[command(flatten)]
    Paper(crate::paper::PaperCommand),
    /// List topics and groups, or read messages from the broker
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "\
With --json: {\"topics\": [{\"name\", \"partitions\", \"messages\"}],\n\
\"groups\": [{\"name\", \"state\", \"members\", \"lag\", \"oldest_age_ms\",\n\
\"topics\": [{\"name\", \"lag\"}]}]}; null is \"unknown\"."
    )]
    Topics {
        #[command(subcommand)]
        tail: Option<TopicsCommand>,
    },
}

/// What people decide about plans, and what they say of incidents.
#[derive(Debug, Subcommand)]
pub enum ResponseCommand {
    /// Show the plan of an incident and what became of each step
    #[command(after_help = "\
With --json: as GET /api/incidents/{id}/plan gives it. Commands are not broken:\n\
people copy them.")]
    Plan {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
    },
    /// Approve a step of a plan
    #[command(after_help = DECISION_HELP)]
    Approve {
        #[command(flatten)]
        step: Step,
        #[command(flatten)]
        reason: Reason,
    },
    /// Reject a step of a plan
    #[command(after_help = DECISION_HELP)]
    Reject {
        #[command(flatten)]
        step: Step,
        /// Why; it goes into the audit trail
        #[arg(long, value_name = "TEXT", required = true)]
        reason: String,
    },
    /// Declare an incident, or end one with what you know about it
    Incident {
        #[command(subcommand)]
        command: IncidentCommand,
    },
}

/// What operators ask of the agents.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Say that somebody looks after an incident
    #[command(after_help = OPERATOR_HELP)]
    Ack {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// Tell nobody about an incident for a while
    #[command(after_help = OPERATOR_HELP)]
    Snooze {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
        /// For so long
        #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
        minutes: u32,
        #[command(flatten)]
        reason: Reason,
    },
    /// Put another incident into this one
    #[command(after_help = OPERATOR_HELP)]
    Merge {
        /// The one that stays: its short id or UUID
        id: String,
        /// The one that goes into it
        other: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// Let a service or some anomalies leave an incident
    #[command(after_help = OPERATOR_HELP)]
    Split {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
        #[command(flatten)]
        what: SplitOff,
        #[command(flatten)]
        reason: Reason,
    },
    /// Go on with an incident that was resolved
    #[command(after_help = OPERATOR_HELP)]
    Reopen {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// End an incident
    #[command(after_help = OPERATOR_HELP)]
    Close {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// Stand by a postmortem; later incidents learn from it
    #[command(after_help = OPERATOR_HELP)]
    Review {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
        /// The version that you read; refused where it is not the newest
        #[arg(long, value_name = "VERSION")]
        read: Option<u32>,
        #[command(flatten)]
        reason: Reason,
    },
    /// Publish a reviewed postmortem
    #[command(after_help = OPERATOR_HELP)]
    Publish {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
        /// The version that you read; refused where it is not the newest
        #[arg(long, value_name = "VERSION")]
        read: Option<u32>,
        #[command(flatten)]
        reason: Reason,
    },
    /// Send again what finally failed to reach people, to those alone
    #[command(after_help = OPERATOR_HELP)]
    Resend {
        /// An incident's id (all that failed of it) or one Message-ID
        what: String,
        #[command(flatten)]
        reason: Reason,
    },
    /// Announce maintenance: no new incidents of a service until it ends
    #[command(after_help = OPERATOR_HELP)]
    Maintain(Window),
}

/// What `--help` of the decisions says below the flags.
const DECISION_HELP: &str = "\
Needs OPERATOR_TOKEN. Shows what would be done and the plan's hash, and asks;\n\
the decision is bound to that plan. Then waits a moment for remediation's word.\n\
Exit code 1 where it refuses; the rule is named.";

/// A step of a plan.
#[derive(Clone, Debug, Args)]
pub struct Step {
    /// The incident: its short id (INC-A1B2C3D4) or UUID
    pub id: String,
    /// The step, such as S1
    pub step: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Below `incident`.
#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// Declare an incident: the agents take it up as every other one
    #[command(
        after_help = OPERATOR_HELP,
        override_usage = "midwatch incident start --service <NAME> --title <TEXT>\n       --severity <LEVEL> [OPTIONS]"
    )]
    Start(Start),
    /// End an incident; what you say is recorded as what you said
    #[command(after_help = OPERATOR_HELP)]
    Resolve(Resolve),
}

/// What a person says at the beginning.
#[derive(Clone, Debug, Args)]
pub struct Start {
    /// The service that is in trouble
    #[arg(long, value_name = "NAME")]
    pub service: String,
    /// What is wrong, in a few words
    #[arg(long, value_name = "TEXT")]
    pub title: String,
    /// CRITICAL, HIGH, MEDIUM or LOW
    #[arg(long, value_name = "LEVEL", ignore_case = true, hide_possible_values = true, value_parser = ["CRITICAL", "HIGH", "MEDIUM", "LOW"])]
    pub severity: String,
    /// Where; may be left out if the service reports in one only
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Even though another is open on the service
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub reason: Reason,
}

/// What a person says at the end.
#[derive(Clone, Debug, Args)]
pub struct Resolve {
    /// Its short id (INC-A1B2C3D4) or UUID
    pub id: String,
    /// What the cause was
    #[arg(long, value_name = "TEXT")]
    pub root_cause: String,
    /// What ended it
    #[arg(long, value_name = "TEXT")]
    pub fix: Option<String>,
    /// What kind of cause
    #[arg(long, value_name = "NAME")]
    pub category: Option<String>,
    /// What it lay in
    #[arg(long, value_name = "NAME")]
    pub component: Option<String>,
    /// Minutes that people worked on it
    #[arg(long, value_name = "N")]
    pub toil_minutes: Option<f64>,
    #[command(flatten)]
    pub reason: Reason,
}

/// What `--help` of the operators' commands says below the flags.
const OPERATOR_HELP: &str = "\
Needs OPERATOR_TOKEN, your token of the API's OPERATOR_TOKENS_FILE. The answer\n\
says where the command lies on the broker; the incident's timeline tells what\n\
came of it. With --json: the command as it was published, partition, offset.";

/// Why; it goes into the audit trail.
#[derive(Clone, Debug, Args)]
pub struct Reason {
    /// Why; it goes into the audit trail
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// What leaves an incident.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SplitOff {
    /// All of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// This anomaly, by its UUID; may be repeated
    #[arg(long, value_name = "ID")]
    pub anomaly: Vec<String>,
}

/// A maintenance window.
#[derive(Clone, Debug, Args)]
pub struct Window {
    /// A service, or * for all of the environment
    pub service: String,
    /// Where
    #[arg(long, value_name = "NAME")]
    pub environment: String,
    /// For so long from now on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub minutes: u32,
    #[command(flatten)]
    pub reason: Reason,
}

/// Below `incidents`.
#[derive(Debug, Subcommand)]
pub enum IncidentsCommand {
    /// Show one incident with all that belongs to it
    Show {
        /// Its short id (INC-A1B2C3D4) or UUID
        id: String,
    },
}

/// Which incidents to list.
#[derive(Debug, Args)]
pub struct IncidentsFilter {
    /// OPEN (all but RESOLVED), INVESTIGATING, RESOLVED, …
    #[arg(long, value_name = "STATE", ignore_case = true, hide_possible_values = true, value_parser = ["OPEN", "DETECTING", "CORRELATING", "INVESTIGATING", "RCA_COMPLETE", "REMEDIATING", "RESOLVED"])]
    pub status: Option<String>,
    /// CRITICAL, HIGH, MEDIUM or LOW
    #[arg(long, value_name = "LEVEL", ignore_case = true, hide_possible_values = true, value_parser = ["CRITICAL", "HIGH", "MEDIUM", "LOW"])]
    pub severity: Option<String>,
    /// Only those that affect this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only of this environment
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub limit: u16,
}

/// Below `topics`.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Show the newest messages of a topic, the oldest of them first
    #[command(after_help = "\
With --json one object a line: {\"topic\", \"partition\", \"offset\",\n\
\"timestamp_ms\", \"key\", \"headers\": [[name, value]], \"payload\", \"is_text\",\n\
\"size\", \"truncated\"}.\n\
No group is joined and no offset committed. --follow ends with Ctrl-C.")]
    Tail {
        /// The topic, with or without KAFKA_TOPIC_PREFIX
        name: String,
        /// How many messages
        #[arg(short = 'n', default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=500))]
        count: u16,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
        /// Only of this partition
        #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
        partition: Option<i32>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_holds_together_and_its_help_fits() {
        let mut command = Arguments::command();
        command.clone().debug_assert();
        command.build();
        let mut helps = vec![command.render_long_help().to_string()];
        let names: Vec<String> = command
            .get_subcommands()
            .map(|below| below.get_name().to_owned())
            .collect();
        assert!(names.len() >= 12, "{names:?}");
        for name in names {
            let below = command.find_subcommand_mut(&name).unwrap();
            helps.push(below.render_long_help().to_string());
            for further in ["show", "tail", "start", "resolve", "new", "suggest"] {
                if let Some(further) = below.find_subcommand_mut(further) {
                    helps.push(further.render_long_help().to_string());
                }
            }
        }
        for help in &helps {
            for line in help.lines() {
                assert!(line.chars().count() <= crate::output::WIDTH, "{line}");
            }
        }
    }

    #[test]
    fn flags_may_stand_anywhere_and_case_does_not_matter() {
        let words = "midwatch incidents --status open --limit 5 --json";
        let arguments = Arguments::try_parse_from(words.split(' ')).unwrap();
        assert!(arguments.json);
        let Command::Incidents { show: None, filter } = arguments.command else {
            panic!("a list was asked for");
        };
        assert_eq!((filter.status.as_deref(), filter.limit), (Some("open"), 5));
        for bad in [
            "midwatch incidents --status BROKEN",
            "midwatch incidents --limit 0",
            "midwatch incidents --status OPEN show INC-1",
            "midwatch topics tail",
            "midwatch topics tail raw.logs --partition -1",
            "midwatch heal",
            "midwatch ack",
            "midwatch approve INC-00000001",
            "midwatch reject INC-00000001 S1",
            "midwatch incident start --service a --title b --severity BAD",
            "midwatch incident resolve INC-00000001",
            "midwatch split INC-00000001",
            "midwatch split INC-00000001 --service a --anomaly b",
            "midwatch snooze INC-00000001 --minutes 0",
            "midwatch maintain payment-service --minutes 5",
        ] {
            let error = Arguments::try_parse_from(bad.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }
}
