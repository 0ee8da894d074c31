//! The check of a submission: what holds is kept, the rest is listed with the rule that it broke.

mod wording;

use super::scene::{Shown, is_measured};
use super::{Advice, RAISE_MARGIN, Scene};
use midwatch_clients::llm::fence;
use midwatch_clients::llm::redact::Vault;
use midwatch_events::incident::{RejectedClaim, RootCauseCandidate};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a claim where it is listed.
const CLAIM_LIMIT: usize = 300;
/// Claims that are listed; a model that errs more often has said enough.
const REJECTED_LIMIT: usize = 30;
/// What is read of each list of a submission.
const LIST_LIMIT: usize = 50;

/// What is left of a submission.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Indexes of our ranking in the accepted order; none where nothing carries an order.
    pub order: Option<Vec<usize>>,
    /// Accepted hypotheses, by index of our ranking.
    pub wordings: BTreeMap<usize, String>,
    /// Further sentences that hold.
    pub held: Vec<String>,
    pub rejected: Vec<RejectedClaim>,
}

impl Verdict {
    /// Whether the model's order or words were taken.
    pub fn is_taken(&self) -> bool {
        self.order.is_some() || !self.wordings.is_empty()
    }
}

/// One entry of `all_candidates` that names a candidate of ours.
struct Entry {
    /// The index in our ranking.
    index: usize,
    hypothesis: Option<String>,
    cited: BTreeSet<String>,
}

struct Judge<'a> {
    ranked: &'a [RootCauseCandidate],
    scene: &'a Scene,
    /// Every record that was shown, by id.
    seen: BTreeMap<String, Shown>,
    /// The secrets of what was shown: what is listed about a claim goes to the audit trail.
    secrets: Vault,
    verdict: Verdict,
}

/// Checks a submission against our ranking and what was shown.
pub fn judge(ranked: &[RootCauseCandidate], submission: &Value, advice: &Advice) -> Verdict {
    let mut seen = advice.shown.clone();
    for candidate in ranked {
        // The candidates stand in the question.
        for record in candidate.evidence.iter().chain(&candidate.refuting) {
            let words = Shown::reference(record);
            match seen.get_mut(&record.id) {
                Some(known) => {
                    known.text = format!("{} ; {}", known.text, words.text);
                    known.foreign = format!("{} ; {}", known.foreign, words.foreign);
                }
                None => {
                    seen.insert(record.id.clone(), words);
                }
            }
        }
    }
    let mut secrets = Vault::default();
    for shown in seen.values() {
        secrets.learn(&shown.text);
        secrets.learn(&shown.foreign);
    }
    for candidate in ranked {
        // All of it stood in the question.
        secrets.learn(&json!(candidate).to_string());
    }
    let mut judge = Judge {
        ranked,
        scene: &advice.scene,
        secrets,
        seen,
        verdict: Verdict::default(),
    };
    judge.submission(submission);
    judge.verdict
}

impl Judge<'_> {
    fn reject(&mut self, claim: &str, reason: impl Into<String>) {
        if self.verdict.rejected.len() < REJECTED_LIMIT {
            let told = self.secrets.hide_echo(claim);
            let reason = if told == claim {
                self.secrets.hide_echo(&reason.into())
            } else {
                // A reason quotes the parts that do not hold, and so parts of a secret.
                "it quotes a secret; what does not hold in it is not repeated here".to_owned()
            };
            let claim = fence::untrusted(&told, CLAIM_LIMIT).replace('\n', " ");
            let one = RejectedClaim { claim, reason };
            if !self.verdict.rejected.contains(&one) {
                self.verdict.rejected.push(one);
            }
        }
    }

    fn submission(&mut self, submission: &Value) {
        if !submission.is_object() {
            self.reject(&submission.to_string(), "the submission is no object");
            return;
        }
        let cited = self.cited(&submission["evidence"], "evidence");
        let entries = self.entries(&submission["all_candidates"], &cited);
        let hypothesis = self.words(&submission["top_hypothesis"], "top_hypothesis");
        if let Some(sentence) = hypothesis {
            self.top_hypothesis(&sentence, &entries, &cited);
        } else if entries.is_empty() && self.verdict.rejected.is_empty() {
            self.reject("", "the submission is empty");
        }
        self.confidence(&submission["confidence"]);
        for entry in &entries {
            if let Some(sentence) = &entry.hypothesis {
                self.wording(entry.index, sentence, &entry.cited);
            }
        }
        self.claims(submission, &cited);
        self.chain(&submission["causal_chain"]);
        self.order(&entries);
    }

    /// The ids of a list that were shown; the others are rejected.
    fn cited(&mut self, list: &Value, what: &str) -> BTreeSet<String> {
        let mut cited = BTreeSet::new();
        if list.is_null() {
            return cited;
        }
        let Some(items) = list.as_array() else {
            self.reject(
                &list.to_string(),
                format!("{what} is no list of record ids"),
            );
            return cited;
        };
        for item in items.iter().take(LIST_LIMIT) {
            let id = item.as_str().or_else(|| item["id"].as_str());
            match id {
                Some(id) if self.seen.contains_key(id) => {
                    cited.insert(id.to_owned());
                }
                Some(id) => self.reject(
                    &format!("evidence {id}"),
                    "no such record was returned in this investigation",
                ),
                None => self.reject(&item.to_string(), "it is no id of a record"),
            }
        }
        cited
    }

    fn words(&mut self, value: &Value, what: &str) -> Option<String> {
        match value {
            Value::Null => None,
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => Some(text.trim().to_owned()),
            other => {
                self.reject(&other.to_string(), format!("{what} is no text"));
                None
            }
        }
    }

    fn confidence(&mut self, value: &Value) {
        let fits = value
            .as_f64()
            .is_some_and(|number| (0.0..=1.0).contains(&number));
        if !value.is_null() && !fits {
            self.reject(
                &format!("confidence {value}"),
                "it is no number from 0 to 1; confidences are computed here in any case",
            );
        }
    }

    fn entries(&mut self, list: &Value, all: &BTreeSet<String>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        if list.is_null() {
            return entries;
        }
        let Some(items) = list.as_array() else {
            self.reject(&list.to_string(), "all_candidates is no list");
            return entries;
        };
        for item in items.iter().take(LIST_LIMIT) {
            let Some(index) = self.candidate(item) else {
                continue;
            };
            if entries.iter().any(|entry| entry.index == index) {
                let service = &self.ranked[index].service;
                self.reject(&format!("candidate {service}"), "it is listed twice");
                continue;
            }
            let mut cited = self.cited(&item["evidence"], "a candidate's evidence");
            if entries.is_empty() {
                cited.extend(all.iter().cloned());
            }
            let hypothesis = self.words(&item["hypothesis"], "a candidate's hypothesis");
            entries.push(Entry {
                index,
                hypothesis,
                cited,
            });
        }
        entries
    }

    /// The candidate of ours that an entry names.
    fn candidate(&mut self, item: &Value) -> Option<usize> {
        let Some(service) = item.as_str().or_else(|| item["service"].as_str()) else {
            self.reject(&item.to_string(), "it names no service");
            return None;
        };
        let cause = item["cause"].as_str().filter(|cause| !cause.is_empty());
        let mut of_service = (0..self.ranked.len())
            .filter(|&index| self.ranked[index].service == service)
            .peekable();
        if of_service.peek().is_none() {
            let reason = if self.scene.services.contains(service) {
                "no evidence of this investigation speaks for it as a cause"
            } else {
                "the service is neither in the topology nor in the incident"
            };
            self.reject(&format!("candidate {service}"), reason);
            return None;
        }
        let fits = |index: &usize| cause.is_none_or(|cause| self.ranked[*index].cause == cause);
        let found = of_service.find(fits);
        if found.is_none() {
            let claim = format!("candidate {service}: {}", cause.unwrap_or_default());
            self.reject(&claim, "the evidence carries no such cause of this service");
        }
        found
    }

    /// `claims` and `estimated_user_impact`: nobody reads them but the audit trail.
    fn claims(&mut self, submission: &Value, all: &BTreeSet<String>) {
        if let Some(impact) = self.words(
            &submission["estimated_user_impact"],
            "estimated_user_impact",
        ) {
            self.sentence(&impact, all);
        }
        let list = &submission["claims"];
        let Some(items) = list.as_array() else {
            if !list.is_null() {
                self.reject(&list.to_string(), "claims is no list");
            }
            return;
        };
        for item in items.iter().take(LIST_LIMIT) {
            let cited = self.cited(&item["evidence"], "a claim's evidence");
            match item["text"].as_str().or_else(|| item.as_str()) {
                Some(text) => self.sentence(text.trim(), &cited),
                None => self.reject(&item.to_string(), "the claim has no text"),
            }
        }
    }

    fn sentence(&mut self, sentence: &str, cited: &BTreeSet<String>) {
        let problems = self.problems(sentence, cited);
        if problems.is_empty() {
            let held = self.secrets.hide_echo(sentence);
            self.verdict.held.push(held);
        } else {
            self.reject(sentence, problems.join("; "));
        }
    }

    /// `causal_chain`: pairs of records of which the first is to have come before the second.
    fn chain(&mut self, list: &Value) {
        for link in list.as_array().into_iter().flatten().take(LIST_LIMIT) {
            let claim = format!("{} caused {}", link["cause"], link["effect"]);
            let time = |side: &str| self.seen.get(link[side].as_str()?).map(|one| one.at_ms);
            match (time("cause"), time("effect")) {
                (Some(cause), Some(effect)) if cause > effect + self.scene.sampling_ms => {
                    let late = (cause - effect) / 1_000;
                    self.reject(&claim, format!("the cause comes {late} s after the effect"));
                }
                (Some(_), Some(_)) => {}
                _ => self.reject(&claim, "it names a record that was not returned"),
            }
        }
    }

    /// Moves candidates up as far as the rules of the module allow.
    fn order(&mut self, entries: &[Entry]) {
        let mut order: Vec<usize> = (0..self.ranked.len()).collect();
        let mut placed = 0;
        let mut is_backed = false;
        for entry in entries {
            let Some(from) = order.iter().position(|index| *index == entry.index) else {
                continue;
            };
            if from < placed {
                continue;
            }
            let passed = &order[placed..from];
            match self.objection(entry, passed) {
                None => {
                    is_backed = true;
                    order.remove(from);
                    order.insert(placed, entry.index);
                    placed += 1;
                }
                Some(_) if passed.is_empty() => placed += 1,
                Some(objection) => {
                    let service = &self.ranked[entry.index].service;
                    let over = &self.ranked[order[placed]].service;
                    self.reject(&format!("{service} comes before {over}"), objection);
                }
            }
        }
        self.verdict.order = is_backed.then_some(order);
    }

    /// Why a candidate may not come before these.
    fn objection(&self, entry: &Entry, passed: &[usize]) -> Option<String> {
        let candidate = &self.ranked[entry.index];
        let carries = |id: &String| {
            let is_ours = candidate.evidence.iter().any(|record| {
                record.id == *id && record.service == candidate.service && is_measured(record.kind)
            });
            is_ours || self.scene.anomalies.get(id) == Some(&candidate.service)
        };
        let mut objections = Vec::new();
        if !entry.cited.iter().any(carries) {
            let service = &candidate.service;
            objections.push(format!(
                "no measured record of {service} is cited that supports it"
            ));
        }
        let far = passed
            .iter()
            .map(|&index| &self.ranked[index])
            .find(|other| candidate.confidence + RAISE_MARGIN < other.confidence);
        if let Some(other) = far {
            objections.push(format!(
                "its computed confidence of {:.2} lies more than {RAISE_MARGIN} below the {:.2} of {}",
                candidate.confidence, other.confidence, other.service
            ));
        }
        if let (false, Some(began), Some(symptom)) = (
            passed.is_empty(),
            self.began(candidate),
            self.scene.symptom_ms,
        ) && began > symptom + self.scene.sampling_ms
        {
            let late = (began - symptom) / 1_000;
            objections.push(format!(
                "it began {late} s after the symptom and cannot be its cause"
            ));
        }
        (!objections.is_empty()).then(|| objections.join("; "))
    }

    /// The first sign of a candidate's service.
    fn began(&self, candidate: &RootCauseCandidate) -> Option<i64> {
        let own = candidate
            .evidence
            .iter()
            .filter(|record| record.service == candidate.service && record.at_ms > 0)
            .map(|record| record.at_ms);
        let onset = self.scene.onsets.get(&candidate.service).copied();
        own.chain(onset).min()
    }
}
