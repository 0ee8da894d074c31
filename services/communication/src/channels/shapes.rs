//! The documents that webhooks expect, each within the limits that its product
//! publishes. Names and log lines are data: nothing in them becomes a mention, a
//! link or emphasis.

use super::board::{Post, cut};
use super::book::Format;
use serde_json::{Value, json};

/// Bytes of a document for Teams, which refuses messages beyond 28 KB.
const TEAMS: usize = 27_000;
/// Characters of a fact's value there.
const FACT: usize = 1_000;
/// Discord: characters of the message, of an embed's title and description.
const CONTENT: usize = 2_000;
const TITLE: usize = 256;
const DESCRIPTION: usize = 4_096;
/// Mattermost: characters of a message (of 16 383) and of an attachment's text.
const MESSAGE: usize = 4_000;
const ATTACHMENT: usize = 7_000;

/// The document of a message.
pub(super) fn document(post: &Post, format: Format) -> Value {
    match format {
        Format::Midwatch => {
            let mut document = json!({
                "schema_version": 1,
                "message_id": post.notification.message_id,
                "incident_id": post.notification.incident_id,
                "stage": post.notification.stage,
                "signal": post.signal,
                "headline": post.headline,
                "detail": post.detail,
                "board": post.board,
            });
            if let Some(take) = &post.take {
                document["acknowledge_url"] = json!(take);
            }
            document
        }
        Format::Teams => {
            let limits = [4_000, 1_500, 300];
            let documents = limits.map(|limit| teams(post, limit));
            let fits = |one: &Value| one.to_string().len() <= TEAMS;
            let [whole, shorter, shortest] = documents;
            [whole, shorter].into_iter().find(fits).unwrap_or(shortest)
        }
        Format::Discord => discord(post),
        Format::Mattermost => mattermost(post),
    }
}

/// A message with an Adaptive Card, as workflows of Teams take it.
fn teams(post: &Post, limit: usize) -> Value {
    let board = &post.board;
    let text = |text: &str, weight: &str| json!({ "type": "TextBlock", "wrap": true, "weight": weight, "text": markdown(text) });
    let facts: Vec<Value> = board
        .lines()
        .into_iter()
        .map(|(label, value)| {
            json!({ "title": label, "value": markdown(&cut(value, FACT.min(limit))) })
        })
        .collect();
    let mut body = vec![text(&board.headline(), "Bolder")];
    if !facts.is_empty() {
        body.push(json!({ "type": "FactSet", "facts": facts }));
    }
    let said = format!("{}\n{}", post.headline, post.detail);
    body.push(text(&cut(said.trim(), limit), "Default"));
    let open =
        |title: &str, url: &str| json!({ "type": "Action.OpenUrl", "title": title, "url": url });
    let take = post.take.iter().map(|url| open("Acknowledge", url));
    let actions: Vec<Value> = take
        .chain([open("Open the incident", &board.link)])
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
                "actions": actions,
            },
        }],
    })
}

/// What Discord's webhooks execute.
fn discord(post: &Post) -> Value {
    let board = &post.board;
    let said = format!(
        "{}\n{}",
        safely(&board.headline(), 600),
        safely(&post.headline, 600)
    );
    let link = taking(post);
    let room = CONTENT - link.chars().count().min(CONTENT);
    json!({
        "content": format!("{}{link}", cut(&said, room)),
        // Nobody is mentioned, whatever a name says.
        "allowed_mentions": { "parse": [] },
        "embeds": [{
            "title": safely(&board.title, TITLE),
            "url": board.link,
            "description": safely(&rows(post), DESCRIPTION),
        }],
    })
}

/// What Mattermost's incoming webhooks take.
fn mattermost(post: &Post) -> Value {
    let board = &post.board;
    let said = format!("{}\n{}", board.headline(), post.headline);
    json!({
        "text": format!("{}{}", safely(&said, MESSAGE), taking(post)),
        "attachments": [{
            "fallback": safely(&board.headline(), TITLE),
            "title": safely(&board.title, TITLE),
            "title_link": board.link,
            "text": safely(&rows(post), ATTACHMENT),
        }],
    })
}

/// The board and what happened.
fn rows(post: &Post) -> String {
    let lines = post.board.lines().into_iter();
    let mut rows: Vec<String> = lines
        .map(|(label, text)| format!("{label}: {text}"))
        .collect();
    rows.push(post.detail.clone());
    rows.join("\n")
}

/// The link under which somebody takes the incident; ours, so it stays one.
fn taking(post: &Post) -> String {
    let link = post.take.as_ref();
    link.map_or_else(String::new, |url| format!("\n[Acknowledge]({url})"))
}

/// As [`markdown`], at most `limit` characters and none of them half escaped.
fn safely(text: &str, limit: usize) -> String {
    let mut kept = text.chars().count().min(limit);
    loop {
        let safe = markdown(&cut(text, kept));
        let over = safe.chars().count().saturating_sub(limit);
        if over == 0 {
            return safe;
        }
        // Each character that goes takes at least one with it.
        kept = kept.saturating_sub(over.div_ceil(2).max(1));
    }
}

/// Text that Markdown shows as it is, and that mentions nobody and leads
/// nowhere: a word joiner (U+2060), which nobody sees, parts what would.
fn markdown(text: &str) -> String {
    const JOINER: char = '\u{2060}';
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\`*_~|<>[]#!".contains(letter) {
            safe.push('\\');
        }
        // Chats look for addresses in what Markdown leaves.
        if letter == '/' && safe.ends_with(":") {
            safe.push(JOINER);
        }
        safe.push(letter);
        let end = safe.get(safe.len().saturating_sub(4)..);
        let is_www = || end.is_some_and(|end| end.eq_ignore_ascii_case("www."));
        if letter == '@' || is_www() {
            safe.push(JOINER);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_mentions_nobody_and_leads_nowhere() {
        for (text, safe) in [
            ("<@U1> *a* [x](y)", "\\<@\u{2060}U1\\> \\*a\\* \\[x\\](y)"),
            ("@everyone", "@\u{2060}everyone"),
            ("https://evil.example", "https:\u{2060}//evil.example"),
            ("www.evil.example", "www.\u{2060}evil.example"),
            ("a/b: c", "a/b: c"),
        ] {
            assert_eq!(markdown(text), safe);
        }
    }

    #[test]
    fn what_is_cut_is_whole_and_within_its_limit() {
        for limit in [2, 3, 10, 256] {
            for text in ["@".repeat(300), "a*".repeat(200), "ä".repeat(500)] {
                let safe = safely(&text, limit);
                assert!(safe.chars().count() <= limit, "{limit}: {safe}");
                assert!(safe.ends_with('…'), "{safe}");
                assert!(!safe.ends_with("\\…"), "{safe}");
            }
        }
        assert_eq!(safely("short", 10), "short");
    }
}
