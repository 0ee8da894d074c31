//! The life of one series: normal, out of range, silent, and back.
//!
//! - An anomaly starts with 2 consecutive readings out of range (more for
//!   some classes, see [`Meaning::readings_to_start`]) or one at twice the
//!   threshold. Where a harmless release moves the level for good, the newest
//!   must be out of range by more than what noise adds, or there must be more
//!   ([`Meaning::readings_to_last`]).
//! - While it is open nothing is learnt: readings are compared with the
//!   baseline from before.
//! - It worsens when its severity rises, and clears after 3 consecutive
//!   readings in range.
//! - A series that leaves its range again within `DEDUP_TTL_SECONDS` of event
//!   time after it cleared opens the *same* anomaly again (`started` with the
//!   old id and the onset of this outbreak), so that flapping never multiplies
//!   anomalies; what watches an anomaly still sees each change.
//! - A reading that is unusual but too small to matter, or that stays alone,
//!   is learnt at the edge of the band.
//! - A series that reported regularly and stops becomes `missing`, under the
//!   id of its open anomaly where there is one. Silence is never normal: it
//!   clears like any other anomaly, by 3 readings in range.
//! - A mount or pod that stops while abnormal closes half an hour later as "no
//!   longer reported, not recovered"; so does whatever is forgotten after a day.
//! - A level that has been abnormal for `DETECTION_RELEARN_MINUTES` and is
//!   stable (or, after twelve times that, whatever it is) becomes the new
//!   baseline; the anomaly clears and says so.
//! - What leaves its range every day at the same time and comes back by itself
//!   is a habit and starts nothing ([`habit`]); a resource that is filling up
//!   starts an anomaly before it is full ([`standing`]).
//! - No anomaly is CRITICAL by its first crossing, unless its limit is near.
//! - A sample not newer than the last one is ignored. Only when 10 in a row
//!   lie more than 10 minutes back, in rising order, was the source's clock
//!   set back; the series goes on from there.

mod follow;
mod habit;
mod silence;
mod standing;

use crate::config::Tuning;
use crate::decide::exact;
use crate::decide::semantics::Meaning;
use crate::decide::statistics::{self, Judgement, Profile};
use crate::decide::transition::{Mark, Origin, Reading, Sketch, words};
use follow::Follows;
use habit::Habits;
use midwatch_events::{AnomalyType, Direction, Severity, Transition, ids};
use serde::{Deserialize, Serialize};
use standing::{Found, Heading, grade};
use std::collections::VecDeque;
use uuid::Uuid;

/// Readings in range that end an anomaly.
pub const READINGS_TO_CLEAR: usize = 3;
/// Abnormal readings kept to judge whether their level is stable.
const RECENT: usize = 50;
/// Readings of a run that are quoted as evidence.
const QUOTED: usize = 5;

/// An anomaly that has not cleared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenAnomaly {
    pub anomaly_id: Uuid,
    pub kind: AnomalyType,
    pub severity: Severity,
    pub direction: Direction,
    pub onset_ms: i64,
    started_ms: i64,
    /// When this outbreak began: that of a repeated anomaly is not its onset.
    outbreak_ms: i64,
    /// Readings out of range since then, and the largest distance of one from
    /// what was expected.
    readings: u32,
    #[serde(with = "exact")]
    size: f64,
    /// The readings in range since the last one out of it.
    normal: Vec<Mark>,
    #[serde(with = "exact::list")]
    recent: VecDeque<f64>,
}

/// An anomaly that cleared, remembered for repeat suppression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    pub anomaly_id: Uuid,
    pub cleared_ms: i64,
}

/// Everything known about one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Looked up with its first sample or sweep.
    #[serde(skip)]
    meaning: Meaning,
    profile: Profile,
    last: Option<Mark>,
    samples: u64,
    /// Learnt distance between samples, event time.
    #[serde(with = "exact")]
    interval_ms: f64,
    /// Silence clock when it last reported.
    heard_ms: i64,
    silent: bool,
    /// The first reading of the present run of unusual ones.
    onset: Option<Mark>,
    /// The present run of readings out of range, before it starts an anomaly.
    run: Vec<Mark>,
    // Most series are well most of the time.
    open: Option<Box<OpenAnomaly>>,
    closed: Option<Closed>,
    habits: Option<Box<Habits>>,
    heading: Option<Box<Heading>>,
    /// Consecutive samples from before the last one, and the newest of them.
    behind: u32,
    behind_ms: i64,
}

/// What became of a sample.
#[derive(Debug)]
pub enum Outcome {
    /// Not newer than the last one.
    Late,
    /// Taken in. `set_back` says that the source's clock went back.
    Taken { reading: Reading, set_back: bool },
}

impl Series {
    /// Takes in a sample; transitions are added to `out`.
    pub fn observe(
        &mut self,
        origin: &Origin<'_>,
        mark: Mark,
        silence_ms: i64,
        out: &mut Vec<Sketch>,
    ) -> Outcome {
        self.look_up(origin);
        let set_back = match self.follows(&mark) {
            Follows::No => {
                // What sends from the past is not silent.
                if self.behind > 0 {
                    self.heard_ms = silence_ms;
                }
                return Outcome::Late;
            }
            Follows::Yes => false,
            Follows::SetBack => true,
        };
        if set_back {
            self.run.clear();
            self.onset = None;
            self.last = None;
            self.closed = None;
            self.forget_heading();
        }
        self.note_interval(&mark);
        self.heard_ms = silence_ms;
        self.silent = false;
        self.samples += 1;
        let notice = self.profile.notice(mark.at_ms, mark.value);
        let judgement = self.profile.judge(mark.at_ms, mark.value, origin.tuning);
        let found = self.stand(origin, &mark, &judgement);
        if self.open.is_some() {
            self.observe_open(origin, &mark, &judgement, found, out);
        } else {
            self.observe_normal(origin, &mark, &judgement, found, out);
        }
        let reading = Reading::new(&mark, &judgement, &notice);
        self.last = Some(mark);
        Outcome::Taken { reading, set_back }
    }

    /// What it means, the first time that it is asked for.
    fn look_up(&mut self, origin: &Origin<'_>) {
        if !self.meaning.is_known() {
            let semantics = &origin.tuning.semantics;
            self.meaning = Meaning::of(origin.service, origin.name, semantics);
        }
    }

    fn observe_normal(
        &mut self,
        origin: &Origin<'_>,
        mark: &Mark,
        judgement: &Judgement,
        found: Found,
        out: &mut Vec<Sketch>,
    ) {
        if self.runs_to_start(mark, found) {
            out.push(self.start(origin, mark, judgement, found));
        } else if self.run.is_empty() {
            self.profile.learn(mark.at_ms, mark.value);
        }
    }

    /// Adds the reading to the run out of range, or ends the run. Whether the
    /// run is now long enough to be an anomaly.
    fn runs_to_start(&mut self, mark: &Mark, Found { standing, .. }: Found) -> bool {
        if standing.unusual {
            self.onset.get_or_insert_with(|| mark.clone());
        } else {
            self.onset = None;
        }
        if standing.out_of_range {
            self.run.push(mark.clone());
            let needed = if standing.clear {
                self.meaning.readings_to_start()
            } else {
                self.meaning.readings_to_last()
            };
            return standing.blatant || self.run.len() >= needed;
        }
        for reading in std::mem::take(&mut self.run) {
            if self.open.is_none() && self.meaning.limit().is_none() {
                self.profile.learn(reading.at_ms, reading.value);
            }
        }
        false
    }

    fn start(
        &mut self,
        origin: &Origin<'_>,
        mark: &Mark,
        judgement: &Judgement,
        Found { outlook, .. }: Found,
    ) -> Sketch {
        let run = std::mem::take(&mut self.run);
        let readings = run.len();
        let onset = self.onset.take().unwrap_or_else(|| run[0].clone());
        let direction = self.meaning.side(mark.value, judgement.expected);
        let kind = self.meaning.anomaly_type(direction);
        let count = u32::try_from(readings).unwrap_or(u32::MAX);
        let severity = grade(&self.meaning, origin, mark, judgement, outlook, count);
        let outbreak_ms = onset.at_ms;
        let repeat = self
            .closed
            .take()
            .filter(|closed| mark.at_ms - closed.cleared_ms <= origin.tuning.dedup_ms);
        // A series that came back from silence abnormal keeps its anomaly.
        let known = self
            .open
            .take()
            .map(|open| (open.anomaly_id, open.onset_ms))
            // One that broke out again keeps its id; what happened between the
            // two outbreaks came before this one, a deployment above all.
            .or_else(|| repeat.map(|closed| (closed.anomaly_id, onset.at_ms)));
        let again = known.is_some();
        let (anomaly_id, onset_ms) = known.unwrap_or_else(|| {
            (
                origin.anomaly_id(&onset.event_id, onset.at_ms, ""),
                onset.at_ms,
            )
        });
        let evidence = quoted(onset, run);
        self.open = Some(Box::new(OpenAnomaly {
            anomaly_id,
            kind,
            severity,
            direction,
            onset_ms,
            started_ms: mark.at_ms,
            outbreak_ms,
            readings: count,
            size: (mark.value - judgement.expected).abs(),
            normal: Vec::new(),
            recent: evidence.iter().map(|reading| reading.value).collect(),
        }));
        let by_itself = self
            .meaning
            .standing(mark.value, judgement, origin.tuning)
            .out_of_range;
        let description = match self.meaning.limit() {
            _ if !by_itself && let Some(outlook) = outlook => {
                let limit = self.meaning.exhausts_at().unwrap_or(f64::INFINITY);
                words::running_out(origin, mark.value, &outlook, limit, again)
            }
            Some(limit) => {
                words::beyond_limit(origin, mark.value, limit, direction, readings, again)
            }
            None => words::started(origin, mark.value, judgement, again),
        };
        self.sketch(
            origin,
            Transition::Started,
            mark,
            judgement,
            description,
            evidence,
        )
    }

    fn observe_open(
        &mut self,
        origin: &Origin<'_>,
        mark: &Mark,
        judgement: &Judgement,
        found: Found,
        out: &mut Vec<Sketch>,
    ) {
        let Found { standing, outlook } = found;
        let meaning = self.meaning.clone();
        let Some(open) = self.open.as_mut() else {
            return;
        };
        let was_silence = open.kind == AnomalyType::MissingData;
        if was_silence && self.runs_to_start(mark, found) {
            out.push(self.start(origin, mark, judgement, found));
            return;
        }
        let Some(open) = self.open.as_mut() else {
            return;
        };
        if open.recent.len() == RECENT {
            open.recent.pop_front();
        }
        open.recent.push_back(mark.value);
        if !standing.out_of_range {
            open.normal.push(mark.clone());
            if open.normal.len() >= READINGS_TO_CLEAR {
                out.push(self.clear(origin, mark, judgement));
            }
            return;
        }
        open.normal.clear();
        if was_silence {
            return;
        }
        open.direction = meaning.side(mark.value, judgement.expected);
        open.count(mark, judgement);
        let severity = grade(&meaning, origin, mark, judgement, outlook, open.readings);
        if severity > open.severity {
            let before = std::mem::replace(&mut open.severity, severity);
            let description = words::worsened(origin, mark.value, judgement, before, severity);
            let evidence = vec![mark.clone()];
            out.push(self.sketch(
                origin,
                Transition::Worsened,
                mark,
                judgement,
                description,
                evidence,
            ));
        } else if self.may_relearn(origin.tuning, mark.at_ms) {
            out.push(self.relearn(origin, mark, judgement));
        }
    }

    fn clear(&mut self, origin: &Origin<'_>, mark: &Mark, judgement: &Judgement) -> Sketch {
        let open = self.open.as_mut();
        let normal = open.map(|open| std::mem::take(&mut open.normal));
        let evidence = normal.unwrap_or_default();
        for reading in &evidence {
            self.profile.learn(reading.at_ms, reading.value);
        }
        let description = words::cleared(origin, &evidence, judgement, self.meaning.limit());
        self.note_habit(mark.at_ms);
        self.close(origin, mark, judgement, description, evidence)
    }

    fn may_relearn(&self, tuning: &Tuning, now_ms: i64) -> bool {
        let Some(open) = &self.open else {
            return false;
        };
        let age_ms = now_ms - open.started_ms;
        // A physical limit stays a limit, however long it is exceeded.
        self.meaning.limit().is_none()
            && open.recent.len() == RECENT
            && age_ms >= tuning.relearn_ms
            && (statistics::is_stable(&Vec::from(open.recent.clone()))
                || age_ms >= 12 * tuning.relearn_ms)
    }

    fn relearn(&mut self, origin: &Origin<'_>, mark: &Mark, before: &Judgement) -> Sketch {
        let recent = self
            .open
            .as_mut()
            .map(|open| std::mem::take(&mut open.recent));
        self.profile
            .relearn(mark.at_ms, &Vec::from(recent.unwrap_or_default()));
        self.onset = None;
        self.run.clear();
        let judgement = self.profile.judge(mark.at_ms, mark.value, origin.tuning);
        let description = words::relearnt(origin, before.expected, judgement.expected);
        self.close(origin, mark, &judgement, description, vec![mark.clone()])
    }

    fn close(
        &mut self,
        origin: &Origin<'_>,
        mark: &Mark,
        judgement: &Judgement,
        description: String,
        evidence: Vec<Mark>,
    ) -> Sketch {
        let sketch = self.sketch(
            origin,
            Transition::Cleared,
            mark,
            judgement,
            description,
            evidence,
        );
        self.run.clear();
        self.onset = None;
        if let Some(open) = self.open.take() {
            self.closed = Some(Closed {
                anomaly_id: open.anomaly_id,
                cleared_ms: mark.at_ms,
            });
        }
        sketch
    }

    fn sketch(
        &self,
        origin: &Origin<'_>,
        transition: Transition,
        mark: &Mark,
        judgement: &Judgement,
        description: String,
        evidence: Vec<Mark>,
    ) -> Sketch {
        let open = self
            .open
            .as_ref()
            .expect("a transition is of an open anomaly");
        Sketch {
            anomaly_id: open.anomaly_id,
            transition,
            kind: open.kind,
            severity: open.severity,
            trigger_metric: origin.name.to_owned(),
            observed_value: mark.value,
            baseline_value: judgement.expected,
            deviation_sigma: judgement.z,
            score: self.meaning.score(mark.value, judgement),
            direction: open.direction,
            detected_ms: mark.at_ms,
            onset_ms: open.onset_ms,
            description,
            evidence: evidence.iter().map(Mark::evidence).collect(),
            cause_id: mark.event_id,
            gone: false,
        }
    }

    /// Adopts a classification of the open anomaly where the rules had none
    /// and `fits` says that a series can be off in that way.
    pub fn classify(
        &mut self,
        anomaly_id: Uuid,
        kind: AnomalyType,
        fits: impl FnOnce(Direction) -> bool,
    ) -> bool {
        match &mut self.open {
            Some(open)
                if open.anomaly_id == anomaly_id
                    && open.kind == AnomalyType::Unknown
                    && fits(open.direction) =>
            {
                open.kind = kind;
                true
            }
            _ => false,
        }
    }
}

/// What an anomaly that starts quotes: its onset and the latest of its run.
fn quoted(onset: Mark, run: Vec<Mark>) -> Vec<Mark> {
    let mut evidence = vec![onset];
    for reading in run {
        if evidence
            .iter()
            .all(|other| other.event_id != reading.event_id)
        {
            evidence.push(reading);
        }
    }
    if evidence.len() > QUOTED {
        evidence.drain(1..=evidence.len() - QUOTED);
    }
    evidence
}

impl Origin<'_> {
    /// The id of the anomaly that begins with the record `first`.
    #[must_use]
    pub fn anomaly_id(&self, first: &Uuid, at_ms: i64, suffix: &str) -> Uuid {
        ids::derive(&[
            "anomaly",
            self.epoch,
            self.environment,
            self.service,
            self.name,
            &first.to_string(),
            &at_ms.to_string(),
            suffix,
        ])
    }
}
