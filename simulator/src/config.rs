//! Settings: flags first, then the environment.

use crate::scenario::Scenario;
use crate::world::Plan;
use clap::Parser;
use midwatch_runtime::{Settings, clock};
use std::net::SocketAddr;

/// Fastest simulated time, in simulated seconds per second. Above this the
/// agents cannot tell a fault from its recovery before it is over.
pub const MAX_SPEED: u32 = 120;
/// Most stories of one fleet: a simulated week of them.
pub const MAX_TRIALS: u16 = 252;

/// A fleet of six simulated services with faults whose truth is known.
///
/// Each flag has an environment variable of the same meaning; the flag wins.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "midwatch-simulator", version)]
pub struct Flags {
    /// The first fault, e.g. LATENCY_SPIKE [env: SIM_SCENARIO] [default: drawn from the seed]
    #[arg(long)]
    pub scenario: Option<String>,
    /// Seed of all noise and chance [env: SEED] [default: random, printed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Simulated seconds per second [env: SIM_SPEED] [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SPEED)))]
    pub speed: Option<u32>,
    /// Exactly one fault, then quiet [env: SIM_ONCE]
    #[arg(long)]
    pub once: bool,
    /// Which faults come by themselves: quiet, once, continuous, or round
    /// (each scenario once, in a drawn order) [env: SIM_PLAN] [default: continuous]
    #[arg(long)]
    pub plan: Option<String>,
    /// The seed also draws who calls whom, where, how hard and how long faults
    /// strike, and what the noise is like [env: SIM_VARIED]
    #[arg(long)]
    pub varied: bool,
    /// So many small stories one after another, forty simulated minutes each,
    /// instead of a plan [env: SIM_TRIALS]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_TRIALS)))]
    pub trials: Option<u16>,
    /// The environment that the fleet reports [env: SIM_ENVIRONMENT] [default: simulation]
    #[arg(long)]
    pub environment: Option<String>,
}

/// What the simulator runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatorConfig {
    pub seed: u64,
    /// Simulated seconds per wall-clock second, 1 to [`MAX_SPEED`].
    pub speed: u32,
    pub environment: String,
    pub plan: Plan,
    /// Whether the seed draws the fleet, too.
    pub varied: bool,
    /// Stories that the fleet lives through; 0 where it follows a plan.
    pub trials: u16,
    /// Where the control page listens (SIM_BIND).
    pub bind: SocketAddr,
}

impl SimulatorConfig {
    /// Reads flags and variables; what is wrong is noted in `settings`.
    #[must_use]
    pub fn read(flags: &Flags, settings: &mut Settings) -> SimulatorConfig {
        let (random_seed, _) = clock::random_id().as_u64_pair();
        let scenario = flags
            .scenario
            .clone()
            .or_else(|| settings.get("SIM_SCENARIO"));
        let first = scenario.and_then(|name| {
            let found = Scenario::from_name(&name);
            if found.is_none() {
                let fix = format!("set it to one of {}, or unset it", Scenario::names());
                settings.problem("SIM_SCENARIO (or --scenario)", &name, &fix);
            }
            found
        });
        let once = flags.once || settings.flag("SIM_ONCE", false);
        let bind = settings.text("SIM_BIND", "127.0.0.1:8100");
        let default_bind = SocketAddr::from(([127, 0, 0, 1], 8100));
        let bind = bind.parse().unwrap_or_else(|_| {
            settings.problem(
                "SIM_BIND",
                &bind,
                "set it to an address such as 127.0.0.1:8100",
            );
            default_bind
        });
        let environment = settings.text("SIM_ENVIRONMENT", "simulation");
        let trials = flags
            .trials
            .unwrap_or_else(|| settings.number("SIM_TRIALS", 0, 0..=MAX_TRIALS));
        let plan = plan(flags, once, first, settings);
        SimulatorConfig {
            seed: flags
                .seed
                .unwrap_or_else(|| settings.number("SEED", random_seed, 0..=u64::MAX)),
            speed: flags
                .speed
                .unwrap_or_else(|| settings.number("SIM_SPEED", 1, 1..=MAX_SPEED)),
            environment: flags.environment.clone().unwrap_or(environment),
            plan: if trials > 0 { Plan::Quiet } else { plan },
            trials,
            varied: flags.varied || settings.flag("SIM_VARIED", false),
            bind,
        }
    }
}

fn plan(flags: &Flags, once: bool, first: Option<Scenario>, settings: &mut Settings) -> Plan {
    let name = flags.plan.clone().or_else(|| settings.get("SIM_PLAN"));
    match name.as_deref() {
        _ if once => Plan::Once(first),
        None | Some("continuous") => Plan::Continuous(first),
        Some("once") => Plan::Once(first),
        Some("quiet") => Plan::Quiet,
        Some("round") => Plan::Round,
        Some(other) => {
            settings.problem(
                "SIM_PLAN (or --plan)",
                other,
                "set it to quiet, once, continuous or round",
            );
            Plan::Quiet
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Settings::from_values(pairs.iter().map(owned))
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        let mut settings = settings(&[
            ("SEED", "7"),
            ("SIM_SPEED", "30"),
            ("SIM_SCENARIO", "memory_leak"),
            ("SIM_ONCE", "1"),
        ]);
        let flags = Flags {
            seed: Some(9),
            ..Flags::default()
        };
        let config = SimulatorConfig::read(&flags, &mut settings);
        assert_eq!(settings.finish(), Ok(()));
        assert_eq!(
            config,
            SimulatorConfig {
                seed: 9,
                speed: 30,
                environment: "simulation".to_owned(),
                plan: Plan::Once(Some(Scenario::MemoryLeak)),
                varied: false,
                trials: 0,
                bind: SocketAddr::from(([127, 0, 0, 1], 8100)),
            }
        );
    }

    #[test]
    fn a_bad_value_is_named_with_the_good_ones() {
        let mut settings = settings(&[
            ("SIM_SCENARIO", "FIRE"),
            ("SIM_SPEED", "500"),
            ("SIM_BIND", "everywhere"),
            ("SIM_PLAN", "calm"),
            ("SIM_VARIED", "1"),
            ("SIM_TRIALS", "1000"),
        ]);
        let config = SimulatorConfig::read(&Flags::default(), &mut settings);
        assert_eq!((config.plan, config.varied), (Plan::Quiet, true));
        let text = settings.finish().expect_err("five problems").to_string();
        for words in [
            "\"FIRE\"",
            "LATENCY_SPIKE, ERROR_RATE_SPIKE",
            "from 1 to 120",
            "SIM_BIND",
            "quiet, once, continuous or round",
            "SIM_TRIALS",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }

    #[test]
    fn trials_take_the_place_of_a_plan() {
        let mut settings = settings(&[("SIM_PLAN", "round"), ("SIM_TRIALS", "12")]);
        let config = SimulatorConfig::read(&Flags::default(), &mut settings);
        assert_eq!(settings.finish(), Ok(()));
        assert_eq!((config.plan, config.trials), (Plan::Quiet, 12));
    }

    #[test]
    fn flags_out_of_range_are_refused() {
        assert!(Flags::try_parse_from(["midwatch-simulator", "--speed", "121"]).is_err());
        assert!(Flags::try_parse_from(["midwatch-simulator", "--trials", "0"]).is_err());
        let flags = Flags::try_parse_from(["midwatch-simulator", "--speed", "120", "--once"])
            .expect("the fastest speed is a speed");
        assert_eq!((flags.speed, flags.once), (Some(120), true));
    }
}
