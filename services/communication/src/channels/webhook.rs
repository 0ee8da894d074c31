//! Webhooks: a signed JSON document, in the form that the receiver reads
//! ([`super::shapes`]).

use super::board::Post;
use super::book::Format;
use super::http::Http;
use super::{Tried, shapes};
use midwatch_clients::signature;
use midwatch_runtime::agent::JobError;
use midwatch_runtime::clock;

#[derive(Debug)]
pub(super) struct Webhook {
    pub url: String,
    pub secret: Option<String>,
    pub format: Format,
}

impl Webhook {
    /// A receiver of ours drops repeats by their key. Chats know no key, so what
    /// they may have taken already goes out once more with a mark: a double is
    /// better than an alarm that nobody saw.
    pub(super) async fn deliver(
        &self,
        http: &Http,
        post: &Post,
        tried: Tried,
    ) -> Result<String, JobError> {
        let is_edit = post.is_edit() && post.board.list.is_none();
        if is_edit && self.format != Format::Midwatch {
            return Ok("nothing to say".to_owned());
        }
        let document = match self.format {
            Format::Midwatch => shapes::document(post, self.format),
            chat => shapes::document(&post.marked(tried), chat),
        };
        let body =
            serde_json::to_vec(&document).map_err(|error| JobError::Permanent(error.into()))?;
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
}
