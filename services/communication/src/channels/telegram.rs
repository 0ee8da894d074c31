//! Telegram: one message per incident that is edited, and answers to it. The
//! text is plain, so nothing in it can become markup. Until somebody takes the
//! incident, that message has a button where the API hears of a press.

use super::board::{Post, cut};
use super::http::Http;
use midwatch_clients::postgres::channels;
use midwatch_runtime::agent::JobError;
use serde_json::{Value, json};
use sqlx::PgPool;

#[derive(Debug)]
pub(super) struct Telegram {
    pub chat: String,
    pub token: String,
    pub api: String,
    /// Whether a press of a button reaches the API.
    pub buttons: bool,
}

/// Characters of a message that the API takes.
const TEXT: usize = 4_096;

impl Telegram {
    /// The API cannot be asked what was posted, so an answer that was lost on
    /// its way means a second message; this is the one channel besides mail of
    /// which that is true.
    pub(super) async fn deliver(
        &self,
        http: &Http,
        pool: &PgPool,
        post: &Post,
    ) -> Result<String, JobError> {
        let note = &post.notification;
        let known =
            |part: &'static str| channels::posted(pool, note.incident_id, &post.channel, part);
        let root = known("root").await.map_err(away)?;
        let mut root = root.and_then(|id| id.parse::<i64>().ok());
        if let Some(id) = root {
            let mut edit = self.board(post);
            edit["message_id"] = json!(id);
            match self.call(http, "editMessageText", &edit).await {
                Ok(_) => {}
                // The same text again is refused, and so is an edit of a
                // message that somebody deleted.
                Err(JobError::Permanent(error)) => tracing::info!("the board stays: {error:#}"),
                Err(error) => return Err(error),
            }
        } else {
            let answer = self.call(http, "sendMessage", &self.board(post)).await?;
            let id = answer["result"]["message_id"].as_i64().ok_or_else(|| {
                JobError::Permanent(anyhow::anyhow!("its answer has no message_id"))
            })?;
            channels::remember(
                pool,
                note.incident_id,
                &post.channel,
                "root",
                &id.to_string(),
            )
            .await
            .map_err(away)?;
            root = Some(id);
        }
        if post.is_edit() {
            return Ok("edited".to_owned());
        }
        let detail = format!("{}\n{}", post.headline, post.detail);
        let answer = json!({ "chat_id": self.chat, "text": cut(detail.trim(), TEXT),
            "reply_parameters": { "message_id": root, "allow_sending_without_reply": true },
            "link_preview_options": { "is_disabled": true } });
        self.call(http, "sendMessage", &answer).await?;
        Ok("sent".to_owned())
    }

    /// The incident's one message.
    fn board(&self, post: &Post) -> Value {
        let mut message = json!({ "chat_id": self.chat, "text": text(post),
            "link_preview_options": { "is_disabled": true } });
        let keyboard = if self.buttons {
            keyboard(post)
        } else {
            link(post)
        };
        // An edit without a keyboard takes the one away that was there.
        if let Some(keyboard) = keyboard {
            message["reply_markup"] = keyboard;
        }
        message
    }

    async fn call(&self, http: &Http, method: &str, body: &Value) -> Result<Value, JobError> {
        let url = format!("{}/bot{}/{method}", self.api, self.token);
        http.send(http.client.post(url).json(body)).await
    }
}

fn away(error: midwatch_clients::postgres::PostgresError) -> JobError {
    JobError::Transient(error.into())
}

/// The button that is offered as long as nobody has taken the incident. Its
/// data, of which the API takes 64 bytes, comes back with the press.
fn keyboard(post: &Post) -> Option<Value> {
    let buttons = &post.board.buttons;
    let button = buttons.iter().find(|one| one.action == "acknowledge")?;
    let data = format!("{}:{}", button.action, post.notification.incident_id);
    Some(json!({ "inline_keyboard": [[{ "text": button.label, "callback_data": data }]] }))
}

/// A button that opens a page. The API refuses a message with a link that is
/// good on this machine only.
fn link(post: &Post) -> Option<Value> {
    let url = post
        .take
        .as_ref()
        .filter(|url| url.starts_with("https://"))?;
    Some(json!({ "inline_keyboard": [[{ "text": "Acknowledge", "url": url }]] }))
}

fn text(post: &Post) -> String {
    let board = &post.board;
    let mut text = board.headline();
    for (label, line) in board.lines() {
        text.push_str(&format!("\n{label}: {line}"));
    }
    text.push_str(&format!("\n{}", board.link));
    cut(&text, TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::{Board, Button, Signal};
    use midwatch_runtime::effect::Notification;
    use uuid::Uuid;

    fn post(actions: &[&str]) -> Post {
        let button = |action: &&str| Button {
            action: (*action).to_owned(),
            label: format!("Do {action}"),
            value: String::new(),
            is_grave: false,
        };
        Post {
            channel: "phone".to_owned(),
            board: Board {
                buttons: actions.iter().map(button).collect(),
                ..Board::default()
            },
            signal: Signal::Trigger,
            headline: String::new(),
            detail: String::new(),
            notification: Notification {
                incident_id: Uuid::from_u128(u128::MAX),
                message_id: String::new(),
                stage: "opened".to_owned(),
                channel: "phone".to_owned(),
                to: Vec::new(),
                cc: Vec::new(),
                in_reply_to: None,
                subject: String::new(),
                body_html: String::new(),
                body_text: String::new(),
            },
            about: Vec::new(),
            again: false,
            alert: 0,
            link: None,
            take: None,
        }
    }

    fn telegram(buttons: bool) -> Telegram {
        Telegram {
            chat: "-100".to_owned(),
            token: String::new(),
            api: String::new(),
            buttons,
        }
    }

    #[test]
    fn the_button_is_there_until_somebody_takes_the_incident() {
        let open = post(&["acknowledge", "approve"]);
        let message = telegram(true).board(&open);
        let data = "acknowledge:ffffffff-ffff-ffff-ffff-ffffffffffff";
        assert!(data.len() <= 64);
        assert_eq!(
            message["reply_markup"],
            json!({"inline_keyboard": [[{"text": "Do acknowledge", "callback_data": data}]]})
        );
        let taken = telegram(true).board(&post(&["approve"]));
        assert_eq!(taken["reply_markup"], Value::Null);
        let shut = telegram(false).board(&open);
        assert_eq!(shut["reply_markup"], Value::Null);
        let mut linked = open.clone();
        for (url, shown) in [
            ("https://m.example/a?t=x", true),
            ("http://127.0.0.1/a", false),
        ] {
            linked.take = Some(url.to_owned());
            let message = telegram(false).board(&linked);
            let button = &message["reply_markup"]["inline_keyboard"][0][0];
            assert_eq!(button["url"] == url, shown, "{message}");
        }
    }
}
