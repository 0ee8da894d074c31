//! Webhooks: a signed JSON document, in the form that the receiver reads.

use super::board::{Post, cut};
use super::book::Format;
use super::http::Http;
use midwatch_clients::signature;
use midwatch_runtime::agent::JobError;
use midwatch_runtime::clock;
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Webhook {
    pub url: String,
    pub secret: Option<String>,
    pub format: Format,
}

impl Webhook {
    pub(super) async fn deliver(&self, http: &Http, post: &Post) -> Result<String, JobError> {
        let is_edit = post.is_edit() && post.board.list.is_none();
        if is_edit && self.format != Format::Midwatch {
            return Ok("nothing to say".to_owned());
        }
        let body = serde_json::to_vec(&document(post, self.format))
            .map_err(|error| JobError::Permanent(error.into()))?;
        let mut request = http
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            // The same for each try, so that a receiver can drop repeats.
            .header("idempotency-key", &post.notification.message_id);
        if let Some(secret) = &self.secret {
            let signed = signed(secret, clock::now_ms() / 1000, &body);
            request = request.header("x-midwatch-signature", signed);
        }
        http.send(request.body(body)).await?;
        Ok("accepted".to_owned())
    }
}

/// `t=<seconds>,v1=<HMAC-SHA256 of "seconds.body" in hexadecimal digits>`: the
/// time is signed as well, so that a receiver can refuse old messages.
fn signed(secret: &str, seconds: i64, body: &[u8]) -> String {
    let code = signature::of(secret, &seconds.to_string(), body);
    format!("t={seconds},v1={code}")
}

fn document(post: &Post, format: Format) -> Value {
    let board = &post.board;
    let lines: Vec<String> = board
        .lines()
        .into_iter()
        .map(|(label, text)| format!("{label}: {text}"))
        .collect();
    match format {
        Format::Midwatch => json!({
            "schema_version": 1,
            "message_id": post.notification.message_id,
            "incident_id": post.notification.incident_id,
            "stage": post.notification.stage,
            "signal": post.signal,
            "headline": post.headline,
            "detail": post.detail,
            "board": board,
        }),
        Format::Teams => {
            let text = |text: &str, weight: &str| {
                json!({
                    "type": "TextBlock", "wrap": true, "weight": weight, "text": markdown(text),
                })
            };
            let facts: Vec<Value> = board
                .lines()
                .into_iter()
                .map(|(label, value)| json!({ "title": label, "value": markdown(value) }))
                .collect();
            json!({
                "type": "message",
                "attachments": [{
                    "contentType": "application/vnd.microsoft.card.adaptive",
                    "content": {
                        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                        "type": "AdaptiveCard",
                        "version": "1.4",
                        "body": [
                            text(&board.headline(), "Bolder"),
                            { "type": "FactSet", "facts": facts },
                            text(&cut(&format!("{}\n{}", post.headline, post.detail), 4_000), "Default"),
                        ],
                        "actions": [
                            { "type": "Action.OpenUrl", "title": "Open the incident", "url": board.link },
                        ],
                    },
                }],
            })
        }
        Format::Discord => json!({
            "content": cut(&format!("{}\n{}", markdown(&board.headline()), markdown(&post.headline)), 2_000),
            // Nobody is mentioned, whatever a name says.
            "allowed_mentions": { "parse": [] },
            "embeds": [{
                "title": cut(&markdown(&board.title), 256),
                "url": board.link,
                "description": cut(&markdown(&format!("{}\n{}", lines.join("\n"), post.detail)), 4_096),
            }],
        }),
        Format::Mattermost => json!({
            "text": format!("{}\n{}", markdown(&board.headline()), markdown(&post.headline)),
            "attachments": [{
                "fallback": board.headline(),
                "title": markdown(&board.title),
                "title_link": board.link,
                "text": cut(&markdown(&format!("{}\n{}", lines.join("\n"), post.detail)), 7_000),
            }],
        }),
    }
}

/// Text that Markdown shows as it is, and that mentions nobody.
fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\`*_~|<>[]#@!".contains(letter) {
            safe.push('\\');
        }
        safe.push(letter);
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_other_programs_compute() {
        // printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let code = "49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
        assert_eq!(
            signed("secret", 1_700_000_000, br#"{"a":1}"#),
            format!("t=1700000000,v1={code}")
        );
    }

    #[test]
    fn markdown_mentions_nobody() {
        assert_eq!(
            markdown("<@U1> *a* [x](y)"),
            "\\<\\@U1\\> \\*a\\* \\[x\\](y)"
        );
    }
}
