//! Processes that are killed by SIGKILL between intent, act and outcome, and
//! started again: every action takes effect once, none is forgotten, and only
//! what cannot be seen ends as unknown.
//!
//! `REMEDIATION_KILLS` says how many kills (6), `REMEDIATION_SEED` which ones
//! (others each time if not set; it is printed). The peers count effects in
//! this process, which lives on; the one that acts is this program again, with
//! `child` as its first argument.

#[path = "../support/mod.rs"]
mod support;

mod bed;
mod child;

use bed::{Bed, Kind, Moment};
use midwatch_remediation::execution::{Outcome, OutcomeStatus};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Numbers from a seed (SplitMix64), the same on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let index = self.below(of.len() as u64);
        of[usize::try_from(index).expect("below a length")]
    }
}

fn number(name: &str) -> Option<u64> {
    let text = support::variable(name).filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    if arguments.first().is_some_and(|first| first == "child") {
        return runtime.block_on(child::run(&arguments[1..]));
    }
    // As the usual harness would: a filter that does not fit runs nothing.
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let is_list = arguments.iter().any(|argument| argument == "--list");
    if is_list
        || filter.is_some_and(|filter| {
            !"killed_between_intent_act_and_outcome".contains(filter.as_str())
        })
    {
        return ExitCode::SUCCESS;
    }
    let kills = number("REMEDIATION_KILLS").unwrap_or(6);
    let seed = number("REMEDIATION_SEED")
        .unwrap_or_else(|| midwatch_runtime::clock::random_id().as_u64_pair().0 % 1_000_000);
    println!("REMEDIATION_SEED={seed} REMEDIATION_KILLS={kills}");
    runtime.block_on(killed_between_intent_act_and_outcome(seed, kills));
    println!("test killed_between_intent_act_and_outcome ... ok\n\n1 passed, 0 failed");
    ExitCode::SUCCESS
}

async fn killed_between_intent_act_and_outcome(seed: u64, kills: u64) {
    let bed = Bed::new().await;
    let mut dice = Dice(seed);
    let (mut dealt, mut actions) = (0, 0);
    let mut moments: BTreeMap<Moment, usize> = BTreeMap::new();
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    while dealt < kills {
        assert!(actions < kills * 4 + 8, "too few moments came: {moments:?}");
        let kind = dice.one(&Kind::ALL);
        // Each moment as often as any other, in turn, where the kind has it.
        let moment = Moment::ALL[usize::try_from(dealt).expect("a count") % Moment::ALL.len()];
        let moment = if kind.has(moment) {
            moment
        } else {
            Moment::AnyTime
        };
        let execution = bed.action(kind, &format!("{seed}-{actions}"));
        actions += 1;
        let mut killed = 0;
        // Some are killed again while they reconcile.
        let wanted = if dice.below(4) == 0 { 2 } else { 1 };
        let mut moment = Some(moment);
        let outcome = loop {
            let slot = dice.below(2).to_string();
            match bed.run(&execution, &slot, moment, &mut dice).await {
                Some(outcome) => break outcome,
                None => {
                    killed += 1;
                    *moments.entry(moment.expect("one was named")).or_default() += 1;
                    moment = (killed < wanted).then_some(Moment::AnyTime);
                }
            }
        };
        dealt += killed;
        judge(&bed, kind, &execution.key, killed, &outcome).await;
        let again = bed.run(&execution, "0", None, &mut dice).await;
        assert_eq!(
            again.as_ref(),
            Some(&outcome),
            "asked again, it says something else"
        );
        judge(&bed, kind, &execution.key, killed, &outcome).await;
        let end = format!(
            "{kind:?} {:?}{}",
            outcome.status,
            if outcome.reconciled {
                " by looking"
            } else {
                ""
            }
        );
        *ends.entry(end).or_default() += 1;
    }
    assert_eq!(bed.open().await, 0, "an intent has no outcome");
    println!("{dealt} kills of {actions} actions, at {moments:?}\nended: {ends:?}");
}

/// That an action took effect as often as its outcome says.
async fn judge(bed: &Bed, kind: Kind, key: &str, killed: u64, outcome: &Outcome) {
    let effects = bed.effects(kind, key).await;
    match outcome.status {
        OutcomeStatus::Done => assert_eq!(effects, 1, "{kind:?} {key}: {outcome:?}"),
        OutcomeStatus::Unknown => {
            assert!(
                !kind.can_be_seen() && killed > 0,
                "{kind:?} {key}: {outcome:?}"
            );
            assert!(effects <= 1, "{kind:?} {key} took effect {effects} times");
        }
        _ => panic!("{kind:?} {key} was forgotten: {outcome:?}"),
    }
}
