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
        sweep_spans(environment, &mut sweep);
        state.series_count -= forgotten;
        self.forget_environments(state, at, effects);
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
                let forget = series.silent_for_ms(silence_ms) > FORGET_MS;
                let sketch = if forget || series.is_gone(name, silence_ms) {
                    series.give_up(&origin, silence_ms, now_ms)
                } else {
                    series.check_silence(&origin, silence_ms, now_ms)
                };
                if let Some(sketch) = sketch {
                    sweep.changed.insert(field());
                    emit(
                        sweep.effects,
                        sketch,
                        sweep.environment,
                        service,
                        sweep.at.wall_ms,
                    );
                }
                if forget {
                    sweep.changed.insert(field());
                    forgotten += 1;
                }
                !forget
            });
        }
        environment.series.retain(|_, all| !all.is_empty());
        forgotten
    }

    fn sweep_rules(&self, environment: &mut Environment, sweep: &mut Sweep<'_>) {
        let silence_ms = environment.clock.silence_ms();
        let now_ms = environment.clock.now_ms();
        environment.rules.retain(|service, known| {
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
            let forget = known.rules.is_empty() && silence_ms - known.heard.heard_ms > FORGET_MS;
            if touched || forget {
                let field = Field::Rules(sweep.environment.to_owned(), service.clone());
                sweep.changed.insert(field);
            }
            !forget
        });
    }

    /// Drops environments without a record for a day of record time, which no
    /// record of their own would ever sweep. What is open there is closed.
    fn forget_environments(&self, state: &mut PartitionState, at: At, effects: &mut Vec<Effect>) {
        let PartitionState {
            environments,
            series_count,
            changed,
        } = state;
        environments.retain(|name, environment| {
            if at.wall_ms.saturating_sub(environment.clock.wall_ms()) <= FORGET_MS {
                return true;
            }
            environment.clock.lapse(FORGET_MS + 1);
            let mut sweep = Sweep {
                environment: name,
                at,
                changed: &mut *changed,
                effects: &mut *effects,
            };
            *series_count -= self.sweep_series(environment, &mut sweep);
            self.sweep_rules(environment, &mut sweep);
            sweep_spans(environment, &mut sweep);
            // Findings that closed just now go with their service.
            for service in environment.rules.keys() {
                changed.insert(Field::Rules(name.clone(), service.clone()));
            }
            changed.insert(Field::Clock(name.clone()));
            false
        });
    }
}

fn sweep_spans(environment: &mut Environment, sweep: &mut Sweep<'_>) {
    let silence_ms = environment.clock.silence_ms();
    environment.spans.retain(|service, known| {
        let forget = silence_ms - known.heard_ms > FORGET_MS;
        if forget {
            let field = Field::Spans(sweep.environment.to_owned(), service.clone());
            sweep.changed.insert(field);
        }
        !forget
    });
}
