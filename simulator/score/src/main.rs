//! `midwatch-score`: how well Midwatch does against known faults.

use anyhow::Context as _;
use clap::Parser;
use midwatch_events::knowledge::Catalogue;
use midwatch_score::case_report::{case_table, case_words};
use midwatch_score::cases::{CaseRow, CaseSummary, case_summary, judge_case};
use midwatch_score::judge::judge;
use midwatch_score::quiet::{self, QuietDays, quiet_days, quiet_table};
use midwatch_score::real::{self, Addresses, Goal};
use midwatch_score::report::table;
use midwatch_score::summary::{Scored, Summary, hours, summary, words};
use midwatch_score::virtual_run::{Setup, Story};
use midwatch_simulator::cases::Kind;
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
    /// The cases beyond the seven faults, each in a world of its own, on so
    /// many seeds; in virtual time
    #[arg(long)]
    cases: bool,
    /// Only these of the cases, e.g. SLOW_LEAK,DROP_TO_ZERO
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_kind, requires = "cases")]
    only: Vec<Kind>,
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

/// What `--json` writes.
#[derive(Serialize)]
struct Document<'a> {
    summary: &'a Summary,
    faults: &'a [Scored],
    quiet: &'a [Scored],
    cases: &'a [CaseRow],
    case_summary: &'a CaseSummary,
    quiet_days: &'a [QuietDays],
}

/// Everything that a call was asked to score.
#[derive(Default)]
struct Results {
    faults: Vec<Scored>,
    quiet: Vec<Scored>,
    cases: Vec<CaseRow>,
    quiet_days: Vec<QuietDays>,
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
    // Whoever asks for cases or quiet days alone is spared the faults.
    let rounds = if flags.in_virtual_time {
        flags.count
    } else {
        0
    };
    let faults = each(flags, rounds, &|number| {
        let seed = flags.seed.wrapping_add(number);
        score(flags, &catalogue, seed, Setup::faults)
    });
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
    let results = Results {
        faults,
        quiet,
        cases: score_cases(flags, &catalogue),
        quiet_days: score_days(flags, &catalogue),
    };
    tell(flags, &results, begun)
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
    let mut results = Results::default();
    match goal {
        Goal::Round => results.faults.push(scored),
        Goal::Quiet(_) => results.quiet.push(scored),
    }
    tell(flags, &results, begun)
}

/// What must hold of every seed, and does not: one incident for each fault,
/// the right service first in six of seven, at most two false incidents in six
/// quiet hours, every case as it should be, and quiet days nearly without
/// false incidents.
fn shortcomings(results: &Results) -> Vec<String> {
    let mut found = Vec::new();
    for Scored {
        seed, judgement, ..
    } in &results.faults
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
    for scored in &results.quiet {
        let length_h = hours(scored.simulated_ms);
        let count = scored.judgement.totals.false_incidents;
        if f64::from(count) > 2.0 * (length_h / 6.0).max(1.0) {
            found.push(format!(
                "seed {}: {count} false incidents in {length_h:.1} quiet hours",
                scored.seed
            ));
        }
    }
    for row in results.cases.iter().filter(|row| !row.is_as_it_should_be) {
        found.extend(row.complaints());
    }
    let rate = quiet::rate(&results.quiet_days);
    if rate >= quiet::MOST_A_DAY {
        found.push(format!("{rate:.2} false incidents a day on quiet days"));
    }
    found
}

/// Prints the result, writes it, and fails where it has to be good enough and
/// is not.
fn tell(flags: &Flags, results: &Results, begun: Instant) -> anyhow::Result<()> {
    if results.faults.len() <= TABLES {
        for scored in &results.faults {
            println!("seed {}\n{}", scored.seed, table(&scored.judgement));
        }
    }
    let summary = summary(&results.faults, &results.quiet);
    print!("{}", words(&summary));
    let case_summary = case_summary(&results.cases);
    tell_cases(results, &case_summary);
    if !results.quiet_days.is_empty() {
        println!("\nquiet days with a daily rhythm");
        print!("{}", quiet_table(&results.quiet_days));
    }
    let both = results.faults.iter().chain(&results.quiet);
    let days: f64 = results.quiet_days.iter().map(|one| one.days).sum();
    let simulated_h: f64 = both.map(|scored| hours(scored.simulated_ms)).sum::<f64>()
        + case_summary.hours
        + 24.0 * days;
    let wall_s = begun.elapsed().as_secs_f64().max(0.001);
    println!(
        "simulated            {simulated_h:.1} h in {wall_s:.1} s: {:.2} h per second",
        simulated_h / wall_s
    );
    if let Some(path) = &flags.json {
        let document = Document {
            summary: &summary,
            faults: &results.faults,
            quiet: &results.quiet,
            cases: &results.cases,
            case_summary: &case_summary,
            quiet_days: &results.quiet_days,
        };
        std::fs::write(path, serde_json::to_vec_pretty(&document)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let shortcomings = shortcomings(results);
    anyhow::ensure!(
        !flags.check || shortcomings.is_empty(),
        "not good enough: {}",
        shortcomings.join("; ")
    );
    Ok(())
}

/// Each seed's cases where they are few, and the sums.
fn tell_cases(results: &Results, summary: &CaseSummary) {
    let per_seed = results.cases.chunk_by(|one, next| one.seed == next.seed);
    if per_seed.clone().count() <= TABLES {
        for rows in per_seed {
            println!("\nseed {}, cases\n{}", rows[0].seed, case_table(rows));
        }
    }
    if !results.cases.is_empty() {
        print!("{}", case_words(&results.cases, summary));
    }
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
) -> Scored {
    let setup = setup(flags, catalogue, seed);
    let mut say = say("", seed);
    let story = run(&setup, if flags.tell { Some(&mut say) } else { None });
    Scored {
        seed,
        simulated_ms: story.simulated_ms,
        judgement: story.judgement(),
    }
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
