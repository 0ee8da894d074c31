//! Where the alarm would have rung, and whether anybody could have found out why.

use super::fault::{Class, Fault};
use super::herring::{Herring, Noise};
use super::make::{Play, Setting};
use super::oracle::{self, Readings};
use super::signals::{LATENCIES, Signal};
use super::world::Kind;
use super::{Question, Shape, Truth};
use crate::dice::{Dice, mix};

impl Setting {
    /// Poses the question if the fault can be seen at its service and is felt somewhere.
    pub fn ask(&self, class: Class, play: &Play) -> Option<(Truth, usize)> {
        let mut dice = Dice::new(mix(self.seed, 6));
        let signals = self.signals();
        if class == Class::Control {
            return self.ask_control(&mut dice, play, &signals);
        }
        if !self
            .faults
            .iter()
            .all(|fault| self.is_seen(fault, play, &signals))
        {
            return None;
        }
        let (target, signal, bin, hops) = self.target(&mut dice, play, &signals)?;
        let fault = &self.faults[0];
        let name = |s: usize| self.world.services[s].name.clone();
        let truth = Truth {
            case: String::new(),
            service: Some(name(fault.service)),
            also: self.faults[1..]
                .iter()
                .map(|fault| name(fault.service))
                .collect(),
            cause: fault.family.cause.to_owned(),
            family: self
                .faults
                .iter()
                .map(|fault| fault.family.name)
                .collect::<Vec<_>>()
                .join("+"),
            class,
            shape: self.plan.shape,
            red_herring: self.herring.map(|herring| name(herring.service)),
            hops,
            question: self.question(&mut dice, play, (target, signal), bin),
        };
        Some((truth, target))
    }

    /// Whether the culprit's own records differ from its ordinary days in what tells this fault.
    fn is_seen(&self, fault: &Fault, play: &Play, signals: &[Signal]) -> bool {
        let measured = self.measured(play.meter.dialect, signals, fault.service);
        let telling = fault.family.telling();
        let measured: Vec<Signal> = measured
            .into_iter()
            .filter(|signal| telling.contains(signal))
            .collect();
        let window = self.window();
        let readings = |service: usize| Readings {
            rows: &play.meter.rows,
            service,
            window,
        };
        if matches!(fault.family.name, "endless-retry" | "call-in-a-loop")
            && !fault
                .dep
                .is_some_and(|dep| readings(dep).differs(&[Signal::Rate]))
        {
            return false;
        }
        let window_ms = (
            self.plan.ms(self.plan.window_s.0),
            self.plan.ms(self.plan.window_s.1),
        );
        if fault.family.name == "missing-call" {
            return oracle::other_spans(&play.spans, fault.service, window_ms);
        }
        let unreached = matches!(
            fault.family.name,
            "network-partition" | "expired-certificate" | "store-outage"
        );
        let callers = self.world.callers(fault.service).len();
        if unreached && callers < 2 && !self.plan.shape.has_logs() {
            // A lone caller that stops calling looks the same, unless failures are counted here.
            let failures: Vec<Signal> = measured
                .iter()
                .copied()
                .filter(|s| *s != Signal::Rate)
                .collect();
            return readings(fault.service).differs(&failures);
        }
        if readings(fault.service).differs(&measured) {
            return true;
        }
        // One caller that fails to reach one callee might itself be to blame.
        if fault.family.class == Class::Network && callers < 2 {
            return false;
        }
        oracle::new_lines(&play.lines, fault.service, window_ms)
            || oracle::other_spans(&play.spans, fault.service, window_ms)
    }

    /// A service that an alert would have named: of users if they feel it, far from the culprit if there is one.
    fn target(
        &self,
        dice: &mut Dice,
        play: &Play,
        signals: &[Signal],
    ) -> Option<(usize, Signal, usize, usize)> {
        let traffic = self.faults[0].family.class == Class::Traffic;
        let herring = self.herring.map(|herring| herring.service);
        let mut found = Vec::new();
        for s in (0..self.world.services.len()).filter(|s| Some(*s) != herring) {
            let hops = self
                .faults
                .iter()
                .map(|fault| self.world.hops(fault.service, s))
                .min()
                .unwrap_or(usize::MAX);
            if hops == usize::MAX {
                continue;
            }
            let readings = Readings {
                rows: &play.meter.rows,
                service: s,
                window: self.window(),
            };
            for signal in self.measured(play.meter.dialect, signals, s) {
                if let Some(bin) = readings.alert(signal, traffic, self.plan.shape != Shape::Graph)
                {
                    found.push((s, signal, bin, hops));
                }
            }
        }
        let user =
            |&(s, ..): &(usize, Signal, usize, usize)| self.world.services[s].kind == Kind::Entry;
        let users: Vec<_> = found.iter().copied().filter(user).collect();
        let felt = if users.is_empty() { found } else { users };
        let far: Vec<_> = felt
            .iter()
            .copied()
            .filter(|(.., hops)| *hops >= 2)
            .collect();
        // Where users feel nothing, whoever is nearest to them does.
        let pool = if far.is_empty() { felt } else { far };
        (!pool.is_empty()).then(|| pool[dice.index(pool.len())])
    }

    fn ask_control(
        &self,
        dice: &mut Dice,
        play: &Play,
        signals: &[Signal],
    ) -> Option<(Truth, usize)> {
        let entries = |s: &usize| self.world.services[*s].kind == Kind::Entry;
        let entries: Vec<usize> = (0..self.world.services.len()).filter(entries).collect();
        let target = entries[dice.index(entries.len())];
        let latencies: Vec<Signal> = signals
            .iter()
            .copied()
            .filter(|s| LATENCIES.iter().any(|l| l.0 == *s))
            .collect();
        let signal = latencies[dice.index(latencies.len())];
        let (first, last) = self.window();
        let bin = first + dice.index((last - first).max(1));
        let family = match (self.herring, self.planned > 0.0) {
            (
                Some(Herring {
                    noise: Noise::Batch,
                    ..
                }),
                _,
            ) => "loud-batch-job",
            (
                Some(Herring {
                    noise: Noise::Deployment,
                    ..
                }),
                _,
            ) => "harmless-deployment",
            (
                Some(Herring {
                    noise: Noise::Lines,
                    ..
                }),
                _,
            ) => "harmless-lines",
            (None, true) => "planned-load",
            (None, false) => "noise",
        };
        let truth = Truth {
            case: String::new(),
            service: None,
            also: Vec::new(),
            cause: String::new(),
            family: family.to_owned(),
            class: Class::Control,
            shape: self.plan.shape,
            red_herring: self
                .herring
                .map(|herring| self.world.services[herring.service].name.clone()),
            hops: 0,
            question: self.question(dice, play, (target, signal), bin),
        };
        Some((truth, target))
    }

    fn question(
        &self,
        dice: &mut Dice,
        play: &Play,
        alert: (usize, Signal),
        bin: usize,
    ) -> Question {
        let (target, signal) = alert;
        let service = &self.world.services[target];
        let interval = self.plan.interval_s;
        // People say "it began about then": usually a little early, sometimes a sample late.
        let early = if dice.chance(0.85) {
            dice.between(0.0, 3.0)
        } else {
            dice.between(-1.0, 0.0)
        };
        let last = play.meter.rows.len() as f64 * interval;
        Question {
            target: service.name.clone(),
            target_metric: play
                .meter
                .dialect
                .name(signal, service.kind)
                .map_or_else(String::new, |name| name.0.to_owned()),
            start_ms: self.plan.ms(self.plan.window_s.0 - early * interval),
            at_ms: self
                .plan
                .ms((bin as f64 + 1.0) * interval + dice.between(1.0, 30.0))
                .min(self.plan.ms(last)),
            end_ms: self.plan.ms(last),
        }
    }
}
