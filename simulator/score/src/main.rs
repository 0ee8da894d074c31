//! `midwatch-score`: how well Midwatch does against known faults.

use anyhow::Context as _;
use clap::Parser;
use midwatch_events::knowledge::Catalogue;
use midwatch_score::cases::{CaseRow, judge_case};
use midwatch_score::decisions::{Decision, decisions};
use midwatch_score::judge::judge;
use midwatch_score::quiet::{QuietDays, quiet_days};
use midwatch_score::real::{self, Addresses, Goal};
use midwatch_score::results::Results;
use midwatch_score::summary::Scored;
use midwatch_score::trials::{TrialRow, judge_trial};
use midwatch_score::virtual_run::{Setup, Story};
use midwatch_simulator::cases::Kind;
use midwatch_simulator::trials::Kind as Trial;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Scores Midwatch against faults whose truth is known.
#[derive(Clone, Debug, Parser)]
#[command(name = "midwatch-score", version)]
struct Flags {
    /// The agents' pure cores in virtual time, in this process
    #[arg(long = "virtual")]
    in_virtual_time: bool,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds in a row, each with all seven faults; 0 for quiet hours only
    #[arg(long, default_value_t = 1, value_name = "K")]
    count: u64,
    /// Simulated hours without any fault, shared out evenly over the seeds
    #[arg(long, default_value_t = 0.0, value_name = "H", value_parser = parse_hours)]
    quiet_hours: f64,
    /// The cases beyond the seven faults, each in a world of its own, on so
    /// many seeds; in virtual time
    #[arg(long)]
    cases: bool,
    /// Only these of the cases, e.g. SLOW_LEAK,DROP_TO_ZERO
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_kind, requires = "cases")]
    only: Vec<Kind>,
    /// One small story on each seed's fleet (a fault, two at once, a red
    /// herring, missing readings, or a healthy control); with --virtual in
    /// virtual time, else those that a running simulator lives through
    #[arg(long)]
    trials: bool,
    /// Only these of the trials, e.g. CRON,RELATED
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_trial, requires = "trials")]
    stories: Vec<Trial>,
    /// Write a line of JSON for each decision: what was said, and the truth
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Simulated days without any fault while load has a daily rhythm, on the
    /// documented fleet and on the fleet of each seed; in virtual time
    #[arg(long, default_value_t = 0.0, value_name = "D", value_parser = parse_hours)]
    quiet_days: f64,
    /// Simulated seconds per second of those waits that last on the wall;
    /// cases and quiet days take 1, as in life
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=120))]
    speed: i64,
    /// The documented fleet instead of one that the seed draws
    #[arg(long)]
    standard: bool,
    /// Tell what happens, line by line
    #[arg(long)]
    tell: bool,
    /// Runs at a time [default: as many as there are processors]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Write every judgement and the summary as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail where a seed is not good enough
    #[arg(long)]
    check: bool,
    /// Base address of the API of a running stack
    #[arg(long, env = "MIDWATCH_API_URL")]
    api: Option<String>,
    /// Base address of its simulator
    #[arg(long, env = "MIDWATCH_SIMULATOR_URL")]
    simulator: Option<String>,
    /// Its broker
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    bootstrap: Option<String>,
    /// The service catalogue
    #[arg(long, default_value = "knowledge/services.json", value_name = "FILE")]
    catalogue: PathBuf,
}

fn parse_hours(text: &str) -> Result<f64, String> {
    let hours: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1e6).contains(&hours) {
        Ok(hours)
    } else {
        Err("give 0 to 1000000".to_owned())
    }
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    Kind::from_name(text).ok_or_else(|| format!("give one or more of {}", names.join(",")))
}

fn parse_trial(text: &str) -> Result<Trial, String> {
    let names: Vec<&str> = Trial::ALL.iter().map(|kind| kind.name()).collect();
    Trial::from_name(text).ok_or_else(|| format!("give one or more of {}", names.join(",")))
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let done = if flags.in_virtual_time || flags.cases || flags.quiet_days > 0.0 {
        run_virtual(&flags)
    } else {
        run_real(&flags)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("midwatch-score: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_virtual(flags: &Flags) -> anyhow::Result<()> {
    let begun = Instant::now();
    let catalogue = catalogue(&flags.catalogue)?;
    // Whoever asks for cases, quiet days or trials alone is spared the faults.
    let rounds = if flags.in_virtual_time && !flags.trials {
        flags.count
    } else {
        0
    };
    let faults = each(flags, rounds, &|number| {
        let seed = flags.seed.wrapping_add(number);
        score(flags, &catalogue, seed, Setup::faults)
    });
    let (faults, decided): (Vec<Scored>, Vec<Vec<Decision>>) = faults.into_iter().unzip();
    let seeds = if flags.quiet_hours > 0.0 {
        flags.count.max(1)
    } else {
        0
    };
    #[expect(clippy::cast_precision_loss, reason = "seeds are far fewer than 2^53")]
    let quiet_hours = flags.quiet_hours / seeds.max(1) as f64;
    let quiet = each(flags, seeds, &|number| {
        let seed = flags.seed.wrapping_add(number);
        score(flags, &catalogue, seed, |setup, telling| {
            setup.quiet(quiet_hours, telling)
        })
    });
    let trials = score_trials(flags, &catalogue);
    let of_trials = trials.iter().flat_map(|row| row.decisions.clone());
    let results = Results {
        faults,
        quiet: quiet.into_iter().map(|(scored, _)| scored).collect(),
        decisions: decided.into_iter().flatten().chain(of_trials).collect(),
        trials,
        cases: score_cases(flags, &catalogue),
        quiet_days: score_days(flags, &catalogue),
    };
    finish(flags, &results, begun)
}

/// Every case on every seed, seed by seed.
fn score_cases(flags: &Flags, catalogue: &Catalogue) -> Vec<CaseRow> {
    let kinds = match (flags.cases, flags.only.as_slice()) {
        (false, _) => return Vec::new(),
        (true, []) => &Kind::ALL,
        (true, some) => some,
    };
    let per_seed = kinds.len() as u64;
    each(flags, flags.count.max(1) * per_seed, &|number| {
        let seed = flags.seed.wrapping_add(number / per_seed);
        let index = usize::try_from(number % per_seed).expect("it is less than a length");
        let setup = setup(flags, catalogue, seed);
        let mut say = say(kinds[index].name(), seed);
        let telling: Listener<'_> = if flags.tell { Some(&mut say) } else { None };
        judge_case(seed, &setup.case(kinds[index], telling))
    })
}

/// One trial on each seed's fleet.
fn score_trials(flags: &Flags, catalogue: &Catalogue) -> Vec<TrialRow> {
    if !flags.trials {
        return Vec::new();
    }
    each(flags, flags.count, &|number| {
        let seed = flags.seed.wrapping_add(number);
        let kind = Trial::drawn_of(seed, &flags.stories);
        let setup = setup(flags, catalogue, seed);
        let mut say = say(kind.name(), seed);
        let telling: Listener<'_> = if flags.tell { Some(&mut say) } else { None };
        let told = setup.trial(kind, telling);
        judge_trial(
            seed,
            &told.trial,
            &told.story.faults(),
            &told.story.incidents,
        )
    })
}

/// Quiet days of the documented fleet and of each seed's own.
fn score_days(flags: &Flags, catalogue: &Catalogue) -> Vec<QuietDays> {
    if flags.quiet_days <= 0.0 {
        return Vec::new();
    }
    let drawn = if flags.standard { 0 } else { flags.count };
    each(flags, 1 + drawn, &|number| {
        let varied = number > 0;
        let seed = flags.seed.wrapping_add(number.saturating_sub(1));
        let setup = Setup {
            varied,
            ..setup(flags, catalogue, seed)
        };
        let mut say = say(if varied { "drawn" } else { "standard" }, seed);
        let telling: Listener<'_> = if flags.tell { Some(&mut say) } else { None };
        quiet_days(&setup, flags.quiet_days, telling)
    })
}

/// Scores a running stack, whose addresses `midwatch-stack run -- …` gives.
fn run_real(flags: &Flags) -> anyhow::Result<()> {
    let address = |flag: &Option<String>, name: &str| {
        flag.clone().with_context(|| {
            format!(
                "{name} is not set; run this as `midwatch-stack run … -- midwatch-score`, \
                 as make score does, or say --virtual"
            )
        })
    };
    let addresses = Addresses {
        api: address(&flags.api, "MIDWATCH_API_URL")?,
        simulator: address(&flags.simulator, "MIDWATCH_SIMULATOR_URL")?,
        bootstrap: address(&flags.bootstrap, "KAFKA_BOOTSTRAP_SERVERS")?,
    };
    let goal = match flags.quiet_hours {
        _ if flags.trials => Goal::Trials,
        hours if hours > 0.0 => Goal::Quiet(hours),
        _ => Goal::Round,
    };
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("the runtime")?;
    let collected = runtime.block_on(real::collect(&addresses, goal))?;
    let scored = Scored {
        seed: collected.seed,
        simulated_ms: collected.simulated_ms,
        judgement: judge(&collected.faults, &collected.incidents),
    };
    let mut results = Results::default();
    match goal {
        Goal::Round => {
            let (of, none) = ((scored.seed, "round", ""), BTreeMap::new());
            let incidents = &collected.incidents;
            results.decisions = decisions(of, &scored.judgement, incidents, &none);
            results.faults.push(scored);
        }
        Goal::Quiet(_) => results.quiet.push(scored),
        Goal::Trials => {
            let (seed, faults) = (collected.seed, &collected.faults);
            let trials = collected.trials.iter();
            results.trials = trials
                .map(|trial| judge_trial(seed, trial, faults, &collected.incidents))
                .collect();
            let rows = results.trials.iter();
            results.decisions = rows.flat_map(|row| row.decisions.clone()).collect();
        }
    }
    finish(flags, &results, begun)
}

/// Prints the result, writes it, and fails where it has to be good enough and
/// is not.
fn finish(flags: &Flags, results: &Results, begun: Instant) -> anyhow::Result<()> {
    print!("{}", results.words());
    let wall_s = begun.elapsed().as_secs_f64().max(0.001);
    let simulated_h = results.simulated_hours();
    println!(
        "simulated            {simulated_h:.1} h in {wall_s:.1} s: {:.2} h per second",
        simulated_h / wall_s
    );
    let write = |path: &Path, bytes: Vec<u8>| {
        std::fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
    };
    if let Some(path) = &flags.json {
        write(path, results.json()?)?;
    }
    if let Some(path) = &flags.calibrate {
        write(path, results.decision_lines()?)?;
    }
    let shortcomings = results.shortcomings();
    anyhow::ensure!(
        !flags.check || shortcomings.is_empty(),
        "not good enough: {}",
        shortcomings.join("; ")
    );
    Ok(())
}

fn catalogue(path: &Path) -> anyhow::Result<Catalogue> {
    let text = std::fs::read_to_string(path).with_context(|| {
        let path = path.display();
        format!("the service catalogue {path} cannot be read; name it with --catalogue")
    })?;
    Catalogue::parse(&text).map_err(anyhow::Error::msg)
}

/// Somebody to tell what happens.
type Listener<'a> = Option<&'a mut dyn FnMut(i64, &str)>;

fn setup(flags: &Flags, catalogue: &Catalogue, seed: u64) -> Setup {
    Setup {
        speed: flags.speed,
        varied: !flags.standard,
        ..Setup::new(seed, catalogue.clone())
    }
}

/// Prints what happens in the run of this seed.
fn say(name: &str, seed: u64) -> impl FnMut(i64, &str) {
    let head = format!("{name} {seed}").trim_start().to_owned();
    move |at_ms, line| println!("{head} {:>7} s  {line}", at_ms / 1_000)
}

fn score(
    flags: &Flags,
    catalogue: &Catalogue,
    seed: u64,
    run: impl Fn(&Setup, Listener<'_>) -> Story,
) -> (Scored, Vec<Decision>) {
    let setup = setup(flags, catalogue, seed);
    let mut say = say("", seed);
    let story = run(&setup, if flags.tell { Some(&mut say) } else { None });
    let judgement = story.judgement();
    let (of, none) = ((seed, "round", ""), BTreeMap::new());
    let decided = decisions(of, &judgement, &story.incidents, &none);
    let scored = Scored {
        seed,
        simulated_ms: story.simulated_ms,
        judgement,
    };
    (scored, decided)
}

/// Does so many pieces of work, some at a time; the results are in order.
fn each<T: Send>(flags: &Flags, pieces: u64, work: &(dyn Fn(u64) -> T + Sync)) -> Vec<T> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match flags.threads {
        // Lines of several runs would be told through each other.
        _ if flags.tell => 1,
        Some(threads) => usize::from(threads),
        None => processors,
    };
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= pieces {
                        return;
                    }
                    let result = work(number);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
