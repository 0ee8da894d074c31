//! What happens because time passes: series fall silent, findings end, and
//! what nobody has heard of for a day is forgotten.

use crate::decide::state::{Environment, Field, PartitionState};
use crate::decide::{At, Detector, Effect, emit};
use std::collections::{BTreeMap, BTreeSet};

/// Silence is looked for once per so much of the silence clock.
const SWEEP_MS: i64 = 5_000;
/// A series or service silent for so long is forgotten, by the silence clock.
const FORGET_MS: i64 = 24 * 3_600_000;

/// What a sweep needs to know of where it runs.
struct Sweep<'a> {
    environment: &'a str,
    at: At,
    changed: &'a mut BTreeSet<Field>,
    effects: &'a mut Vec<Effect>,
}

impl Detector {
    pub(super) fn idle(
        &self,
        state: &mut PartitionState,
        at: At,
        latest: &BTreeMap<String, i64>,
        effects: &mut Vec<Effect>,
    ) {
        let names: Vec<String> = state.environments.keys().cloned().collect();
        for name in names {
            if let Some(environment) = state.environments.get_mut(&name) {
                let latest_ms = latest.get(&name).copied();
                environment.clock.idle(at.wall_ms, latest_ms);
                state.changed.insert(Field::Clock(name.clone()));
            }
            self.sweep_if_due(state, &name, at, effects);
        }
    }

    pub(super) fn sweep_if_due(
        &self,
        state: &mut PartitionState,
        name: &str,
        at: At,
        effects: &mut Vec<Effect>,
    ) {
        let Some(environment) = state.environments.get_mut(name) else {
            return;
        };
        let silence_ms = environment.clock.silence_ms();
        if silence_ms - environment.clock.swept_ms < SWEEP_MS {
            return;
        }
        environment.clock.swept_ms = silence_ms;
        let mut sweep = Sweep {
            environment: name,
            at,
            changed: &mut state.changed,
            effects,
        };
        let forgotten = self.sweep_series(environment, &mut sweep);
        self.sweep_rules(environment, &mut sweep);
        state.series_count -= forgotten;
    }

    /// Finds series that fell silent; returns how many were forgotten.
    fn sweep_series(&self, environment: &mut Environment, sweep: &mut Sweep<'_>) -> usize {
        let silence_ms = environment.clock.silence_ms();
        let now_ms = environment.clock.now_ms();
        let mut forgotten = 0;
        for (service, all) in &mut environment.series {
            all.retain(|name, series| {
                let origin = self.origin(sweep.environment, service, name);
                let field =
                    || Field::Series(sweep.environment.to_owned(), service.clone(), name.clone());
                if series.silent_for_ms(silence_ms) > FORGET_MS {
                    sweep.changed.insert(field());
                    forgotten += 1;
                    return false;
                }
                if let Some(sketch) = series.check_silence(&origin, silence_ms, now_ms) {
                    sweep.changed.insert(field());
                    emit(
                        sweep.effects,
                        sketch,
                        sweep.environment,
                        service,
                        sweep.at.wall_ms,
                    );
                }
                true
            });
        }
        environment.series.retain(|_, all| !all.is_empty());
        forgotten
    }

    fn sweep_rules(&self, environment: &mut Environment, sweep: &mut Sweep<'_>) {
        let silence_ms = environment.clock.silence_ms();
        let now_ms = environment.clock.now_ms();
        for (service, known) in &mut environment.rules {
            let mut touched = false;
            known.rules.retain(|name, occurrences| {
                let origin = self.origin(sweep.environment, service, name);
                let what = name.split(':').next().unwrap_or("log");
                if let Some(sketch) = occurrences.check_quiet(&origin, silence_ms, now_ms, what) {
                    touched = true;
                    emit(
                        sweep.effects,
                        sketch,
                        sweep.environment,
                        service,
                        sweep.at.wall_ms,
                    );
                }
                let over = occurrences.is_over(name, &self.tuning, silence_ms);
                touched |= over;
                !over
            });
            if touched {
                let field = Field::Rules(sweep.environment.to_owned(), service.clone());
                sweep.changed.insert(field);
            }
        }
    }
}
