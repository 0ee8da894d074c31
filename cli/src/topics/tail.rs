//! `midwatch topics tail`: messages of one topic, and those to come.

use super::away;
use crate::failure::Failure;
use crate::output::{self, Paint, Style};
use midwatch_clients::kafka::{BrokerReader, Followed, Page, Record, Start};
use std::collections::BTreeMap;

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// With or without the configured prefix.
    pub topic: String,
    /// How many of the newest messages, at most 500.
    pub count: usize,
    pub partition: Option<i32>,
    pub follow: bool,
    /// One JSON object a line.
    pub json: bool,
}

/// Writes the newest messages, the oldest of them first, and goes on with what
/// comes where that is wanted.
///
/// # Errors
/// There is no such topic or partition, the broker does not answer, or the
/// output cannot be written.
pub async fn tail(reader: &BrokerReader, options: &Options, paint: Paint) -> Result<(), Failure> {
    let prefix = &reader.settings().topic_prefix;
    let topic = if options.topic.starts_with(prefix.as_str()) {
        options.topic.clone()
    } else {
        reader.settings().topic(&options.topic)
    };
    // Followed first, so that nothing between the two is lost.
    let mut follow = None;
    if options.follow {
        let begun = reader.follow(&topic, options.partition).await;
        let begun = begun.map_err(|error| away(reader, &error))?;
        let Some(begun) = begun else {
            return Err(no_topic(reader, &topic, options.partition).await);
        };
        follow = Some(begun);
    }
    if options.count > 0 {
        let page = reader
            .browse(&topic, options.partition, Start::Newest, options.count)
            .await
            .map_err(|error| away(reader, &error))?;
        let Some(page) = page else {
            return Err(no_topic(reader, &topic, options.partition).await);
        };
        if let Some(partition) = options.partition
            && page.logs.iter().all(|log| log.partition != partition)
        {
            return Err(no_topic(reader, &topic, options.partition).await);
        }
        show_page(
            &page,
            follow.as_ref().map(|follow| &follow.from),
            options.json,
            paint,
        )?;
    }
    let Some(mut follow) = follow else {
        return Ok(());
    };
    loop {
        match follow.receiver.recv().await {
            Some(Ok(Followed::Record(record))) => show(&record, options.json, paint)?,
            Some(Ok(Followed::Dropped(count))) => {
                // On the error stream, so that a program's lines stay lines.
                eprintln!("midwatch: {count} messages came faster than they were read; left out");
            }
            Some(Err(error)) => {
                let mend = "look with `midwatch doctor`, then begin again";
                return Err(Failure::new(
                    format!("following {topic} ended: {error}"),
                    mend,
                ));
            }
            None => {
                let what = format!("following {topic} ended: the broker is gone");
                return Err(Failure::new(
                    what,
                    "look with `midwatch doctor`, then begin again",
                ));
            }
        }
    }
}

/// Writes a page, the oldest message first, without what will be followed.
fn show_page(
    page: &Page,
    followed_from: Option<&BTreeMap<i32, i64>>,
    json: bool,
    paint: Paint,
) -> Result<(), Failure> {
    let comes_again = |record: &Record| {
        followed_from
            .and_then(|from| from.get(&record.partition))
            .is_some_and(|from| record.offset >= *from)
    };
    for record in page.records.iter().rev() {
        if !comes_again(record) {
            show(record, json, paint)?;
        }
    }
    if !page.complete {
        eprintln!(
            "midwatch: the broker did not give everything in time; older messages are left out"
        );
    }
    Ok(())
}

fn show(record: &Record, json: bool, paint: Paint) -> Result<(), Failure> {
    let text = if json {
        let mut line = serde_json::to_string(record).map_err(std::io::Error::from)?;
        line.push('\n');
        line
    } else {
        render(record, paint)
    };
    Ok(output::print(&text)?)
}

/// A message for people: where and when, what it is about, and its payload.
fn render(record: &Record, paint: Paint) -> String {
    let when = record
        .timestamp_ms
        .map_or_else(|| "no time".to_owned(), output::time);
    let key = record.key.as_deref().unwrap_or("no key");
    let place = format!("{}/{}", record.partition, record.offset);
    let head = format!("{place:14}  {when:20}  {}", output::fit(key, 42));
    let mut out = paint.text(Style::Strong, head.trim_end());
    out.push('\n');
    // Why a dead letter is one.
    for (name, value) in &record.headers {
        if let Some(name) = name.strip_prefix("midwatch_") {
            output::hang(&mut out, &format!("  {name}"), 20, value);
        }
    }
    output::hang(&mut out, "", 2, &record.payload);
    if record.truncated {
        out.push_str(&format!("  … {} bytes in all\n", record.size));
    }
    out
}

/// There is no such topic, or no such partition of it.
async fn no_topic(reader: &BrokerReader, topic: &str, partition: Option<i32>) -> Failure {
    let topics = match reader.topics().await {
        Ok(topics) => topics,
        Err(error) => return away(reader, &error),
    };
    if let (Some(partitions), Some(partition)) = (topics.get(topic), partition) {
        return Failure::new(
            format!("{topic} has no partition {partition}"),
            format!(
                "choose one from 0 to {}",
                partitions.len().saturating_sub(1)
            ),
        );
    }
    let meant = crate::doctor::nearest(topic, topics.keys().map(String::as_str));
    Failure::new(
        format!("the broker has no topic {topic}"),
        meant.map_or_else(
            || "`midwatch topics` lists them; midwatch-init creates Midwatch's".to_owned(),
            |meant| format!("did you mean {meant}? `midwatch topics` lists all"),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_fits_eighty_columns_and_obeys_nobody() {
        let record = Record {
            topic: "raw.logs.dlq".to_owned(),
            partition: 2,
            offset: 1_234_567,
            timestamp_ms: Some(1_795_316_645_000),
            key: Some("payment\u{1b}[2Jservice".to_owned()),
            headers: vec![
                ("ce_id".to_owned(), "x".to_owned()),
                (
                    "midwatch_error".to_owned(),
                    "the field timestamp_ms is missing, and without it nobody knows when it was"
                        .to_owned(),
                ),
            ],
            payload: format!(
                "{{\"service\":\"payment-service\",\"message\":\"{}\"}}",
                "long ".repeat(30)
            ),
            is_text: true,
            size: 70_000,
            truncated: true,
        };
        let text = render(&record, Paint::PLAIN);
        assert!(
            text.lines()
                .all(|line| output::columns(line) <= output::WIDTH),
            "{text}"
        );
        insta::assert_snapshot!(text);
    }
}
