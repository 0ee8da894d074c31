//! When the number of processes changes during the incident of `RESCALE=1`.

use std::time::{Duration, Instant};

use crate::once::story::Mark;
use crate::scale::Scale;

/// Up while the incident is young, so that partitions move under open work;
/// down when the newcomers have joined and the plan stands, so that the watch
/// for the resolution moves, too. Joining a group takes about three seconds.
const STEPS: [(Mark, Duration, &str); 2] = [
    (
        Mark::Incident,
        Duration::ZERO,
        "detection=3,correlation=2,investigation=3,remediation=2,communication=3,postmortem=2",
    ),
    (
        Mark::Plan,
        Duration::from_secs(10),
        "detection=1,correlation=1,investigation=1,remediation=1,communication=1,postmortem=1",
    ),
];

/// The changes still to come.
#[derive(Debug)]
pub struct Changes {
    open: Vec<(Mark, Duration, Scale)>,
}

impl Changes {
    /// All changes, or none.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        let open = STEPS.iter().filter(|_| wanted).map(|(mark, delay, text)| {
            let scale = text.parse().expect("a test reads every scale");
            (*mark, *delay, scale)
        });
        Self {
            open: open.collect(),
        }
    }

    /// The scale to go to now, if one is due. `seen` tells when a mark was
    /// first seen.
    pub fn due(&mut self, now: Instant, seen: impl Fn(Mark) -> Option<Instant>) -> Option<Scale> {
        let (mark, delay, _) = self.open.first()?;
        let since = seen(*mark)?;
        (now >= since + *delay).then(|| self.open.remove(0).2)
    }

    /// How many changes did not come.
    #[must_use]
    pub fn left(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::AGENTS;

    #[test]
    fn every_agent_goes_up_and_down_again_in_the_order_of_the_marks() {
        let mut changes = Changes::new(true);
        let start = Instant::now();
        let seen = |wanted| move |mark| (mark == wanted).then_some(start);
        assert_eq!(changes.due(start, seen(Mark::Plan)), None);
        let up = changes.due(start, seen(Mark::Incident)).unwrap();
        assert_eq!(changes.due(start, seen(Mark::Plan)), None);
        let later = start + Duration::from_secs(10);
        let down = changes.due(later, seen(Mark::Plan)).unwrap();
        for agent in AGENTS {
            assert!(up.0[agent] > 1 && down.0[agent] == 1, "{agent}");
        }
        assert_eq!(changes.left(), 0);
        assert_eq!(Changes::new(false).left(), 0);
    }
}
