//! A message with all its bytes: read from its place, and sent once more.

use super::reader::{Seen, sweep};
use super::{BrokerReader, KafkaError};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use std::time::{Duration, Instant};

/// How long reading one message may take. It may have 8 MB.
const READ: Duration = Duration::from_secs(8);

/// A message as it lies on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    /// In order, with their very bytes.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The record's time, epoch milliseconds; `None` where it has none.
    pub timestamp_ms: Option<i64>,
}

impl Original {
    /// The value of the first header of this name, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(found.1.as_deref()?).ok()
    }
}

impl BrokerReader {
    /// The message at `offset` of a partition of `topic` (its name on the
    /// broker); `None` where there is none, or no more.
    ///
    /// # Errors
    /// The broker gave no answer within seconds.
    pub async fn original(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Option<Original>, KafkaError> {
        if offset < 0 || partition < 0 {
            return Ok(None);
        }
        let topic = topic.to_owned();
        self.ask(move |inner, consumer| {
            // Of a place that there is not the broker may say nothing until the
            // time is up, or send all that lies before it.
            let place = (topic.clone(), partition);
            if !inner.places(consumer, Some(&topic))?.contains(&place) {
                return Ok(None);
            }
            let logs = inner.logs(consumer, std::slice::from_ref(&place), false)?;
            let log = logs.get(&topic).and_then(|logs| logs.first());
            let low = log.and_then(|log| log.low);
            let end = log.and_then(|log| log.end);
            if low.is_some_and(|low| offset < low) || end.is_some_and(|end| offset >= end) {
                return Ok(None);
            }
            let mut found = None;
            let starts = [(place, offset)];
            let done = sweep(consumer, &starts, Instant::now() + READ, |_, seen| {
                if let Seen::Message(message) = seen
                    && message.offset() == offset
                {
                    found = Some(original(message));
                }
                true
            })?;
            if done {
                Ok(found)
            } else {
                Err(super::reader::timed_out("reading one message"))
            }
        })
        .await
    }
}

fn original(message: &BorrowedMessage<'_>) -> Original {
    let headers = message.headers().map(|headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    Original {
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().unwrap_or_default().to_vec(),
        headers: headers.unwrap_or_default(),
        timestamp_ms: message.timestamp().to_millis(),
    }
}
