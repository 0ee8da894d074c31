//! The whole pipeline in virtual time, in one process.
//!
//! The simulator's world, detection, correlation and investigation run by
//! their own pure cores; this module stands in for what is between them: the
//! broker, PostgreSQL, Redis and the clock. Waits that people feel on the wall
//! (settle, grow, jobs, hops) last as long as they would at [`Setup::speed`].
//!
//! What differs from the real processes, and why:
//! - one partition per topic, and topics in step with each other: the order
//!   between topics is the order in which things happened;
//! - a hop over the broker takes [`HOP_MS`] and a job [`JOB_MS`], always;
//! - no knowledge store: past incidents and runbooks support no candidate (at
//!   most 0.15 of a candidate's strength in the real investigation);
//! - no model, no remediation, no mails, no postmortem.

pub mod memory;
pub mod odd;
mod pipeline;
pub mod replay;
mod respond;
mod rows;
mod shelf;
pub mod trial;

use crate::judge::{Fault, Incident, Judgement, faults, judge};
use midwatch_correlation::config::Config as CorrelationConfig;
use midwatch_detection::config::Tuning;
use midwatch_events::GroundTruth;
use midwatch_events::knowledge::Catalogue;
use midwatch_investigation::config::Config as InvestigationConfig;
use midwatch_simulator::rhythm::{DAY_MS, Rhythm};
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{Plan, STEP_MS, TICK_MS, World, WorldConfig};
use pipeline::Pipeline;

/// From a publication to its consumer's decision, wall clock. The local broker
/// hands a message over in 47 ms at the median.
pub const HOP_MS: i64 = 50;
/// From the request of a job to its result, wall clock: copying an incident's
/// records, or gathering them, as seen in the local stack.
pub const JOB_MS: i64 = 200;
/// The environment of the simulated fleet.
pub const ENVIRONMENT: &str = "simulation";
/// Normal ticks before live time, as the simulator publishes them.
const HISTORY_MS: i64 = midwatch_simulator::shell::HISTORY_TICKS * TICK_MS;
/// 2026-11-22T00:00:00Z, as an arbitrary beginning.
const START_MS: i64 = 1_795_305_600_000;
/// The Monday before: where days have a rhythm, a weekend must come after
/// days from which a weekday is known.
const MONDAY_MS: i64 = START_MS - 6 * DAY_MS;
/// How long a fleet is watched after its last fault, simulated, while an
/// incident is open.
const TAIL_MS: i64 = 30 * 60_000;

/// What a run is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    /// Simulated seconds per wall-clock second.
    pub speed: i64,
    /// Whether the seed draws the fleet, or it is the documented one.
    pub varied: bool,
    /// Whether load swings over the day; it does not while faults are judged.
    pub rhythm: bool,
    pub catalogue: Catalogue,
    pub tuning: Tuning,
    pub correlation: CorrelationConfig,
    pub investigation: InvestigationConfig,
}

/// What happened in a run.
#[derive(Clone, Debug, Default)]
pub struct Story {
    pub truths: Vec<GroundTruth>,
    pub incidents: Vec<Incident>,
    /// Live simulated time, milliseconds.
    pub simulated_ms: i64,
}

impl Story {
    /// The faults that were injected.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        faults(&self.truths)
    }

    /// What is to be said about it.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        judge(&self.faults(), &self.incidents)
    }
}

/// Is told what happens: simulated milliseconds since live time began, and a
/// line.
pub type Telling<'a> = &'a mut dyn FnMut(i64, &str);

impl Setup {
    /// The default numbers, at the speed of the runs with real processes.
    #[must_use]
    pub fn new(seed: u64, catalogue: Catalogue) -> Setup {
        Setup {
            seed,
            speed: 30,
            varied: true,
            rhythm: false,
            catalogue,
            tuning: Tuning::default(),
            correlation: CorrelationConfig::default(),
            investigation: InvestigationConfig::default(),
        }
    }

    /// Each scenario once, in an order that the seed draws; ends when no fault
    /// is left and every incident is over, or 30 simulated minutes after the
    /// last fault.
    pub fn faults(&self, telling: Option<Telling<'_>>) -> Story {
        let fleet = Setup {
            rhythm: false,
            ..self.clone()
        };
        let mut run = Run::new(&fleet, Plan::Round, fleet.variation(), telling);
        while !run.world.is_over() {
            run.step();
        }
        let end_ms = run.world.now_ms() + TAIL_MS;
        while run.world.now_ms() < end_ms && run.pipeline.is_busy() {
            run.step();
        }
        run.story()
    }

    /// So many hours without any fault.
    pub fn quiet(&self, hours: f64, telling: Option<Telling<'_>>) -> Story {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "hours of a run are far below 2^53 ms"
        )]
        let length_ms = (hours * 3_600_000.0) as i64;
        let mut run = Run::new(self, Plan::Quiet, self.variation(), telling);
        let end_ms = self.live_ms() + length_ms;
        while run.world.now_ms() < end_ms {
            run.step();
        }
        run.story()
    }

    /// The first simulated moment, epoch milliseconds; a midnight.
    fn start_ms(&self) -> i64 {
        if self.rhythm { MONDAY_MS } else { START_MS }
    }

    /// The first live moment.
    pub(crate) fn live_ms(&self) -> i64 {
        self.start_ms() + HISTORY_MS
    }

    /// The fleet's course of load, where it has one.
    fn course(&self) -> Rhythm {
        if self.varied {
            Rhythm::drawn(self.seed)
        } else {
            Rhythm::standard()
        }
    }

    fn variation(&self) -> Variation {
        let fleet = if self.varied {
            Variation::drawn(self.seed)
        } else {
            Variation::standard()
        };
        Variation {
            rhythm: self.rhythm.then(|| self.course()),
            ..fleet
        }
    }
}

struct Run<'a> {
    world: World,
    pipeline: Pipeline<'a>,
}

impl<'a> Run<'a> {
    fn new(
        setup: &Setup,
        plan: Plan,
        variation: Variation,
        telling: Option<Telling<'a>>,
    ) -> Run<'a> {
        let live_ms = setup.live_ms();
        let world = World::new(WorldConfig {
            seed: setup.seed,
            environment: ENVIRONMENT.to_owned(),
            start_ms: setup.start_ms(),
            live_ms,
            plan,
            variation,
        });
        Run {
            world,
            pipeline: Pipeline::new(setup, live_ms, telling),
        }
    }

    fn step(&mut self) {
        let until_ms = self.world.now_ms() + STEP_MS;
        let events = self.world.advance(until_ms);
        self.pipeline.live_until(self.world.now_ms(), events);
    }

    fn story(self) -> Story {
        self.pipeline.into_story(self.world.now_ms())
    }
}
