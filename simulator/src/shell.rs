//! The run loop: keeps the world in step with the clock and puts what happens
//! onto the broker.

use crate::config::{Flags, SimulatorConfig};
use crate::control::{self, Command, Control, FaultView, Status, WAITING_COMMANDS};
use crate::pace::Pace;
use crate::trials;
use crate::variation::Variation;
use crate::world::{STEP_MS, TICK_MS, World, WorldConfig};
use anyhow::Context as _;
use midwatch_clients::error::Gravity;
use midwatch_clients::kafka::Producer;
use midwatch_events::{Envelope, Event};
use midwatch_runtime::{ServiceContext, clock};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Normal ticks published before live time, so that baselines are warm.
pub const HISTORY_TICKS: i64 = 100;
/// History goes out in this many ticks at a time.
const HISTORY_PART: i64 = 20;
/// Most simulated time in one step: bounds memory after a pause.
const MAX_ADVANCE_MS: i64 = 60_000;
/// Shortest pause between steps, so that fast simulated time does not become
/// a message at a time.
const MIN_PAUSE: Duration = Duration::from_millis(40);
/// Lateness worth telling.
const LATE: Duration = Duration::from_secs(3);
/// Lateness that is given up: catching up on more would pour a fault's whole
/// life into a moment.
const HOPELESS: Duration = Duration::from_secs(30);
/// How long one batch is tried while the broker is away.
const PUBLISH_LIMIT: Duration = Duration::from_secs(600);

struct Shell {
    context: ServiceContext,
    config: SimulatorConfig,
    producer: Producer,
    status: Arc<Mutex<Status>>,
    world: World,
    live_ms: i64,
    pace: Pace,
    told_late: Option<Instant>,
}

/// Runs the simulator until it is asked to stop.
///
/// # Errors
/// The settings are unusable, SIM_BIND is taken, or the broker cannot be
/// reached for long.
pub async fn run(mut context: ServiceContext, flags: Flags) -> anyhow::Result<()> {
    let config = SimulatorConfig::read(&flags, &mut context.settings);
    context.settings.clone().finish()?;
    let listener = TcpListener::bind(config.bind).await.with_context(|| {
        format!(
            "SIM_BIND {} cannot be taken; choose a free port",
            config.bind
        )
    })?;
    context.epoch().await?;
    let producer = context.producer()?;
    let live_ms = clock::now_ms() / STEP_MS * STEP_MS;
    let world = World::new(WorldConfig {
        seed: config.seed,
        environment: config.environment.clone(),
        start_ms: live_ms - HISTORY_TICKS * TICK_MS,
        live_ms,
        plan: config.plan,
        variation: fleet(&config, live_ms),
    });
    tracing::info!(
        seed = config.seed, speed = config.speed, environment = config.environment, plan = ?config.plan,
        control = %format!("http://{}", config.bind), "the fleet starts; the same SEED repeats it"
    );
    let (sender, commands) = mpsc::channel(WAITING_COMMANDS);
    let status = Arc::new(Mutex::new(Status::default()));
    let routes = control::router(Control {
        status: Arc::clone(&status),
        commands: sender,
    });
    let stopping = context.shutdown.clone();
    let server =
        axum::serve(listener, routes).with_graceful_shutdown(async move { stopping.wait().await });
    let server = tokio::spawn(server.into_future());
    let mut shell = Shell {
        pace: Pace::new(Instant::now(), live_ms, config.speed),
        context,
        config,
        producer,
        status,
        world,
        live_ms,
        told_late: None,
    };
    let result = shell.live(live_ms, commands).await;
    server.abort();
    result
}

/// What distinguishes this fleet from others.
fn fleet(config: &SimulatorConfig, live_ms: i64) -> Variation {
    let base = if config.varied {
        Variation::drawn(config.seed)
    } else {
        Variation::standard()
    };
    if config.trials > 0 {
        trials::sequence(config.seed, live_ms, config.trials, base)
    } else {
        base
    }
}

impl Shell {
    async fn live(
        &mut self,
        live_ms: i64,
        mut commands: mpsc::Receiver<Command>,
    ) -> anyhow::Result<()> {
        if !self.publish_history(live_ms).await? {
            return Ok(());
        }
        self.pace.slip(self.world.now_ms(), Instant::now());
        let shutdown = self.context.shutdown.clone();
        loop {
            let now = Instant::now();
            let due_ms = self.pace.simulated_ms(now);
            if !self
                .step(due_ms.min(self.world.now_ms() + MAX_ADVANCE_MS), "live")
                .await?
            {
                return Ok(());
            }
            self.mind_lateness();
            let next = self
                .pace
                .due(self.world.now_ms() + STEP_MS)
                .max(now + MIN_PAUSE);
            tokio::select! {
                () = shutdown.wait() => return Ok(()),
                () = tokio::time::sleep_until(next) => {}
                Some(command) = commands.recv() => command.carry_out(&mut self.world),
            }
        }
    }

    /// `false` when the process was asked to stop meanwhile.
    async fn publish_history(&mut self, live_ms: i64) -> anyhow::Result<bool> {
        let started = Instant::now();
        for part in (HISTORY_PART..=HISTORY_TICKS).step_by(HISTORY_PART as usize) {
            let until_ms = live_ms - (HISTORY_TICKS - part) * TICK_MS;
            if !self.step(until_ms, "history").await? {
                return Ok(false);
            }
            tracing::info!("history: {part} of {HISTORY_TICKS} ticks published");
        }
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(
            "{:.0} simulated minutes of quiet history are out after {seconds:.1} s; live from here",
            (HISTORY_TICKS * TICK_MS / 1_000) as f64 / 60.0
        );
        Ok(true)
    }

    /// Lives until `until_ms` and publishes; `false` when asked to stop.
    async fn step(&mut self, until_ms: i64, phase: &'static str) -> anyhow::Result<bool> {
        let mut events = self.world.advance(until_ms);
        let (now_ms, wall_ms) = (self.world.now_ms(), clock::now_ms());
        for envelope in &mut events {
            if let Event::GroundTruth(truth) = &mut envelope.event {
                truth.wall_ms = self.pace.wall_ms(truth.timestamp_ms, now_ms, wall_ms);
                tracing::info!(
                    scenario = truth.scenario,
                    service = truth.service,
                    fault_id = truth.fault_id,
                    "fault {}",
                    truth.phase
                );
            }
        }
        let sent = self.publish(&events).await?;
        if sent {
            self.tell(&events, phase);
        }
        Ok(sent)
    }

    /// Publishes in order, again and again while the broker is away: events
    /// keep their ids, so that what arrives twice is known by them.
    async fn publish(&self, events: &[Envelope]) -> anyhow::Result<bool> {
        if events.is_empty() {
            return Ok(true);
        }
        let shutdown = &self.context.shutdown;
        let deadline = Instant::now() + PUBLISH_LIMIT;
        let mut pause = Duration::from_millis(250);
        loop {
            let result = tokio::select! {
                () = shutdown.wait() => return Ok(false),
                result = self.producer.publish_all(events) => result,
            };
            let Err(error) = result else {
                self.context.readiness.set("kafka", Ok(()));
                return Ok(true);
            };
            self.context.readiness.set("kafka", Err(error.to_string()));
            let again = error.gravity() == Gravity::Transient && Instant::now() + pause < deadline;
            if !again {
                return Err(error)
                    .with_context(|| format!("{} events could not be published", events.len()));
            }
            tracing::warn!(%error, events = events.len(), "the broker did not take the events; simulated time waits");
            if !shutdown.sleep(pause).await {
                return Ok(false);
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    fn mind_lateness(&mut self) {
        let now = Instant::now();
        let behind = self.pace.behind(self.world.now_ms(), now);
        if behind > HOPELESS {
            tracing::warn!(
                late_s = behind.as_secs(),
                "publishing fell far behind; simulated time goes on from here, later than the wall"
            );
            self.pace.slip(self.world.now_ms(), now);
        } else if behind > LATE && self.told_late.is_none_or(|told| now - told > LATE * 3) {
            self.told_late = Some(now);
            tracing::warn!(
                late_ms = behind.as_millis(),
                "publishing falls behind at {}× speed; the events follow as fast as the broker takes them",
                self.config.speed
            );
        }
    }

    /// Counts what is out and renews the status.
    fn tell(&self, events: &[Envelope], phase: &'static str) {
        let now_ms = self.world.now_ms();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        for envelope in events {
            let topic = envelope.event.topic().name();
            *status.published.entry(topic).or_default() += 1;
            metrics::counter!("midwatch_simulator_events_total", "topic" => topic).increment(1);
            if let Event::GroundTruth(truth) = &envelope.event
                && truth.phase == "started"
            {
                status.injections += 1;
                metrics::counter!(
                    "failure_injections_total",
                    "scenario" => truth.scenario.clone(), "service" => truth.service.clone()
                )
                .increment(1);
            }
        }
        status.over = self.world.is_over();
        status.seed = self.config.seed;
        status.varied = self.config.varied;
        status.trials = self.config.trials;
        status.live_ms = self.live_ms;
        status.environment.clone_from(&self.config.environment);
        status.speed = self.config.speed;
        status.phase = phase;
        status.simulated_ms = now_ms;
        status.simulated = clock::rfc3339(now_ms);
        status.wall_ms = clock::now_ms();
        let view = |fault| FaultView::at(fault, now_ms);
        status.faults = self.world.faults().iter().map(view).collect();
        status.next = self.world.next_fault().map(view);
    }
}
