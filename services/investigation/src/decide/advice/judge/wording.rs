//! Whether a sentence holds: by its records, in time, and about what it is to be about.

use super::super::scene::{Shown, is_measured};
use super::{Entry, Judge};
use midwatch_clients::llm::claims::Ground;
use midwatch_events::incident::EvidenceKind;
use std::collections::BTreeSet;

impl Judge<'_> {
    /// The top hypothesis words the candidate that it puts first.
    pub(super) fn top_hypothesis(
        &mut self,
        sentence: &str,
        entries: &[Entry],
        cited: &BTreeSet<String>,
    ) {
        let first = entries.first();
        let named = self.scene.mentions(sentence).first().map(|found| found.2);
        let Some(named) = named else {
            self.reject(sentence, "it names no service of the incident");
            return;
        };
        let index = match first {
            Some(entry) if self.ranked[entry.index].service == named => entry.index,
            Some(entry) => {
                let service = &self.ranked[entry.index].service;
                let reason = format!("it blames {named}, the first candidate listed is {service}");
                self.reject(sentence, reason);
                return;
            }
            None => match self.ranked.iter().position(|one| one.service == named) {
                Some(index) => index,
                None => {
                    self.reject(sentence, format!("{named} is no candidate of the evidence"));
                    return;
                }
            },
        };
        let cited = first.map_or(cited, |entry| &entry.cited);
        self.wording(index, sentence, cited);
    }

    /// Takes a hypothesis for a candidate if it holds.
    pub(super) fn wording(&mut self, index: usize, sentence: &str, cited: &BTreeSet<String>) {
        let service = &self.ranked[index].service;
        let mut problems = self.problems(sentence, cited);
        let mentions = self.scene.mentions(sentence);
        match mentions.first() {
            Some((_, _, first)) if first == service => {}
            _ => problems.push(format!("it does not name {service} first")),
        }
        for pair in mentions.windows(2) {
            let between = sentence.get(pair[0].1..pair[1].0);
            let between = between.unwrap_or_default().to_lowercase();
            if pair[0].2 == service && pair[1].2 != service && blames_the_second(&between) {
                problems.push(format!("it blames {} for {service}", pair[1].2));
            }
        }
        problems.extend(self.deployment_problem(service, sentence, cited));
        if !self.is_carried(index, sentence, cited) {
            let bare = "it names nothing that was measured, only asserts";
            problems.push(bare.to_owned());
        }
        if problems.is_empty() {
            // The first accepted wording stays: the top hypothesis comes before the lists.
            let words = self.verdict.wordings.entry(index);
            words.or_insert_with(|| sentence.to_owned());
        } else {
            self.reject(sentence, problems.join("; "));
        }
    }

    /// Whether a sentence rests on a reading of a cited record or on what code says of the
    /// candidate. Words alone may come from a line that asks for them.
    fn is_carried(&self, index: usize, sentence: &str, cited: &BTreeSet<String>) -> bool {
        let mut ground = Ground::default();
        ground.text(&self.ranked[index].hypothesis);
        for shown in cited.iter().filter_map(|id| self.seen.get(id)) {
            if is_measured(shown.kind) {
                let own = Shown {
                    foreign: String::new(),
                    ..shown.clone()
                };
                own.add_to(&mut ground);
            }
            if shown.kind == EvidenceKind::Deployment {
                let words = shown
                    .foreign
                    .split(|sign: char| sign.is_whitespace() || sign == ';');
                words
                    .filter(|word| is_version(word))
                    .for_each(|word| ground.name(word));
            }
        }
        ground.carries(sentence, &self.scene.services)
    }

    /// What a sentence says that its records do not.
    pub(super) fn problems(&self, sentence: &str, cited: &BTreeSet<String>) -> Vec<String> {
        let mut ground = Ground::default();
        for id in cited {
            if let Some(shown) = self.seen.get(id) {
                shown.add_to(&mut ground);
            }
        }
        let names = self.scene.services.iter().chain(&self.scene.metrics);
        names.for_each(|name| ground.name(name));
        for candidate in self.ranked {
            ground.name(&candidate.cause);
        }
        let mut problems = ground.problems(sentence);
        if cited.is_empty() {
            problems.push("it cites no record of this investigation".to_owned());
        }
        problems.extend(self.order_in_time(sentence));
        problems
    }

    /// Says where a sentence lets an effect come before its cause.
    fn order_in_time(&self, sentence: &str) -> Option<String> {
        let mentions = self.scene.mentions(sentence);
        mentions.windows(2).find_map(|pair| {
            let between = sentence.get(pair[0].1..pair[1].0)?.to_lowercase();
            let (cause, effect) = if blames_the_second(&between) {
                (pair[1].2, pair[0].2)
            } else if blames_the_first(&between) {
                (pair[0].2, pair[1].2)
            } else {
                return None;
            };
            let began = self.scene.onsets.get(cause)?;
            let followed = self.scene.onsets.get(effect)?;
            (*began > followed + self.scene.sampling_ms).then(|| {
                let late = (began - followed) / 1_000;
                format!("{cause} began {late} s after {effect} and cannot be its cause")
            })
        })
    }

    /// A deployment is a cause only if it is cited and came before the service's onset.
    fn deployment_problem(
        &self,
        service: &str,
        sentence: &str,
        cited: &BTreeSet<String>,
    ) -> Option<String> {
        let lower = sentence.to_lowercase();
        let speaks = ["deploy", "rollout", "rolled out", "released", "new version"]
            .into_iter()
            .any(|word| lower.contains(word));
        if !speaks {
            return None;
        }
        let times: Vec<i64> = cited
            .iter()
            .filter_map(|id| self.seen.get(id))
            .filter(|shown| shown.kind == EvidenceKind::Deployment)
            .map(|shown| shown.at_ms)
            .collect();
        let Some(first) = times.iter().min() else {
            return Some("it speaks of a deployment and cites none".to_owned());
        };
        let onset = self.onset(service)?;
        (*first > onset + self.scene.sampling_ms).then(|| {
            let late = (first - onset) / 1_000;
            format!("the deployment came {late} s after the onset and cannot be the cause")
        })
    }

    fn onset(&self, service: &str) -> Option<i64> {
        let own = self.scene.onsets.get(service).copied();
        own.or(self.scene.symptom_ms)
    }
}

/// `A … because of … B`.
fn blames_the_second(between: &str) -> bool {
    [
        "because of",
        "due to",
        "caused by",
        "triggered by",
        "driven by",
        "broken by",
        "slowed by",
        "overloaded by",
        "result of",
        "consequence of",
        " after ",
        "following",
        "victim of",
        "stems from",
        "originates in",
        "inherited from",
    ]
    .into_iter()
    .any(|words| between.contains(words))
}

/// `A … led to … B`; asked only where the second is not blamed.
fn blames_the_first(between: &str) -> bool {
    [
        "caus",
        "led to",
        "leads to",
        "trigger",
        "broke",
        "breaks",
        " before ",
        "preced",
        "brought",
        "took down",
        "takes down",
        "slow",
        "overload",
        "spread",
        "propagat",
        "result",
        "starv",
    ]
    .into_iter()
    .any(|words| between.contains(words))
}

/// `v2.14.1`, `2.14`.
fn is_version(word: &str) -> bool {
    let number = word.strip_prefix('v').unwrap_or(word);
    number.contains('.')
        && number
            .split('.')
            .all(|part| part.starts_with(|sign: char| sign.is_ascii_digit()))
}
