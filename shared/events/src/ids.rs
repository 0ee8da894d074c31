//! Derived identifiers: a name for a thing is computed from what caused it, so
//! that a replay, a redelivery or a second replica arrives at the same name.

use std::io::Write as _;
use uuid::Uuid;

/// The namespace of every UUIDv5 that Midwatch derives.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6d69_6477_6174_6368_8000_0000_0000_0001);

/// Derives an id from an ordered list of parts. Parts are length-prefixed, so
/// `["a", "bc"]` and `["ab", "c"]` differ.
#[must_use]
pub fn derive(parts: &[&str]) -> Uuid {
    let size: usize = parts.iter().map(|part| part.len() + NUMBER).sum();
    if size <= SHORT {
        let mut name = [0; SHORT];
        let size = lay_out(parts, &mut name);
        return Uuid::new_v5(&NAMESPACE, &name[..size]);
    }
    let mut name = vec![0; size];
    let size = lay_out(parts, &mut name);
    Uuid::new_v5(&NAMESPACE, &name[..size])
}

/// Digits of a number at most, and what ends it.
const NUMBER: usize = 21;
/// Names up to this length are put together without an allocation: each sample
/// of a producer that gives no ids needs one.
const SHORT: usize = 512;

/// Writes each part behind its length; returns how many bytes that took.
fn lay_out(parts: &[&str], name: &mut [u8]) -> usize {
    let size = name.len();
    let mut rest = name;
    for part in parts {
        write!(rest, "{}:{part}", part.len()).expect("there is room for all parts");
    }
    size - rest.len()
}

/// The id of a record from a producer that gave none: its place in the log,
/// under the epoch of the broker's data.
#[must_use]
pub fn outside_record(epoch: &str, topic: &str, partition: i32, offset: i64) -> Uuid {
    let mut digits = [[0; NUMBER]; 2];
    let [first, second] = &mut digits;
    let partition = decimal(i64::from(partition), first);
    derive(&["record", epoch, topic, partition, decimal(offset, second)])
}

fn decimal(number: i64, digits: &mut [u8; NUMBER]) -> &str {
    let mut rest = &mut digits[..];
    write!(rest, "{number}").expect("there is room for all digits");
    let size = NUMBER - rest.len();
    std::str::from_utf8(&digits[..size]).expect("digits are ASCII")
}

/// The id of the `index`-th event that `agent` emits because of `cause`.
#[must_use]
pub fn effect(cause: Uuid, agent: &str, index: usize) -> Uuid {
    derive(&["effect", &cause.to_string(), agent, &index.to_string()])
}

/// The id of the incident that `anomaly` opens.
#[must_use]
pub fn incident(anomaly: Uuid) -> Uuid {
    derive(&["incident", &anomaly.to_string()])
}

/// The id of the incident that a `declare` command opens, from the command's
/// event id.
#[must_use]
pub fn declared(command: Uuid) -> Uuid {
    incident(derive(&["declared", &command.to_string()]))
}

/// The id of the model call that classifies an anomaly which started at this
/// event time; who groups the anomaly finds the call by it.
#[must_use]
pub fn classification(anomaly: Uuid, detected_at_ms: i64) -> Uuid {
    derive(&[
        "classify",
        &anomaly.to_string(),
        &detected_at_ms.to_string(),
    ])
}

/// The short id that people say aloud: `INC-` and eight hexadecimal digits.
#[must_use]
pub fn short_incident(incident: Uuid) -> String {
    let text = incident.simple().to_string();
    format!("INC-{}", text[..8].to_uppercase())
}

/// The id of a record kept with an incident, for example `metric-1f0c9a7be2`.
/// It is a function of what the record says, so copying twice adds nothing.
#[must_use]
pub fn record(incident: Uuid, kind: &str, parts: &[&str]) -> String {
    let incident = incident.to_string();
    let mut all = vec!["evidence", incident.as_str(), kind];
    all.extend_from_slice(parts);
    let text = derive(&all).simple().to_string();
    format!("{kind}-{}", &text[..12])
}

/// The Message-ID of the mail of `stage` to `recipients` about `incident`,
/// without angle brackets. Derived, so that a repeated delivery carries it too.
#[must_use]
pub fn message_id(incident: Uuid, stage: &str, recipients: &[String]) -> String {
    let mut sorted = recipients.to_vec();
    sorted.sort();
    let id = derive(&["mail", &incident.to_string(), stage, &sorted.join(",")]);
    format!("{stage}.{}@midwatch", id.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(derive(&["a", "bc"]), derive(&["ab", "c"]));
        assert_eq!(derive(&["a", "bc"]), derive(&["a", "bc"]));
    }

    #[test]
    fn the_epoch_tells_two_logs_apart() {
        assert_ne!(
            outside_record("one", "raw.metrics", 0, 7),
            outside_record("two", "raw.metrics", 0, 7)
        );
    }

    #[test]
    fn a_short_id_is_inc_and_eight_upper_case_digits() {
        let short = short_incident(Uuid::from_u128(0xa1b2_c3d4_0000_0000_0000_0000_0000_0000));
        assert_eq!(short, "INC-A1B2C3D4");
    }

    #[test]
    fn the_order_of_recipients_does_not_change_a_message_id() {
        let incident = derive(&["x"]);
        assert_eq!(
            message_id(incident, "opened", &["a".into(), "b".into()]),
            message_id(incident, "opened", &["b".into(), "a".into()])
        );
    }
}
