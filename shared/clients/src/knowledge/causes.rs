//! Causes that a runbook knows beyond the anomaly types, each with the sign by
//! which it is told.

use midwatch_events::anomaly::AnomalyType;
use midwatch_events::cause::is_name;
use serde::{Deserialize, Serialize};

/// A sign with fewer characters stands in too many lines to tell anything.
const SHORTEST_SIGN: usize = 6;
const LONGEST_SIGN: usize = 80;

/// A cause of a runbook: a case of an anomaly type that shows a certain sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCause {
    /// In capitals, `CERTIFICATE_EXPIRED`, and no anomaly type.
    pub name: String,
    /// What the investigator calls it that does not know the sign.
    pub of: AnomalyType,
    pub sign: CauseSign,
}

/// What must have been recorded of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseSign {
    /// A log line with these words, whatever their case.
    Log(String),
    /// A series of that metric that changed.
    Metric(String),
    /// A Kubernetes event with these words, whatever their case.
    Kubernetes(String),
}

impl CauseSign {
    /// What kind of record it is, and the words in it.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            CauseSign::Log(words) => ("log", words),
            CauseSign::Metric(words) => ("metric", words),
            CauseSign::Kubernetes(words) => ("kubernetes", words),
        }
    }

    /// Whether its words are long enough to tell anything and short enough to be
    /// some.
    #[must_use]
    pub fn is_telling(&self) -> bool {
        let length = self.parts().1.trim().chars().count();
        (SHORTEST_SIGN..=LONGEST_SIGN).contains(&length)
    }
}

impl KnownCause {
    /// Reads `CERTIFICATE_EXPIRED of ERROR_RATE_SPIKE when log certificate has
    /// expired`.
    ///
    /// # Errors
    /// Says what is wrong and how it is written.
    pub fn parse(text: &str) -> Result<KnownCause, String> {
        const FORM: &str = "write NAME of ANOMALY_TYPE when log|metric|kubernetes WORDS";
        let (name, rest) = text
            .split_once(" of ")
            .ok_or_else(|| format!("has {text:?}; {FORM}"))?;
        let (of, sign) = rest
            .split_once(" when ")
            .ok_or_else(|| format!("has {text:?}; {FORM}"))?;
        let (kind, words) = sign.trim().split_once(' ').unwrap_or((sign.trim(), ""));
        let words = words.trim().to_owned();
        let sign = match kind {
            "log" => CauseSign::Log(words),
            "metric" => CauseSign::Metric(words),
            "kubernetes" => CauseSign::Kubernetes(words),
            other => return Err(format!("has the sign {other:?}; {FORM}")),
        };
        if !sign.is_telling() {
            return Err(format!(
                "has the sign {:?}; use {SHORTEST_SIGN} to {LONGEST_SIGN} characters",
                sign.parts().1
            ));
        }
        let name = name.trim();
        if !is_name(name) || AnomalyType::parse(name).is_some() {
            return Err(format!(
                "has the name {name:?}; use capitals, and none of the anomaly types"
            ));
        }
        let of = AnomalyType::parse(of.trim())
            .ok_or_else(|| format!("has {:?}, which is no anomaly type", of.trim()))?;
        Ok(KnownCause {
            name: name.to_owned(),
            of,
            sign,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_read_with_its_sign_and_a_bad_one_says_why() {
        let text = "CERTIFICATE_EXPIRED of ERROR_RATE_SPIKE when log certificate has expired";
        assert_eq!(
            KnownCause::parse(text),
            Ok(KnownCause {
                name: "CERTIFICATE_EXPIRED".to_owned(),
                of: AnomalyType::ErrorRateSpike,
                sign: CauseSign::Log("certificate has expired".to_owned()),
            })
        );
        for (bad, told) in [
            ("CERTIFICATE_EXPIRED", "write NAME of"),
            ("A_B of ERROR_RATE_SPIKE", "write NAME of"),
            ("A_B of NOTHING when log has expired", "no anomaly type"),
            (
                "a b of ERROR_RATE_SPIKE when log has expired",
                "use capitals",
            ),
            (
                "MEMORY_LEAK of ERROR_RATE_SPIKE when log has expired",
                "none of",
            ),
            (
                "A_B of ERROR_RATE_SPIKE when hearsay has expired",
                "hearsay",
            ),
            ("A_B of ERROR_RATE_SPIKE when log err", "6 to 80"),
        ] {
            let error = KnownCause::parse(bad).expect_err(bad);
            assert!(error.contains(told), "{bad}: {error}");
        }
    }
}
