//! Which agent is killed when, during the incident of `KILL=1`.

use std::time::{Duration, Instant};

use crate::once::story::Mark;

/// Between two kills, so that they stay apart.
const APART: Duration = Duration::from_millis(700);

/// One kill: `delay` after the mark was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Whom.
    pub agent: &'static str,
    /// After which step of the incident.
    pub after: Mark,
    /// How long after it.
    pub delay: Duration,
}

/// A small generator of repeatable numbers: `SplitMix64` (Steele, Lea and
/// Flood, "Fast splittable pseudorandom number generators", 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// One kill for each agent, placed by the seed where that agent has work to
/// lose: while it handles its step, or while it waits with state.
#[must_use]
pub fn plan(seed: u64) -> Vec<Kill> {
    let mut numbers = Numbers(seed);
    let mut kill = |agent, after, within_ms| Kill {
        agent,
        after,
        delay: Duration::from_millis(numbers.below(within_ms)),
    };
    let mut kills = vec![
        kill("detection", Mark::Incident, 8000),
        kill("correlation", Mark::Incident, 8000),
        kill("investigation", Mark::Incident, 2000),
        kill("remediation", Mark::RootCause, 1500),
        kill("communication", Mark::Incident, 5000),
        kill("postmortem", Mark::Plan, 15_000),
    ];
    // Half of the time in the moment when it should write.
    if numbers.below(2) == 0
        && let Some(last) = kills.last_mut()
    {
        last.after = Mark::Resolved;
        last.delay = Duration::ZERO;
    }
    kills
}

/// The kills still to come.
#[derive(Debug)]
pub struct Schedule {
    open: Vec<Kill>,
    last: Option<Instant>,
    /// Agents killed so far.
    pub done: Vec<&'static str>,
}

impl Schedule {
    /// All kills of a plan.
    #[must_use]
    pub fn new(open: Vec<Kill>) -> Self {
        Self {
            open,
            last: None,
            done: Vec::new(),
        }
    }

    /// The agent to kill now, if one is due. `seen` tells when a mark was
    /// first seen.
    pub fn due(
        &mut self,
        now: Instant,
        seen: impl Fn(Mark) -> Option<Instant>,
    ) -> Option<&'static str> {
        if self.last.is_some_and(|last| now < last + APART) {
            return None;
        }
        let index = self
            .open
            .iter()
            .position(|kill| seen(kill.after).is_some_and(|since| now >= since + kill.delay))?;
        let kill = self.open.remove(index);
        self.last = Some(now);
        self.done.push(kill.agent);
        Some(kill.agent)
    }

    /// Agents that were not killed.
    #[must_use]
    pub fn left(&self) -> Vec<&'static str> {
        self.open.iter().map(|kill| kill.agent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::AGENTS;

    #[test]
    fn every_seed_kills_each_agent_once_and_repeats() {
        for seed in 0..200 {
            let kills = plan(seed);
            let agents: Vec<&str> = kills.iter().map(|kill| kill.agent).collect();
            assert_eq!(agents, AGENTS);
            assert_eq!(kills, plan(seed));
        }
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn splitmix_agrees_with_the_reference() {
        // First outputs of the reference implementation for seed 1234567.
        let mut numbers = Numbers(1_234_567);
        assert_eq!(numbers.next(), 6_457_827_717_110_365_317);
        assert_eq!(numbers.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn kills_wait_for_their_mark_and_stay_apart() {
        let start = Instant::now();
        let kill = |agent, after| Kill {
            agent,
            after,
            delay: Duration::from_secs(1),
        };
        let mut schedule = Schedule::new(vec![
            kill("detection", Mark::Incident),
            kill("correlation", Mark::Incident),
            kill("postmortem", Mark::Resolved),
        ]);
        let seen = |mark| (mark == Mark::Incident).then_some(start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(schedule.due(at(999), seen), None);
        assert_eq!(schedule.due(at(1000), seen), Some("detection"));
        assert_eq!(schedule.due(at(1500), seen), None);
        assert_eq!(schedule.due(at(1700), seen), Some("correlation"));
        assert_eq!(schedule.due(at(9000), seen), None);
        assert_eq!(schedule.left(), ["postmortem"]);
    }
}
