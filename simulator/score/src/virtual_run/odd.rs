//! The simulator's cases, each in a world of its own.
//!
//! Waits on the wall last as long as in life: simulated time runs at wall
//! speed here, so that the times of [`crate::cases`] are those that people
//! would see.

use super::replay::Published;
use super::{Run, Setup, Telling};
use midwatch_events::Event;
use midwatch_simulator::cases::{Case, Kind, Truth};
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::Plan;

/// A case and what was said about it.
#[derive(Clone, Debug)]
pub struct CaseStory {
    pub truth: Truth,
    /// Findings and incidents of the whole run, in order.
    pub published: Vec<Published>,
    /// Live simulated time, milliseconds.
    pub simulated_ms: i64,
}

impl Setup {
    /// The seed's case of this kind on its fleet, whose load has a rhythm.
    pub fn case(&self, kind: Kind, telling: Option<Telling<'_>>) -> CaseStory {
        let setup = Setup {
            speed: 1,
            rhythm: true,
            ..self.clone()
        };
        let case = Case::drawn(kind, setup.seed, setup.start_ms(), &setup.course());
        let (truth, end_ms) = (case.truth(), case.end_ms());
        let variation = Variation {
            case: Some(case),
            ..setup.variation()
        };
        let mut run = Run::new(&setup, Plan::Quiet, variation, telling);
        run.pipeline.keep_published();
        let mut published = Vec::new();
        while run.world.now_ms() < end_ms {
            run.step();
            let news = run.pipeline.take_published().into_iter();
            published.extend(news.filter(|one| is_about_findings(&one.event)));
        }
        CaseStory {
            truth,
            published,
            simulated_ms: run.world.now_ms() - setup.live_ms(),
        }
    }
}

fn is_about_findings(event: &Event) -> bool {
    matches!(
        event,
        Event::Anomaly(_) | Event::Opened(_) | Event::Updated(_) | Event::Resolved(_)
    )
}
