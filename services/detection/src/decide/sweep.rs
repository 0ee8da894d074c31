//! What happens because time passes: series fall silent, findings end, and
//! what nobody has heard of for a day is forgotten.

use crate::decide::state::{Environment, Field, PartitionState};
use crate::decide::table::SeriesName;
use crate::decide::transition::Sketch;
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
        sweep_budgets(environment, &mut sweep);
        sweep_spans(environment, &mut sweep);
        state.series_count -= forgotten;
        self.forget_environments(state, at, effects);
    }

    /// Finds series that fell silent; returns how many were forgotten. None
    /// is missed before `DETECTION_MISSING_SECONDS`, so the others, nearly
    /// all, are not looked at.
    fn sweep_series(&self, environment: &mut Environment, sweep: &mut Sweep<'_>) -> usize {
        let silence_ms = environment.clock.silence_ms();
        let now_ms = environment.clock.now_ms();
        let table = &mut environment.series;
        let mut forgotten = 0;
        let mut found: Vec<(SeriesName, Sketch)> = Vec::new();
        for id in table.silent(silence_ms, self.tuning.missing_ms) {
            let mut forget = false;
            let sketch = table.look(id, |name, series| {
                let origin = self.origin(sweep.environment, name.service(), name.series());
                forget = series.silent_for_ms(silence_ms) > FORGET_MS;
                let sketch = if forget || series.is_gone(&origin, silence_ms) {
                    series.give_up(&origin, silence_ms, now_ms)
                } else {
                    series.check_silence(&origin, silence_ms, now_ms)
                };
                Some((name.clone(), sketch?))
            });
            found.extend(sketch);
            if forget {
                table.remove(id);
                forgotten += 1;
            }
        }
        // In the order of names, whatever numbers they got from a restart.
        found.sort_by(|(a, _), (b, _)| (a.service(), a.series()).cmp(&(b.service(), b.series())));
        for (name, sketch) in found {
            emit(
                sweep.effects,
                sketch,
                sweep.environment,
                name.service(),
                sweep.at.wall_ms,
            );
        }
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
            if forget && known.templates.is_some() {
                let field = Field::Templates(sweep.environment.to_owned(), service.clone());
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
            left,
            early,
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
            sweep_budgets(environment, &mut sweep);
            sweep_spans(environment, &mut sweep);
            // Findings that closed just now go with their service.
            for (service, known) in &environment.rules {
                changed.insert(Field::Rules(name.clone(), service.clone()));
                if known.templates.is_some() {
                    changed.insert(Field::Templates(name.clone(), service.clone()));
                }
            }
            changed.insert(Field::Clock(name.clone()));
            let (frozen, gone) = std::mem::take(&mut environment.series).leave();
            early.extend(frozen);
            left.extend(gone);
            false
        });
    }
}

/// Forgets the budgets of services that are not heard of; what was told of them
/// is closed.
fn sweep_budgets(environment: &mut Environment, sweep: &mut Sweep<'_>) {
    let silence_ms = environment.clock.silence_ms();
    let now_ms = environment.clock.now_ms();
    environment.budgets.retain(|service, budget| {
        let forget = silence_ms - budget.heard_ms() > FORGET_MS;
        if forget {
            let (name, wall_ms) = (sweep.environment, sweep.at.wall_ms);
            if let Some(sketch) = budget.give_up(service, now_ms) {
                emit(sweep.effects, sketch, name, service, wall_ms);
            }
            let field = Field::Budget(name.to_owned(), service.clone());
            sweep.changed.insert(field);
        }
        !forget
    });
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
