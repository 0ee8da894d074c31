//! Telegram: one message per incident that is edited, and answers to it. The
//! text is plain, so nothing in it can become markup.

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
            let edit = json!({ "chat_id": self.chat, "message_id": id, "text": text(post),
                "link_preview_options": { "is_disabled": true } });
            match self.call(http, "editMessageText", &edit).await {
                Ok(_) => {}
                // The same text again is refused, and so is an edit of a
                // message that somebody deleted.
                Err(JobError::Permanent(error)) => tracing::info!("the board stays: {error:#}"),
                Err(error) => return Err(error),
            }
        } else {
            let new = json!({ "chat_id": self.chat, "text": text(post),
                "link_preview_options": { "is_disabled": true } });
            let answer = self.call(http, "sendMessage", &new).await?;
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

    async fn call(&self, http: &Http, method: &str, body: &Value) -> Result<Value, JobError> {
        let url = format!("{}/bot{}/{method}", self.api, self.token);
        http.send(http.client.post(url).json(body)).await
    }
}

fn away(error: midwatch_clients::postgres::PostgresError) -> JobError {
    JobError::Transient(error.into())
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
