//! `midwatch`, the command line of Midwatch.
//!
//! Consumes: the settings of the services, the API over HTTP, and the broker
//! without a consumer group. `doctor` looks at every store, too; `detect` needs
//! none of these and reads standard input.
//! Produces: text for people in 80 columns, or JSON for programs.
//!
//! Guarantees
//! - it changes nothing: no topic, key, row, offset or mail. What an operator
//!   asks for ([`operate`], [`plan`], [`declare`]) goes to the API, which
//!   publishes it; it writes the files that `detect --plot`, `keys new` and `-o`
//!   name, and no other;
//! - every wait has a limit, except that of `--follow` and that of a filter;
//! - no key, password or token is shown, and nothing that came from telemetry
//!   reaches a terminal as anything but text;
//! - exit codes: 0 all is well, 1 a problem was found, 2 a wrong command line,
//!   3 a filter skipped lines; `replay` has its own.

mod api;
pub mod arguments;
pub mod backtest;
pub mod configuration;
pub mod declare;
pub mod detect;
pub mod doctor;
pub mod failure;
pub mod incidents;
pub mod investigate;
pub mod operate;
pub mod output;
pub mod paper;
pub mod plan;
pub mod replay;
pub mod topics;

use api::Api;
use arguments::{Arguments, Command, IncidentsCommand, ResponseCommand, Step, TopicsCommand};
use configuration::Configuration;
use failure::Failure;
use midwatch_clients::kafka::BrokerReader;
use output::Paint;
use serde::Serialize;
use std::process::ExitCode;

/// Does what was asked for.
pub async fn run(arguments: Arguments) -> ExitCode {
    // A filter needs no settings, so that broken ones cannot keep it from work.
    if let Command::Detect(options) = &arguments.command {
        return detect::run(options).unwrap_or_else(|failure| report(&failure, str::to_owned));
    }
    if let Command::Investigate(options) = &arguments.command {
        return investigate::run(options).unwrap_or_else(|failure| report(&failure, str::to_owned));
    }
    // Neither do the proof of a bundle and a new key.
    if let Command::Paper(command) = &arguments.command
        && let Some(done) = paper::without_settings(command, arguments.json)
    {
        return done.unwrap_or_else(|failure| report(&failure, str::to_owned));
    }
    let configuration = match Configuration::load(arguments.env_file.as_deref()) {
        Ok(configuration) => configuration,
        Err(failure) => return report(&failure, |text| text.to_owned()),
    };
    match carry_out(arguments, &configuration).await {
        Ok(code) => code,
        Err(failure) => report(&failure, |text| configuration.mask(text)),
    }
}

/// Tells a person what went wrong. A reader that went away is no failure.
fn report(failure: &Failure, mask: impl Fn(&str) -> String) -> ExitCode {
    let Failure::Problem { what, mend } = failure else {
        return ExitCode::SUCCESS;
    };
    let line = |text: &str| output::plain(&mask(text));
    eprintln!("midwatch: {}", line(what));
    if !mend.is_empty() {
        eprintln!("  mend: {}", line(mend));
    }
    ExitCode::FAILURE
}

async fn carry_out(
    arguments: Arguments,
    configuration: &Configuration,
) -> Result<ExitCode, Failure> {
    let paint = Paint::choose(&configuration.settings);
    let (json, api) = (arguments.json, arguments.api.as_deref());
    match arguments.command {
        Command::Doctor => {
            let found = doctor::examine(configuration, api).await;
            show(json, &found, || doctor::render(&found, paint))?;
            let failed = found.status == doctor::Status::Fail;
            return Ok(ExitCode::from(u8::from(failed)));
        }
        Command::Detect(options) => return detect::run(&options),
        Command::Investigate(options) => return investigate::run(&options),
        Command::Backtest(flags) => {
            let report = backtest::run(configuration, &flags).await?;
            show(json, &report, || {
                backtest::render(&report, flags.limit(), paint)
            })?;
        }
        Command::Replay(flags) => {
            let api = Api::new(&configuration.api_url(api))?;
            return replay_one(configuration, &api, &flags, |found| {
                show(json, found, || replay::render(found, paint))
            })
            .await;
        }
        Command::Incidents {
            show: Some(IncidentsCommand::Show { id }),
            ..
        } => {
            let api = Api::new(&configuration.api_url(api))?;
            let incident = incidents::get(&api, &id).await?;
            show(json, &incident, || incidents::render_one(&incident, paint))?;
        }
        Command::Incidents { show: None, filter } => {
            let api = Api::new(&configuration.api_url(api))?;
            let page = incidents::list(&api, &filter.into()).await?;
            show(json, &page, || incidents::render_list(&page, paint))?;
        }
        Command::Operate(command) => {
            let asked = operate::asked(&command)?;
            let api = Api::new(&configuration.api_url(api))?;
            let answer = operate::ask(configuration, &api, asked).await?;
            show(json, &answer, || operate::render(&answer, paint))?;
        }
        Command::Respond(command) => {
            let api = Api::new(&configuration.api_url(api))?;
            return respond(command, configuration, &api, (json, paint)).await;
        }
        Command::Paper(command) => return paper::run(configuration, &command, json).await,
        Command::Topics { tail: Some(tail) } => {
            let reader = BrokerReader::new(configuration.kafka());
            topics::tail(&reader, &tail_of(tail, json), paint).await?;
        }
        Command::Topics { tail: None } => {
            let reader = BrokerReader::new(configuration.kafka());
            let overview = topics::overview(&reader).await?;
            show(json, &overview, || topics::render(&overview, paint))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tail_of(tail: TopicsCommand, json: bool) -> topics::Options {
    let TopicsCommand::Tail {
        name,
        count,
        follow,
        partition,
    } = tail;
    topics::Options {
        topic: name,
        count: usize::from(count),
        partition,
        follow,
        json,
    }
}

/// What people decide about plans, and what they say of incidents.
async fn respond(
    command: ResponseCommand,
    configuration: &Configuration,
    api: &Api,
    (json, paint): (bool, Paint),
) -> Result<ExitCode, Failure> {
    match command {
        ResponseCommand::Plan { id } => {
            let found = plan::get(api, &id).await?;
            show(json, &found, || plan::render(&found, paint))?;
        }
        ResponseCommand::Approve { step, reason } => {
            let decision = decision("approve", step, reason.reason);
            return decide(configuration, api, &decision, (json, paint)).await;
        }
        ResponseCommand::Reject { step, reason } => {
            let decision = decision("reject", step, Some(reason));
            return decide(configuration, api, &decision, (json, paint)).await;
        }
        ResponseCommand::Incident { command } => {
            let answer = declare::ask(configuration, api, &command).await?;
            show(json, &answer, || declare::render(&answer, paint))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn decision(command: &'static str, step: Step, reason: Option<String>) -> plan::Decision {
    plan::Decision {
        id: step.id,
        step: step.step,
        command,
        reason,
        yes: step.yes,
    }
}

/// Decides about a step; a refusal is a problem that was found.
async fn decide(
    configuration: &Configuration,
    api: &Api,
    decision: &plan::Decision,
    (json, paint): (bool, Paint),
) -> Result<ExitCode, Failure> {
    let answer = plan::decide(configuration, api, decision, paint).await?;
    show(json, &answer, || plan::render_decided(&answer, paint))?;
    Ok(ExitCode::from(u8::from(plan::is_refused(&answer))))
}

/// Replays an incident; what cannot be compared has an exit code of its own.
async fn replay_one(
    configuration: &Configuration,
    api: &Api,
    flags: &replay::Flags,
    show: impl FnOnce(&replay::Found) -> std::io::Result<()>,
) -> Result<ExitCode, Failure> {
    match replay::run(configuration, api, flags).await {
        Ok(found) => {
            show(&found)?;
            Ok(ExitCode::from(u8::from(!found.same)))
        }
        Err(failure) => {
            report(&failure, |text| configuration.mask(text));
            Ok(ExitCode::from(replay::COULD_NOT))
        }
    }
}

/// Writes an answer, for programs or for people.
fn show<T: Serialize>(
    json: bool,
    answer: &T,
    render: impl FnOnce() -> String,
) -> std::io::Result<()> {
    if json {
        output::print_json(answer)
    } else {
        output::print(&render())
    }
}
