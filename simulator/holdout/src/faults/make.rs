//! From a seed, a shape and a class to a finished recording with its question and its truth.

use super::engine::Engine;
use super::fault::{Class, Fault};
use super::herring::{self, Herring, Noise};
use super::knob::Knob;
use super::logs::{Line, Logger};
use super::meter::{Meter, Row};
use super::oracle;
use super::plan::Plan;
use super::signals::{self, Dialect, Signal};
use super::traces::{Span, Tracer};
use super::world::World;
use super::{Shape, Truth};
use crate::dice::{Dice, mix};

/// Systems tried before a case is given up.
const SYSTEMS: u64 = 32;
/// Of these, the first ones may be refused for a culprit that is too near.
const NEAR: u64 = 16;
/// Strengths tried of one fault, as multiples of the first.
const SIZES: [f64; 3] = [1.0, 1.8, 3.2];

/// A recording before it is written down.
pub struct Case {
    pub world: World,
    pub plan: Plan,
    pub dialect: Dialect,
    pub signals: Vec<Signal>,
    pub rows: Vec<Vec<Row>>,
    pub lines: Vec<Line>,
    pub spans: Vec<Span>,
    /// Services without readings.
    pub unread: Vec<bool>,
    /// Readings of each replica instead of their sum; the one that a resource fault sits on.
    pub pods: Option<Option<usize>>,
    /// Call edges that the topology file knows.
    pub edges: Vec<(usize, usize)>,
    pub truth: Truth,
}

/// What was recorded of one play.
pub struct Play {
    pub meter: Meter,
    pub lines: Vec<Line>,
    pub spans: Vec<Span>,
}

/// What is to be played.
pub struct Setting {
    pub world: World,
    pub plan: Plan,
    pub faults: Vec<Fault>,
    pub herring: Option<Herring>,
    /// Share by which a planned campaign raises the load.
    pub planned: f64,
    pub seed: u64,
}

/// Makes one case; also how many draws nobody could have seen. None after too many of them.
pub fn make(seed: u64, shape: Shape, class: Class) -> (Option<Case>, usize) {
    let mut unseen = 0;
    for attempt in 0..SYSTEMS {
        let own = mix(seed, 10 + attempt);
        let mut dice = Dice::new(own);
        // A fault next to its alarm asks little of an investigator: most are drawn farther away.
        let far = mix(seed, 9) % 100 < 80 && attempt < NEAR && class != Class::Traffic;
        let plan = Plan::draw(&mut dice, shape);
        let world = World::draw(&mut dice, plan.services);
        let Some(faults) = draw_faults(&mut dice, &world, class, &plan) else {
            unseen += 1;
            continue;
        };
        let mut setting = Setting {
            world,
            plan,
            faults,
            herring: None,
            planned: 0.0,
            seed: own,
        };
        setting.draw_noise(&mut dice, class);
        let least = dice.magnitude(0.35, 1.0);
        for size in SIZES {
            for fault in &mut setting.faults {
                fault.size = least * size;
            }
            let play = setting.play();
            match setting.ask(class, &play) {
                Some((truth, _)) if far && truth.service.is_some() && truth.hops < 2 => break,
                Some((truth, target)) => {
                    return (Some(setting.finish(class, play, truth, target)), unseen);
                }
                None => unseen += 1,
            }
        }
    }
    (None, unseen)
}

fn draw_faults(dice: &mut Dice, world: &World, class: Class, plan: &Plan) -> Option<Vec<Fault>> {
    let window = plan.window_s;
    if class == Class::Control {
        return Some(Vec::new());
    }
    if class != Class::Compound {
        return Fault::draw(dice, world, class, plan.shape, window).map(|fault| vec![fault]);
    }
    let simple = [
        Class::Resource,
        Class::Network,
        Class::Code,
        Class::Dependency,
    ];
    let classes = (simple[dice.index(4)], simple[dice.index(4)]);
    let first = Fault::draw(dice, world, classes.0, plan.shape, window)?;
    let later = window.0 + (window.1 - window.0) * dice.between(0.0, 0.25);
    let second = Fault::draw(dice, world, classes.1, plan.shape, (later, window.1))?;
    (first.service != second.service).then(|| vec![first, second])
}

impl Setting {
    /// Red herrings in a third of all cases; what makes a control loud in every control.
    fn draw_noise(&mut self, dice: &mut Dice, class: Class) {
        let control = class == Class::Control;
        let wanted = dice.chance(if control { 0.5 } else { 0.31 });
        self.planned = if control && !wanted && dice.chance(0.5) {
            dice.between(0.25, 0.5)
        } else {
            0.0
        };
        if !wanted {
            return;
        }
        let busy: Vec<usize> = self
            .faults
            .iter()
            .flat_map(|fault| std::iter::once(fault.service).chain(fault.dep))
            .collect();
        let free = |s: &usize| self.world.services[*s].kind.is_code() && !busy.contains(s);
        let free: Vec<usize> = (0..self.world.services.len()).filter(free).collect();
        if !free.is_empty() {
            let service = free[dice.index(free.len())];
            self.herring = Some(Herring::draw(
                dice,
                service,
                self.plan.window_s,
                self.plan.shape.has_logs(),
            ));
        }
    }

    fn play(&self) -> Play {
        let (world, plan) = (&self.world, &self.plan);
        let mut dice = Dice::new(mix(self.seed, 1));
        let few = plan.shape == Shape::Graph;
        let mut engine = Engine::new(world, mix(self.seed, 2), plan.step_s);
        let mut tracer =
            (plan.shape == Shape::Full).then(|| Tracer::draw(&mut dice, &engine, plan.total_s));
        let refusals = tracer
            .as_ref()
            .map_or_else(|| dice.chance(0.5), |tracer| tracer.counts_refusals);
        let mut meter = Meter::draw(&mut dice, world, plan.interval_s, few, refusals);
        let mute: Vec<bool> = world.services.iter().map(|_| dice.chance(0.04)).collect();
        let mut logger = plan
            .shape
            .has_logs()
            .then(|| Logger::draw(&mut dice, &engine, plan.total_s, mute));
        // Some steps before the recording begins let queues and moods settle.
        let warm_up = 30;
        let steps = (plan.total_s / plan.step_s).round() as usize;
        for index in 0..warm_up + steps {
            let t_s = (index as f64 - f64::from(warm_up as u32)) * plan.step_s;
            let mut knobs = vec![Knob::default(); world.services.len()];
            for fault in &self.faults {
                fault.turn(world, &mut knobs, t_s);
            }
            if let Some(herring) = self
                .herring
                .filter(|herring| herring.restarts(t_s, plan.step_s))
            {
                knobs[herring.service].restart = true;
            }
            engine.step(index, t_s, plan.load(t_s) * self.extra(t_s), &knobs);
            if index < warm_up {
                continue;
            }
            let mut dice = Dice::new(mix(mix(self.seed, 3), index as u64));
            let start_ms = plan.ms(t_s) as f64;
            meter.step(&mut dice, &engine, &knobs, plan.step_s);
            if let Some(tracer) = &mut tracer {
                tracer.step(&mut dice, &engine, start_ms, plan.step_s);
            }
            if let Some(logger) = &mut logger {
                logger.step(&mut dice, &engine, tracer.as_ref(), start_ms, plan.step_s);
                self.write_lines(logger, &mut dice, &engine, &knobs, t_s);
            }
        }
        let mut lines = logger.map_or_else(Vec::new, |logger| logger.lines);
        lines.sort_by_key(|line| line.timestamp_ms);
        let spans = tracer.map_or_else(Vec::new, |tracer| tracer.spans);
        let mut play = Play {
            meter,
            lines,
            spans,
        };
        self.colour(&mut play);
        play
    }

    fn write_lines(
        &self,
        logger: &mut Logger,
        dice: &mut Dice,
        engine: &Engine,
        knobs: &[Knob],
        t_s: f64,
    ) {
        let start_ms = self.plan.ms(t_s) as f64;
        for fault in self.faults.iter().filter(|fault| fault.force(t_s) > 0.0) {
            logger.fault(
                dice,
                engine,
                fault,
                &knobs[fault.service],
                start_ms,
                self.plan.step_s,
            );
        }
        if let Some(herring) = self
            .herring
            .filter(|h| h.noise == Noise::Lines && h.is_on(t_s))
        {
            logger.loud(
                dice,
                herring.service,
                start_ms,
                self.plan.step_s,
                herring.pick,
            );
        }
    }

    /// A campaign that was planned for: load rises and is served.
    fn extra(&self, t_s: f64) -> f64 {
        let (from, until) = self.plan.window_s;
        if t_s < from || t_s > until {
            return 1.0;
        }
        1.0 + self.planned * ((t_s - from) / (until - from) * 4.0).min(1.0)
    }

    fn colour(&self, play: &mut Play) {
        let mut dice = Dice::new(mix(self.seed, 4));
        let few = self.plan.shape == Shape::Graph;
        if let Some(herring) = self.herring {
            for (bin, rows) in play.meter.rows.iter_mut().enumerate() {
                if herring.is_on((bin as f64 + 0.5) * self.plan.interval_s) {
                    herring.colour(&mut dice, &mut rows[herring.service], few);
                }
            }
        }
    }

    pub fn window(&self) -> (usize, usize) {
        let (from, until) = self.plan.window_s;
        // The interval in which it begins is half healthy.
        (
            self.plan.bin(from + 0.5 * self.plan.interval_s),
            self.plan.bin(until).max(self.plan.bin(from) + 2),
        )
    }

    pub fn signals(&self) -> Vec<Signal> {
        signals::chosen(
            &mut Dice::new(mix(self.seed, 5)),
            self.plan.shape == Shape::Graph,
        )
    }

    pub fn measured(&self, dialect: Dialect, signals: &[Signal], s: usize) -> Vec<Signal> {
        let kind = self.world.services[s].kind;
        signals
            .iter()
            .copied()
            .filter(|signal| dialect.name(*signal, kind).is_some())
            .collect()
    }

    /// Services whose readings were not kept: a bystander's, or a culprit's that its lines or spans tell of.
    fn unread(&self, dice: &mut Dice, play: &Play, culprits: &[usize], target: usize) -> Vec<bool> {
        let mut unread = vec![false; self.world.services.len()];
        if dice.chance(0.2) {
            let s = dice.index(unread.len());
            unread[s] = s != target && !culprits.contains(&s);
        }
        let from = self.plan.ms(self.plan.window_s.0);
        let window_ms = (from, self.plan.ms(self.plan.window_s.1));
        if let ([culprit], true) = (
            culprits,
            self.plan.shape == Shape::Full && dice.chance(0.15),
        ) {
            unread[*culprit] = *culprit != target
                && (oracle::new_lines(&play.lines, *culprit, window_ms)
                    || oracle::other_spans(&play.spans, *culprit, window_ms));
        }
        unread
    }

    fn finish(self, class: Class, mut play: Play, truth: Truth, target: usize) -> Case {
        let mut dice = Dice::new(mix(self.seed, 7));
        let n = self.world.services.len();
        if class == Class::Control && dice.chance(0.6) {
            let bin = self
                .plan
                .bin((truth.question.at_ms - self.plan.epoch_ms) as f64 / 1000.0)
                .saturating_sub(1);
            herring::blip(&mut play.meter.rows[bin][target], dice.between(1.2, 1.6));
        }
        let culprits: Vec<usize> = self.faults.iter().map(|fault| fault.service).collect();
        let unread = self.unread(&mut dice, &play, &culprits, target);
        let metrics_only = matches!(self.plan.shape, Shape::Metrics | Shape::MetricsLogs);
        let mut edges = self.world.edges();
        // Which of two services calls too often is told by the graph alone.
        let needed = self.faults.iter().any(|fault| fault.dep.is_some());
        if metrics_only && !needed && dice.chance(0.4) {
            edges.clear();
        } else if dice.chance(0.35) {
            edges.retain(|_| !dice.chance(0.1));
        }
        if !edges.is_empty() && dice.chance(0.15) {
            let (a, b) = (dice.index(n), dice.index(n));
            if a < b && !edges.contains(&(a, b)) {
                edges.push((a, b));
            }
        }
        let resource = self
            .faults
            .first()
            .is_some_and(|fault| fault.family.class == Class::Resource);
        let pods = (self.plan.shape != Shape::Graph && dice.chance(0.3)).then(|| {
            culprits
                .first()
                .copied()
                .filter(|_| resource && dice.chance(0.5))
        });
        Case {
            signals: self.signals(),
            dialect: play.meter.dialect,
            rows: play.meter.rows,
            lines: play.lines,
            spans: play.spans,
            world: self.world,
            plan: self.plan,
            unread,
            pods,
            edges,
            truth,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::FAMILIES;
    use super::super::oracle::Readings;
    use super::*;

    fn quiet(seed: u64, shape: Shape) -> Setting {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice, shape);
        let world = World::draw(&mut dice, plan.services);
        Setting {
            world,
            plan,
            faults: Vec::new(),
            herring: None,
            planned: 0.0,
            seed,
        }
    }

    #[test]
    fn on_a_day_without_a_fault_the_oracle_sees_little() {
        let (mut seen, mut all) = (0, 0);
        for seed in 0..12 {
            let setting = quiet(seed, Shape::ALL[seed as usize % 4]);
            let play = setting.play();
            let signals = setting.signals();
            for service in 0..setting.world.services.len() {
                let measured = setting.measured(play.meter.dialect, &signals, service);
                let readings = Readings {
                    rows: &play.meter.rows,
                    service,
                    window: setting.window(),
                };
                seen += usize::from(readings.differs(&measured));
                all += 1;
            }
        }
        assert!(seen * 10 < all, "{seen} of {all} healthy services look ill");
    }

    #[test]
    fn a_system_without_a_fault_serves_nearly_everything() {
        for seed in 20..32 {
            let setting = quiet(seed, Shape::ALL[seed as usize % 4]);
            let play = setting.play();
            for (s, service) in setting.world.services.iter().enumerate() {
                let share: f64 = play
                    .meter
                    .rows
                    .iter()
                    .map(|rows| rows[s][Signal::Errors as usize])
                    .sum::<f64>()
                    / play
                        .meter
                        .rows
                        .iter()
                        .map(|rows| rows[s][Signal::Rate as usize])
                        .sum::<f64>()
                        .max(1.0);
                assert!(share < 0.08, "seed {seed}: {} fails {share}", service.name);
            }
        }
    }

    #[test]
    fn every_kind_of_fault_can_be_seen_in_some_shape() {
        for (i, family) in FAMILIES.iter().enumerate() {
            let found = (0..60).any(|seed| {
                let mut setting = quiet(mix(seed, i as u64), Shape::ALL[1 + seed as usize % 2 * 2]);
                let window = setting.plan.window_s;
                let mut dice = Dice::new(seed);
                let fault =
                    Fault::draw(&mut dice, &setting.world, family.class, Shape::Full, window);
                let Some(fault) = fault.filter(|fault| fault.family.name == family.name) else {
                    return false;
                };
                setting.faults = vec![fault];
                let play = setting.play();
                setting.ask(family.class, &play).is_some()
            });
            assert!(found, "{} is never seen", family.name);
        }
    }
}
