//! One reading of every process of a stack: does it serve, how far behind is
//! it, what memory does it cost.

use tokio::task::JoinSet;

use crate::probe::{Probe, http};
use crate::proc;

/// A process to look at.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its id, or `None` while it does not run.
    pub pid: Option<i32>,
    /// The question whose answer means that it serves.
    pub probe: Probe,
    /// Address of its Prometheus metrics, if it has any.
    pub metrics: Option<String>,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What is wrong, in words; `None` when it serves.
    pub complaint: Option<String>,
    /// Messages that its consumers have still to read, where it says so.
    pub lag: Option<u64>,
    /// Proportional set size of it and its children, in bytes.
    pub memory: u64,
}

/// Looks at all of them at once; the readings come in the same order.
pub async fn read_all(watched: &[Watched]) -> Vec<Reading> {
    let mut readings = vec![Reading::default(); watched.len()];
    let mut asked = JoinSet::new();
    for (index, item) in watched.iter().cloned().enumerate() {
        asked.spawn(async move { (index, ask(item).await) });
    }
    while let Some(answer) = asked.join_next().await {
        // A reading that was cut off stays empty until the next round.
        if let Ok((index, reading)) = answer {
            readings[index] = reading;
        }
    }
    let pids: Vec<i32> = watched.iter().map(|item| item.pid.unwrap_or(0)).collect();
    for (reading, memory) in readings.iter_mut().zip(proc::memory_of_trees(&pids)) {
        reading.memory = memory;
    }
    readings
}

async fn ask(watched: Watched) -> Reading {
    if watched.pid.is_none() {
        return Reading {
            complaint: Some("not running".to_owned()),
            ..Reading::default()
        };
    }
    let complaint = watched.probe.check().await.err();
    let lag = match watched.metrics {
        Some(address) if complaint.is_none() => lag(&address).await,
        _ => None,
    };
    Reading {
        complaint,
        lag,
        memory: 0,
    }
}

async fn lag(address: &str) -> Option<u64> {
    let response = http().get(address).send().await.ok()?;
    sum_of_lag(&response.text().await.ok()?)
}

/// Sum of the gauge `midwatch_consumer_lag` over its labels in a Prometheus
/// text, or `None` where it does not occur.
fn sum_of_lag(text: &str) -> Option<u64> {
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("midwatch_consumer_lag") else {
            continue;
        };
        if !rest.starts_with(['{', ' ']) {
            continue;
        }
        let value = rest
            .rsplit(' ')
            .next()
            .and_then(|word| word.parse::<f64>().ok());
        // A lag that is not known yet is exported as a negative number.
        let Some(value) = value.filter(|value| *value >= 0.0) else {
            continue;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a lag is a whole number far below 2^53, and not negative"
        )]
        let messages = value as u64;
        sum = Some(sum.unwrap_or(0) + messages);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_summed_over_partitions_and_unknown_ones_are_left_out() {
        let text = "# TYPE midwatch_consumer_lag gauge\n\
                    midwatch_consumer_lag{topic=\"raw metrics\",partition=\"0\"} 12\n\
                    midwatch_consumer_lag{topic=\"raw.logs\",partition=\"1\"} 3.0\n\
                    midwatch_consumer_lag{topic=\"raw.logs\",partition=\"2\"} -1\n\
                    midwatch_consumer_lag_total 99\n";
        assert_eq!(sum_of_lag(text), Some(15));
        assert_eq!(sum_of_lag("up 1\n"), None);
    }
}
