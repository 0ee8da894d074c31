//! Keeps the processes of a demo running: starts them again when they fall,
//! watches their health, stops them in reverse order.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use tokio::sync::{mpsc, watch};

use crate::address_book::{AddressBook, Listed};
use crate::health::{self, Reading, Watched};
use crate::layout::Layout;
use crate::proc::Identity;
use crate::process::{Process, Spec, last_words};
use crate::prometheus;
use crate::run_dir::RunDir;
use crate::scale::{self, Scale};
use crate::table::{Row, Screen, summary};

mod replicas;
mod scraping;

/// How often fallen processes are looked for.
const TICK: Duration = Duration::from_millis(200);
/// How often health, lag and memory are read.
const POLL: Duration = Duration::from_secs(2);
/// How often the summary line appears where there is no terminal.
const SUMMARY: Duration = Duration::from_secs(30);
/// First pause before a fallen process is started again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// After so many falls in a row, none of which it survived for
/// [`STEADY`], a process is given up: it would only heat the machine.
const MOST_FALLS: u32 = 10;
/// A process that ran this long has recovered from earlier falls.
const STEADY: Duration = Duration::from_secs(30);

/// What kind of process it is; they stop in the order given here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Simulator and collector: what puts telemetry in.
    Source,
    /// The agents and the API.
    Agent,
    /// Broker, stores, inbox.
    Server,
}

#[derive(Debug)]
enum State {
    Running {
        since: Instant,
    },
    Paused {
        until: Instant,
    },
    Finished,
    GivenUp,
    /// Asked to end for good, since the scale is smaller now.
    Leaving {
        until: Instant,
    },
}

impl State {
    fn name(&self, was_healthy: bool) -> &'static str {
        match self {
            Self::Running { .. } if was_healthy => "running",
            Self::Running { .. } => "starting",
            Self::Paused { .. } => "restarting",
            Self::Finished => "finished",
            Self::GivenUp => "given up",
            Self::Leaving { .. } => "leaving",
        }
    }
}

#[derive(Debug)]
struct Unit {
    kind: Kind,
    spec: Spec,
    metrics: Option<String>,
    may_finish: bool,
    process: Option<Process>,
    state: State,
    was_healthy: bool,
    reading: Reading,
    falls: u32,
    restarts: u32,
}

/// Pause before the restart after the `falls`-th fall in a row.
fn pause(falls: u32) -> Duration {
    let doublings = falls.saturating_sub(1).min(16);
    LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(doublings))
}

/// A request to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send SIGKILL to the process of this name.
    Kill(String),
    /// Have this many processes of these agents.
    Scale(Scale),
}

/// The processes of one demo.
#[derive(Debug)]
pub struct Supervisor {
    // First, so that the processes are gone when the folder is removed.
    units: Vec<Unit>,
    /// The folders that it works with.
    pub layout: Layout,
    /// The temporary folder.
    pub run: RunDir,
    /// Where people read.
    pub screen: Screen,
    book: AddressBook,
    /// Whether Prometheus runs and wants to know whom to scrape.
    is_scraped: bool,
    rows: watch::Sender<Vec<Row>>,
}

impl Supervisor {
    /// A supervisor without processes.
    #[must_use]
    pub fn new(layout: Layout, run: RunDir, screen: Screen, broker: &str) -> Self {
        let book = AddressBook {
            supervisor: Identity::own(),
            broker: broker.to_owned(),
            urls: std::collections::BTreeMap::new(),
            environment: std::collections::BTreeMap::new(),
            run_dir: run.path().to_path_buf(),
            logs: layout.logs(),
            processes: Vec::new(),
        };
        Self {
            layout,
            run,
            screen,
            book,
            is_scraped: false,
            units: Vec::new(),
            rows: watch::Sender::new(Vec::new()),
        }
    }

    /// What is known of all processes, as of the last poll.
    #[must_use]
    pub fn rows(&self) -> watch::Receiver<Vec<Row>> {
        self.rows.subscribe()
    }

    /// Names addresses and variables for other commands.
    ///
    /// # Errors
    /// When the address book cannot be written.
    pub fn publish(&mut self, change: impl FnOnce(&mut AddressBook)) -> Result<()> {
        change(&mut self.book);
        self.save_book()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.layout.logs().join(format!("{name}.log"))
    }

    /// Starts a process and watches it from now on. One that `may_finish` is
    /// not started again after it ended with success.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        &mut self,
        kind: Kind,
        spec: Spec,
        metrics: Option<String>,
        may_finish: bool,
    ) -> Result<()> {
        let log = self.log(&spec.name);
        let process = spec.start(&log, &mut self.run)?;
        self.units.push(Unit {
            kind,
            spec,
            metrics,
            may_finish,
            process: Some(process),
            state: State::Running {
                since: Instant::now(),
            },
            was_healthy: false,
            reading: Reading {
                complaint: Some("not asked yet".to_owned()),
                ..Reading::default()
            },
            falls: 0,
            restarts: 0,
        });
        self.save_book()
    }

    /// Runs a process to its successful end.
    ///
    /// # Errors
    /// When it fails or takes longer than `limit`.
    pub async fn run_to_end(&mut self, spec: &Spec, limit: Duration) -> Result<()> {
        let log = self.log(&spec.name);
        let mut process = spec.start(&log, &mut self.run)?;
        match process.wait(limit).await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{} ended with {status}; {}", spec.name, last_words(&log)),
            None => {
                let words = last_words(&log);
                process.stop(Duration::from_secs(1)).await?;
                bail!(
                    "{} took more than {} s; {words}",
                    spec.name,
                    limit.as_secs()
                )
            }
        }
    }

    /// Waits until every process serves.
    ///
    /// # Errors
    /// When one is given up, or not all serve within `limit`.
    pub async fn wait_healthy(&mut self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            self.raise_fallen()?;
            self.poll().await;
            if let Some(unit) = self.find(|unit| matches!(unit.state, State::GivenUp)) {
                bail!(
                    "{} fell {} times; {}",
                    unit.spec.name,
                    unit.falls,
                    last_words(&self.log(&unit.spec.name))
                );
            }
            let Some(unit) = self.find(|unit| unit.reading.complaint.is_some()) else {
                return Ok(());
            };
            if start.elapsed() > limit {
                bail!(
                    "{} is not healthy after {} s: {}; {}",
                    unit.spec.name,
                    limit.as_secs(),
                    unit.reading.complaint.as_deref().unwrap_or_default(),
                    last_words(&self.log(&unit.spec.name))
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn find(&self, wanted: impl Fn(&&Unit) -> bool) -> Option<&Unit> {
        self.units.iter().find(wanted)
    }

    /// Keeps everything running until it is dropped.
    ///
    /// # Errors
    /// When the operating system refuses what starting a process needs.
    pub async fn keep_running(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<()> {
        let mut tick = tokio::time::interval(TICK);
        let mut poll = tokio::time::interval(POLL);
        let mut last_summary = Instant::now();
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    self.raise_fallen()?;
                    match scale::take(&self.layout) {
                        Ok(Some(wish)) => self.scale(&wish)?,
                        Ok(None) => {}
                        Err(error) => self.screen.say(&format!("{error:#}")),
                    }
                }
                Some(order) = orders.recv() => match order {
                    Order::Kill(name) => self.kill(&name),
                    Order::Scale(wish) => self.scale(&wish)?,
                },
                _ = poll.tick() => {
                    self.poll().await;
                    let rows = self.rows.borrow().clone();
                    self.screen.draw(&rows);
                    if !self.screen.is_live() && last_summary.elapsed() > SUMMARY {
                        last_summary = Instant::now();
                        self.screen.say(&summary(&rows));
                    }
                }
            }
        }
    }

    fn kill(&mut self, name: &str) {
        let process = self
            .units
            .iter()
            .find(|unit| unit.spec.name == name)
            .and_then(|unit| unit.process.as_ref());
        let text = match process {
            Some(process) => {
                process.signal(Signal::SIGKILL);
                format!("killed {name} (process {}) with SIGKILL", process.pid())
            }
            None => format!("{name} does not run, so it cannot be killed"),
        };
        self.screen.say(&text);
    }

    /// Notices what has ended and starts again what is due.
    fn raise_fallen(&mut self) -> Result<()> {
        let mut changed = self.see_off()?;
        for index in 0..self.units.len() {
            changed |= self.notice_end(index)?;
            if let State::Paused { until } = self.units[index].state
                && until <= Instant::now()
            {
                self.start_again(index)?;
                changed = true;
            }
        }
        if changed {
            self.show();
            self.save_book()?;
        }
        Ok(())
    }

    /// Whether a process was found to have ended.
    fn notice_end(&mut self, index: usize) -> Result<bool> {
        let unit = &mut self.units[index];
        if matches!(unit.state, State::Leaving { .. }) {
            return Ok(false);
        }
        let Some(process) = &mut unit.process else {
            return Ok(false);
        };
        let Some(status) = process.ended()? else {
            return Ok(false);
        };
        // Children that outlived it would hold its ports.
        process.signal(Signal::SIGKILL);
        unit.process = None;
        unit.was_healthy = false;
        unit.reading = Reading {
            complaint: Some(format!("ended with {status}")),
            ..Reading::default()
        };
        let name = unit.spec.name.clone();
        if unit.may_finish && status.success() {
            unit.state = State::Finished;
            unit.reading.complaint = None;
            self.screen.say(&format!("{name} has finished"));
            return Ok(true);
        }
        if let State::Running { since } = unit.state
            && since.elapsed() >= STEADY
        {
            unit.falls = 0;
        }
        unit.falls += 1;
        let text = if unit.falls > MOST_FALLS {
            unit.state = State::GivenUp;
            format!(
                "{name} ended with {status} and is given up after {MOST_FALLS} restarts in a row"
            )
        } else {
            let pause = pause(unit.falls);
            unit.state = State::Paused {
                until: Instant::now() + pause,
            };
            let milliseconds = pause.as_millis();
            format!("{name} ended with {status}; starting it again in {milliseconds} ms")
        };
        self.screen.say(&text);
        Ok(true)
    }

    fn start_again(&mut self, index: usize) -> Result<()> {
        let log = self.log(&self.units[index].spec.name);
        let unit = &mut self.units[index];
        unit.process = Some(unit.spec.start(&log, &mut self.run)?);
        unit.restarts += 1;
        unit.state = State::Running {
            since: Instant::now(),
        };
        Ok(())
    }

    async fn poll(&mut self) {
        let watched: Vec<Watched> = self
            .units
            .iter()
            .map(|unit| Watched {
                pid: unit.process.as_ref().map(Process::pid),
                probe: unit.spec.probe.clone(),
                metrics: unit.metrics.clone(),
            })
            .collect();
        let readings = health::read_all(&watched).await;
        for (unit, reading) in self.units.iter_mut().zip(readings) {
            // One that does not run keeps the words of its end.
            if unit.process.is_some() {
                unit.was_healthy |= reading.complaint.is_none();
                unit.reading = reading;
            }
        }
        self.show();
    }

    fn show(&self) {
        let rows = self.units.iter().map(|unit| Row {
            name: unit.spec.name.clone(),
            pid: unit.process.as_ref().map(Process::pid),
            state: unit.state.name(unit.was_healthy).to_owned(),
            complaint: unit.reading.complaint.clone(),
            lag: unit.reading.lag,
            memory: unit.reading.memory,
            restarts: unit.restarts,
        });
        self.rows.send_replace(rows.collect());
    }

    fn save_book(&mut self) -> Result<()> {
        let listed = self.units.iter().map(|unit| Listed {
            name: unit.spec.name.clone(),
            is_agent: unit.kind == Kind::Agent,
            identity: unit
                .process
                .as_ref()
                .and_then(|process| Identity::of(process.pid())),
            probe: unit.spec.probe.clone(),
            metrics: unit.metrics.clone(),
            restarts: unit.restarts,
        });
        self.book.processes = listed.collect();
        if self.is_scraped {
            prometheus::write_targets(self.run.path(), &self.targets())?;
        }
        self.book.save(&self.layout)
    }

    /// Stops everything in reverse order: first what puts telemetry in, then
    /// the agents, then the servers. Never takes longer than 15 seconds.
    ///
    /// # Errors
    /// When a process survives SIGKILL.
    pub async fn stop(mut self) -> Result<()> {
        self.screen.close();
        self.screen.say("stopping");
        let mut result = Ok(());
        for (kind, grace) in [(Kind::Source, 2), (Kind::Agent, 8), (Kind::Server, 4)] {
            let until = Instant::now() + Duration::from_secs(grace);
            let mut leaving: Vec<Process> = self
                .units
                .iter_mut()
                .filter(|unit| unit.kind == kind)
                .filter_map(|unit| unit.process.take())
                .collect();
            for process in &leaving {
                process.ask_to_stop();
            }
            while let Some(mut process) = leaving.pop() {
                let grace = until.saturating_duration_since(Instant::now());
                if let Err(error) = process.finish(grace).await {
                    result = Err(error);
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_bounded() {
        assert_eq!(pause(1), Duration::from_millis(200));
        assert_eq!(pause(2), Duration::from_millis(400));
        assert_eq!(pause(5), Duration::from_millis(3200));
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
