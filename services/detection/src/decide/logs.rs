//! What a log line is part of: a keyword rule first, then its template, and
//! for an ERROR that is part of neither the count of errors.

use crate::decide::occurrences::{Quote, Sign};
use crate::decide::state::{Environment, Field, ServiceRules};
use crate::decide::templates::{Line, Times};
use crate::decide::{At, Detector, Effect, emit, rules};
use midwatch_events::raw::{LogLevel, RawLog};
use std::collections::BTreeSet;

impl Detector {
    /// Judges a line of INFO or worse of a service that is known by now.
    pub(super) fn judge_log(
        &self,
        environment: &mut Environment,
        changed: &mut BTreeSet<Field>,
        at: At,
        log: &RawLog,
        effects: &mut Vec<Effect>,
    ) {
        let silence_ms = environment.clock.silence_ms();
        let Some(service) = environment.rules.get_mut(&log.service) else {
            return;
        };
        service.learning.hear(silence_ms);
        let sign = match rules::keyword(log.level, &log.message) {
            Some(finding) => Sign::Matched(finding),
            None if log.level < LogLevel::Warn => return,
            None => {
                let field = Field::Templates(log.environment.clone(), log.service.clone());
                changed.insert(field);
                match self.sign_of(service, at, log, silence_ms) {
                    Some(sign) => sign,
                    None => return,
                }
            }
        };
        let quote = Quote {
            at_ms: log.timestamp_ms,
            text: rules::head(&log.message, rules::QUOTED).to_owned(),
            event_id: at.event_id,
        };
        let name = sign.finding().name;
        let origin = self.origin(&log.environment, &log.service, name);
        let known = service.rules.entry(name.to_owned()).or_default();
        if let Some(sketch) = known.sign(&origin, sign, quote, silence_ms) {
            emit(effects, sketch, &log.environment, &log.service, at.wall_ms);
        }
    }

    /// What a line of WARN or worse without a keyword is a sign of.
    fn sign_of(
        &self,
        service: &mut ServiceRules,
        at: At,
        log: &RawLog,
        silence_ms: i64,
    ) -> Option<Sign> {
        let line = Line {
            message: &log.message,
            severe: log.level >= LogLevel::Error,
            at_ms: log.timestamp_ms,
            event_id: at.event_id,
        };
        let times = Times {
            silence_ms,
            quiet_ms: self.tuning.log_dedup_ms,
            relearn_ms: self.tuning.relearn_ms,
        };
        let templates = service.templates.get_or_insert_default();
        let sign = templates.judge(&line, &times, service.learning);
        if sign.is_some() || !line.severe {
            return sign;
        }
        service.errors.sign(line.at_ms, line.event_id)
    }
}
