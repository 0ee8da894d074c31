//! One small story, in a world of its own.

use super::{Run, Setup, Story, TAIL_MS, Telling};
use midwatch_simulator::trials::{Kind, Trial, single};
use midwatch_simulator::world::Plan;

/// A trial and what came of it.
#[derive(Clone, Debug)]
pub struct TrialStory {
    pub trial: Trial,
    pub story: Story,
}

impl Setup {
    /// The seed's trial of this kind on its fleet; ends with its slot, or when
    /// every incident is over, at most 30 simulated minutes later.
    #[must_use]
    pub fn trial(&self, kind: Kind, telling: Option<Telling<'_>>) -> TrialStory {
        let setup = Setup {
            rhythm: false,
            ..self.clone()
        };
        let fleet = single(kind, setup.seed, setup.live_ms(), setup.variation());
        let trial = fleet.trials[0].clone();
        let mut run = Run::new(&setup, Plan::Quiet, fleet, telling);
        while run.world.now_ms() < trial.slot.end {
            run.step();
        }
        let end_ms = trial.slot.end + TAIL_MS;
        while run.world.now_ms() < end_ms && run.pipeline.is_busy() {
            run.step();
        }
        TrialStory {
            trial,
            story: run.story(),
        }
    }
}
