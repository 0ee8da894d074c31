//! What was measured: readings, requests, log lines. Nothing is estimated.

use crate::facts::{Facts, Peak, Reading, Traffic};
use crate::records::Records;
use crate::statement::{Rule, Statement};
use crate::writer::{Want, at, between, code, joined, number, over, say, text, time};
use midwatch_events::GroupedAnomaly;

/// What was measured, and what was not.
pub(super) fn impact(facts: &Facts, records: &Records) -> Vec<Statement> {
    let id = facts.incident_id();
    let mut said: Vec<Option<Statement>> = Vec::new();
    said.extend(
        facts
            .peaks
            .iter()
            .take(8)
            .map(|peak| farthest(facts, records, peak)),
    );
    said.push(say(
        records,
        "Services with signs of their own: {}. At risk without a sign: {}.",
        &[
            at(Rule::List, &id, "/resolved/affected_services"),
            at(Rule::List, &id, "/blast/at_risk"),
        ],
        &[],
    ));
    if facts
        .blast
        .requests_per_second
        .is_some_and(|rate| rate > 0.0)
    {
        said.push(say(
            records,
            "About {} requests per second normally reach the impaired services.",
            &[at(Rule::About, &id, "/blast/requests_per_second")],
            &[],
        ));
    }
    for traffic in &facts.traffic {
        said.extend(requests(records, traffic));
    }
    for log in facts.logs.iter().take(3) {
        said.push(say(
            records,
            "Error lines of this kind kept from {}: {}; for example {}",
            &[
                text(&log.record_id, "/log/service"),
                number(&log.record_id, "/log/count"),
                code(&log.record_id, "/log/text"),
            ],
            &[],
        ));
    }
    let held = facts.holdings_id();
    let counted = facts
        .traffic
        .iter()
        .any(|traffic| !traffic.rates.is_empty());
    let unknown = if counted {
        "Affected users and cost were not measured: unknown."
    } else {
        "Failed requests, affected users and cost were not measured: unknown."
    };
    said.push(say(records, unknown, &[], &[&held]));
    said.into_iter().flatten().collect()
}

fn farthest(facts: &Facts, records: &Records, peak: &Peak) -> Option<Statement> {
    let id = &peak.record_id;
    let reading = say(
        records,
        "{} of {}: farthest recorded reading {} at {}, baseline {}.",
        &[
            code(id, "/peak/metric"),
            text(id, "/peak/service"),
            number(id, "/peak/value"),
            time(id, "/peak/at_ms"),
            number(id, "/peak/baseline"),
        ],
        &[],
    )?;
    let anomaly = facts
        .anomalies
        .iter()
        .find(|anomaly| anomaly.service == peak.service && anomaly.trigger_metric == peak.metric);
    let span = anomaly.and_then(|anomaly| out_of_range(facts, records, anomaly));
    Some(joined([Some(reading), span].into_iter().flatten()))
}

/// How long a series was out of range, as far as that is recorded.
fn out_of_range(facts: &Facts, records: &Records, anomaly: &GroupedAnomaly) -> Option<Statement> {
    let id = anomaly.anomaly_id.to_string();
    let onset = (id.as_str(), "/anomaly/onset_ms");
    if anomaly.cleared_at_ms.is_some() {
        let span = between(onset, (&id, "/anomaly/cleared_at_ms"));
        return say(records, " It was out of range for {}.", &[span], &[]);
    }
    let readings = facts.resolved.settling_readings.iter().enumerate();
    let settled = readings
        .filter(|(_, reading)| {
            reading.service == anomaly.service && reading.metric_name == anomaly.trigger_metric
        })
        .min_by_key(|(_, reading)| reading.at_ms);
    if let Some((index, _)) = settled {
        let incident = facts.incident_id();
        let path = format!("/settled {index}/at_ms");
        let wants = [time(&incident, &path), between(onset, (&incident, &path))];
        let words =
            " The first of the normal readings that settled it came at {}, {} after its onset.";
        return say(records, words, &wants, &[]);
    }
    let words = " It left its range at {}; when it returned is not recorded with the incident.";
    say(records, words, &[time(onset.0, onset.1)], &[])
}

/// Failed requests and the error budget of one service.
fn requests(records: &Records, traffic: &Traffic) -> Vec<Option<Statement>> {
    let Some((first, last)) = traffic.shares.first().zip(traffic.shares.last()) else {
        return Vec::new();
    };
    let shares = || traffic.shares.iter().map(place);
    let span = |wants: &mut Vec<Want>| {
        wants.extend([
            over(Rule::Count, shares()),
            time(&first.record_id, "/reading/at_ms"),
            time(&last.record_id, "/reading/at_ms"),
        ]);
    };
    let service = text(&first.record_id, "/reading/service");
    let mut said = Vec::new();
    if !traffic.rates.is_empty() {
        let pairs = traffic.rates.iter().zip(&traffic.shares);
        let pairs = pairs.flat_map(|(rate, share)| [place(rate), place(share)]);
        let mut wants = vec![service.clone(), over(Rule::FailedRequests, pairs)];
        span(&mut wants);
        said.push(say(
            records,
            "Failed requests to {}: {}, by rate and error share over {} recorded readings from {} to {}.",
            &wants,
            &[],
        ));
    }
    let down = [service.clone(), over(Rule::DownMinutes, shares())];
    let words = "Downtime of {}, by readings with at least half of its requests failing: {} min.";
    said.push(say(records, words, &down, &[]));
    let entry = format!("catalogue/{}", traffic.service);
    let mut wants = vec![service, over(Rule::BurntMinutes, shares())];
    span(&mut wants);
    wants.extend([
        number(&entry, "/entry/budget_minutes"),
        number(&entry, "/entry/objective_percent"),
    ]);
    let budget = "Minutes of the SLO of {} that burnt: {}, by the error share over {} recorded readings from {} to {}; its whole window holds {} at an objective of {} %.";
    said.push(say(records, budget, &wants, &[]));
    said
}

fn place(reading: &Reading) -> (String, &'static str) {
    (reading.record_id.clone(), "/reading")
}
