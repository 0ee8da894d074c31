//! `midwatch-score`: how well Midwatch does against known faults.

use anyhow::Context as _;
use clap::Parser;
use midwatch_events::knowledge::Catalogue;
use midwatch_score::judge::judge;
use midwatch_score::real::{self, Addresses, Goal};
use midwatch_score::report::table;
use midwatch_score::summary::{Scored, Summary, hours, summary, words};
use midwatch_score::virtual_run::{Setup, Story};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Up to so many seeds each have a table of their own.
const TABLES: usize = 3;

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
    /// Simulated seconds per second of those waits that last on the wall
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=120))]
    speed: i64,
    /// The documented fleet instead of one that the seed draws
    #[arg(long)]
    standard: bool,
    /// Tell what happens, line by line
    #[arg(long)]
    tell: bool,
    /// Seeds at a time [default: as many as there are processors]
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
        Err("give 0 to 1000000 hours".to_owned())
    }
}

/// What `--json` writes.
#[derive(Serialize)]
struct Document<'a> {
    summary: &'a Summary,
    faults: &'a [Scored],
    quiet: &'a [Scored],
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let done = if flags.in_virtual_time {
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
    let faults = each_seed(flags, flags.count, &|seed| {
        score(flags, &catalogue, seed, Setup::faults)
    });
    let seeds = if flags.quiet_hours > 0.0 {
        flags.count.max(1)
    } else {
        0
    };
    #[expect(clippy::cast_precision_loss, reason = "seeds are far fewer than 2^53")]
    let quiet_hours = flags.quiet_hours / seeds.max(1) as f64;
    let quiet = each_seed(flags, seeds, &|seed| {
        score(flags, &catalogue, seed, |setup, telling| {
            setup.quiet(quiet_hours, telling)
        })
    });
    tell(flags, &faults, &quiet, begun)
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
    let goal = if flags.quiet_hours > 0.0 {
        Goal::Quiet(flags.quiet_hours)
    } else {
        Goal::Round
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
    match goal {
        Goal::Round => tell(flags, &[scored], &[], begun),
        Goal::Quiet(_) => tell(flags, &[], &[scored], begun),
    }
}

/// What must hold of every seed, and does not: one incident for each fault,
/// the right service first in six of seven, and at most two false incidents
/// in six quiet hours.
fn shortcomings(faults: &[Scored], quiet: &[Scored]) -> Vec<String> {
    let mut found = Vec::new();
    for Scored {
        seed, judgement, ..
    } in faults
    {
        let totals = judgement.totals;
        if totals.missed + totals.duplicates + totals.false_incidents > 0 {
            found.push(format!(
                "seed {seed}: {} faults, {} incidents of theirs, {} false",
                totals.faults, totals.incidents, totals.false_incidents
            ));
        }
        if totals.right_service * 7 < totals.faults * 6 {
            found.push(format!(
                "seed {seed}: the right service first in {} of {}",
                totals.right_service, totals.faults
            ));
        }
    }
    for scored in quiet {
        let length_h = hours(scored.simulated_ms);
        let count = scored.judgement.totals.false_incidents;
        if f64::from(count) > 2.0 * (length_h / 6.0).max(1.0) {
            found.push(format!(
                "seed {}: {count} false incidents in {length_h:.1} quiet hours",
                scored.seed
            ));
        }
    }
    found
}

/// Prints the result, writes it, and fails where it has to be good enough and
/// is not.
fn tell(flags: &Flags, faults: &[Scored], quiet: &[Scored], begun: Instant) -> anyhow::Result<()> {
    if faults.len() <= TABLES {
        for scored in faults {
            println!("seed {}\n{}", scored.seed, table(&scored.judgement));
        }
    }
    let summary = summary(faults, quiet);
    print!("{}", words(&summary));
    let both = faults.iter().chain(quiet);
    let simulated_h: f64 = both.map(|scored| hours(scored.simulated_ms)).sum();
    let wall_s = begun.elapsed().as_secs_f64().max(0.001);
    println!(
        "simulated            {simulated_h:.1} h in {wall_s:.1} s: {:.2} h per second",
        simulated_h / wall_s
    );
    if let Some(path) = &flags.json {
        let document = Document {
            summary: &summary,
            faults,
            quiet,
        };
        std::fs::write(path, serde_json::to_vec_pretty(&document)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let shortcomings = shortcomings(faults, quiet);
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

fn score(
    flags: &Flags,
    catalogue: &Catalogue,
    seed: u64,
    run: impl Fn(&Setup, Listener<'_>) -> Story,
) -> Scored {
    let setup = Setup {
        speed: flags.speed,
        varied: !flags.standard,
        ..Setup::new(seed, catalogue.clone())
    };
    let mut say = |at_ms: i64, line: &str| println!("{seed} {:>7} s  {line}", at_ms / 1_000);
    let story = run(&setup, if flags.tell { Some(&mut say) } else { None });
    Scored {
        seed,
        simulated_ms: story.simulated_ms,
        judgement: story.judgement(),
    }
}

/// Works on so many seeds, some at a time; the result is in their order.
fn each_seed(flags: &Flags, seeds: u64, work: &(dyn Fn(u64) -> Scored + Sync)) -> Vec<Scored> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match flags.threads {
        // Lines of several seeds would be told through each other.
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
                    if number >= seeds {
                        return;
                    }
                    let scored = work(flags.seed.wrapping_add(number));
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((number, scored));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, scored)| scored).collect()
}
