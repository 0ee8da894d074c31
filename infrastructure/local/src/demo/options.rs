//! The choices for a demo, and what they mean to the simulator.

use clap::Args;
use clap::builder::BoolishValueParser;

use super::{APPROVE_SPEED, ONCE_SCENARIO, ONCE_SPEED, SCENARIOS, WRONG_SCENARIO};
use crate::once::approval::Approve;
use crate::scale::Scale;

/// Choices for a demo, on the command line or through `make demo NAME=…`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Run one fault through its whole life, check it, and exit.
    #[arg(long, env = "ONCE", value_parser = BoolishValueParser::new(), default_value = "false", default_missing_value = "true", num_args = 0..=1)]
    pub once: bool,
    /// The fault of --once (DB_CONNECTION_EXHAUSTION if not given, with
    /// --approve wrong LATENCY_SPIKE), or the first one of a demo that goes on.
    #[arg(long, env = "SCENARIO", value_parser = scenario)]
    pub scenario: Option<String>,
    /// With --once: kill each agent once with SIGKILL during the incident.
    #[arg(long, env = "KILL", value_parser = BoolishValueParser::new(), default_value = "false", default_missing_value = "true", num_args = 0..=1)]
    pub kill: bool,
    /// With --once: scale every agent up and down again during the incident.
    #[arg(long, env = "RESCALE", value_parser = BoolishValueParser::new(), default_value = "false", default_missing_value = "true", num_args = 0..=1)]
    pub rescale: bool,
    /// With --once: approve the plan's first executable step (1), or one that
    /// does not help (wrong), and check what came of it.
    #[arg(long, env = "APPROVE")]
    pub approve: Option<Approve>,
    /// `scripted`: agents ask a scripted model endpoint started beside them;
    /// `lies`: one whose answers do not hold.
    #[arg(long, env = "MODEL", value_parser = ["scripted", "lies"])]
    pub model: Option<String>,
    /// Seed of the simulator and of --kill; a random one if not given.
    #[arg(long, env = "SEED")]
    pub seed: Option<u64>,
    /// Simulated seconds per second; 6 with --once, 3 with --approve, else the
    /// simulator's own.
    #[arg(long, env = "SPEED", value_parser = clap::value_parser!(u32).range(1..=120))]
    pub speed: Option<u32>,
    /// The broker; Apache Kafka where it can be had, if not given.
    #[arg(long, env = "BROKER", value_parser = ["kafka", "tansu"])]
    pub broker: Option<String>,
    /// With --once on Apache Kafka: let Debian's kcat read the topics, too.
    #[arg(long, env = "KCAT", value_parser = BoolishValueParser::new(), default_value = "false", default_missing_value = "true", num_args = 0..=1)]
    pub kcat: bool,
    /// Leave the data folder in place at the end.
    #[arg(long, env = "KEEP", value_parser = BoolishValueParser::new(), default_value = "false", default_missing_value = "true", num_args = 0..=1)]
    pub keep: bool,
    /// Processes of each agent, for example investigation=3,detection=2.
    #[arg(long, env = "SCALE", default_value = "")]
    pub scale: Scale,
    /// No faults by themselves; only those that are injected.
    #[arg(long, conflicts_with_all = ["once", "round", "scenario"])]
    pub quiet: bool,
    /// Each scenario once, in an order that the seed draws, then quiet.
    #[arg(long, conflicts_with_all = ["once", "scenario"])]
    pub round: bool,
    /// The seed draws the fleet, too: see the simulator's --varied.
    #[arg(long)]
    pub varied: bool,
    /// A command to run when all is healthy; everything ends with it, and its
    /// exit code is the answer. It finds the addresses in its environment.
    #[arg(last = true, conflicts_with = "once")]
    pub command: Vec<String>,
}

impl Options {
    /// The fault of --once.
    #[must_use]
    pub fn scenario(&self) -> &str {
        let default = match self.approve {
            Some(Approve::Wrong) => WRONG_SCENARIO,
            _ => ONCE_SCENARIO,
        };
        self.scenario.as_deref().unwrap_or(default)
    }

    /// Simulated seconds per second; none where the simulator chooses.
    #[must_use]
    pub fn pace(&self) -> Option<u32> {
        let watched = match self.approve {
            Some(_) => APPROVE_SPEED,
            None => ONCE_SPEED,
        };
        self.speed.or(self.once.then_some(watched))
    }

    /// The simulator's command line.
    #[must_use]
    pub fn simulator_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        if let Some(seed) = self.seed {
            add("--seed", seed.to_string());
        }
        if let Some(speed) = self.pace() {
            add("--speed", speed.to_string());
        }
        if self.once {
            add("--scenario", self.scenario().to_owned());
            arguments.push("--once".to_owned());
        } else if self.quiet {
            add("--plan", "quiet".to_owned());
        } else if self.round {
            add("--plan", "round".to_owned());
        } else if let Some(first) = &self.scenario {
            add("--scenario", first.clone());
        }
        if self.varied {
            arguments.push("--varied".to_owned());
        }
        arguments
    }
}

fn scenario(text: &str) -> Result<String, String> {
    let name = text.trim().to_uppercase();
    if SCENARIOS.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(format!("known scenarios are {}", SCENARIOS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn one_watched_fault_is_compressed_and_named_to_the_simulator() {
        let line = [
            "stack",
            "--once",
            "--scenario",
            "memory_leak",
            "--seed",
            "7",
        ];
        let options = Line::try_parse_from(line).unwrap().options;
        let expected = [
            "--seed",
            "7",
            "--speed",
            "6",
            "--scenario",
            "MEMORY_LEAK",
            "--once",
        ];
        assert_eq!(options.simulator_arguments(), expected);
    }

    #[test]
    fn an_approval_takes_more_time_and_a_wrong_one_another_fault() {
        let read = |line: &[&str]| Line::try_parse_from(line).map(|line| line.options);
        let first = read(&["stack", "--once", "--approve", "1"]).unwrap();
        assert_eq!(
            (first.approve, first.scenario(), first.pace()),
            (Some(Approve::First), "DB_CONNECTION_EXHAUSTION", Some(3))
        );
        let wrong = read(&["stack", "--once", "--approve", "wrong", "--speed", "5"]).unwrap();
        assert_eq!((wrong.scenario(), wrong.pace()), ("LATENCY_SPIKE", Some(5)));
        assert!(read(&["stack", "--once", "--approve", "maybe"]).is_err());
    }

    #[test]
    fn unknown_scenario_and_speed_are_refused() {
        for line in [["stack", "--scenario", "x"], ["stack", "--speed", "0"]] {
            assert!(Line::try_parse_from(line).is_err());
        }
    }
}
