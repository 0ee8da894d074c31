//! Chats that take a webhook and know no key: Microsoft Teams (a message with an
//! Adaptive Card), Discord (execute webhook) and Mattermost (incoming webhook).
//! Each document is checked against the shape and the limits that its product
//! publishes, and what is hostile in a name must stay text.

use super::peer::{Away, Seen};
use serde_json::Value;
use uuid::Uuid;

/// Every chat, and how it is away in the test.
pub const CHATS: [(&str, Away); 3] = [
    ("teams", Away::LosesAnswers),
    ("discord", Away::Refuses),
    ("mattermost", Away::AsksToWait),
];

/// A service as nobody should call one.
pub const HOSTILE: &str =
    "@everyone <!channel> <@U1> @here **b** [x](http://evil.example) https://evil.example";

/// A message as a person sees it: its incident, its line, whether it is marked
/// as a repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub incident: String,
    pub line: String,
    pub is_repeat: bool,
}

/// Takes a document: checks it and keeps what it shows.
pub fn take(seen: &mut Seen, chat: &'static str, body: &[u8]) {
    let document: Value = match serde_json::from_slice(body) {
        Ok(document) => document,
        Err(error) => return seen.complaints.push(format!("{chat}: {error}")),
    };
    let found = match chat {
        "teams" => teams(&document, body.len()),
        "discord" => discord(&document),
        _ => mattermost(&document),
    };
    let found = found.and_then(|found| harmless(&document, "").map(|()| found));
    match found {
        Ok((link, text)) => {
            let incident = link.rsplit('/').next().unwrap_or_default().to_owned();
            // Two mails' subjects are one line; the board's comes first.
            let line = text.lines().nth(1).unwrap_or_default().to_owned();
            let (is_repeat, line) = match line.strip_prefix("(repeat: this may be here already) ") {
                Some(rest) => (true, rest.to_owned()),
                None => (false, line),
            };
            let shown = Shown {
                incident,
                line,
                is_repeat,
            };
            seen.chats.entry(chat).or_default().push(shown);
        }
        Err(why) => seen.complaints.push(format!("{chat}: {why} in {document}")),
    }
}

type Found = Result<(String, String), String>;

fn text(value: &Value, limit: usize) -> Result<&str, String> {
    let text = value.as_str().ok_or("a text is missing")?;
    let length = text.chars().count();
    if (1..=limit).contains(&length) {
        Ok(text)
    } else {
        Err(format!(
            "a text of {length} characters, where 1 to {limit} are taken"
        ))
    }
}

fn link(value: &Value) -> Result<&str, String> {
    let url = text(value, 2_048)?;
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    is_web.then_some(url).ok_or(format!("{url} is no address"))
}

fn list(value: &Value, limit: usize) -> Result<&Vec<Value>, String> {
    let list = value.as_array().ok_or("a list is missing")?;
    let fits = (1..=limit).contains(&list.len());
    fits.then_some(list)
        .ok_or(format!("{} entries of {limit}", list.len()))
}

/// <https://adaptivecards.io/explorer>; Teams takes 28 KB and shows six actions.
fn teams(document: &Value, bytes: usize) -> Found {
    if bytes > 28 * 1024 {
        return Err(format!("{bytes} bytes"));
    }
    let attachments = list(&document["attachments"], 10)?;
    let card = &attachments[0]["content"];
    let kinds = [
        (&document["type"], "message"),
        (
            &attachments[0]["contentType"],
            "application/vnd.microsoft.card.adaptive",
        ),
        (&card["type"], "AdaptiveCard"),
        (&card["version"], "1.4"),
    ];
    for (kind, wanted) in kinds {
        if kind != wanted {
            return Err(format!("{kind} is not {wanted}"));
        }
    }
    let mut shown = Vec::new();
    for element in list(&card["body"], 50)? {
        match element["type"].as_str() {
            Some("TextBlock") => {
                let weights = ["Default", "Lighter", "Bolder"];
                let weight = element["weight"].as_str().unwrap_or_default();
                if !weights.contains(&weight) || element["wrap"] != true {
                    return Err(format!("{element}"));
                }
                shown.push(text(&element["text"], 16_384)?.to_owned());
            }
            Some("FactSet") => {
                for fact in list(&element["facts"], 20)? {
                    text(&fact["title"], 100)?;
                    text(&fact["value"], 4_096)?;
                }
            }
            other => return Err(format!("an element of type {other:?}")),
        }
    }
    let mut open = None;
    for action in list(&card["actions"], 6)? {
        if action["type"] != "Action.OpenUrl" {
            return Err(format!("{action}"));
        }
        text(&action["title"], 80)?;
        open = Some(link(&action["url"])?.to_owned());
    }
    Ok((open.ok_or("no action")?, shown.join("\n")))
}

/// <https://discord.com/developers/docs/resources/webhook#execute-webhook>, and
/// the limits of embeds there.
fn discord(document: &Value) -> Found {
    let content = text(&document["content"], 2_000)?;
    let nobody = &document["allowed_mentions"]["parse"];
    if nobody.as_array().is_none_or(|all| !all.is_empty()) {
        return Err("mentions are allowed".to_owned());
    }
    let mut length = 0;
    let mut open = None;
    for embed in list(&document["embeds"], 10)? {
        length += text(&embed["title"], 256)?.chars().count();
        length += text(&embed["description"], 4_096)?.chars().count();
        open = Some(link(&embed["url"])?.to_owned());
    }
    if length > 6_000 {
        return Err(format!("embeds of {length} characters"));
    }
    Ok((open.ok_or("no embed")?, content.to_owned()))
}

/// <https://developers.mattermost.com/integrate/reference/message-attachments/>;
/// a message has at most 16 383 characters.
fn mattermost(document: &Value) -> Found {
    let said = text(&document["text"], 16_383)?;
    let mut open = None;
    for attachment in list(&document["attachments"], 20)? {
        text(&attachment["fallback"], 1_000)?;
        text(&attachment["title"], 1_000)?;
        text(&attachment["text"], 7_600)?;
        open = Some(link(&attachment["title_link"])?.to_owned());
    }
    Ok((open.ok_or("no attachment")?, said.to_owned()))
}

/// No text mentions anybody, opens a link or is bold because of a name.
fn harmless(value: &Value, field: &str) -> Result<(), String> {
    match value {
        Value::String(text) if !["url", "title_link", "$schema"].contains(&field) => {
            let bad = [
                "@everyone",
                "@here",
                "<!",
                "<@",
                "](http",
                "https://evil",
                "http://evil",
                "**b",
            ];
            // An escape before it makes a bracket or a star a letter.
            let bare = text
                .replace("\\<", "")
                .replace("\\*", "")
                .replace("\\]", "");
            match bad.iter().find(|bad| bare.contains(**bad)) {
                Some(bad) => Err(format!("{bad} in {text:?}")),
                None => Ok(()),
            }
        }
        Value::Array(all) => all.iter().try_for_each(|one| harmless(one, field)),
        Value::Object(all) => all.iter().try_for_each(|(name, one)| harmless(one, name)),
        _ => Ok(()),
    }
}

/// What people have in the end: each stage once and in order, and whatever came
/// again says so. Only where answers were lost may anything come again.
pub fn look(seen: &Seen, incidents: &[Uuid], signs: &[&str]) {
    for (chat, away) in CHATS {
        let shown = &seen.chats[chat];
        let repeats = shown.iter().filter(|one| one.is_repeat).count();
        assert_eq!(repeats > 0, away == Away::LosesAnswers, "{chat}: {shown:?}");
        for incident in incidents {
            let id = incident.to_string();
            let own: Vec<&Shown> = shown.iter().filter(|one| one.incident == id).collect();
            let first = own.iter().filter(|one| !one.is_repeat);
            let lines: Vec<&str> = first.map(|one| one.line.as_str()).collect();
            assert_eq!(lines.len(), signs.len(), "{chat} about {id}: {lines:?}");
            for (line, sign) in lines.iter().zip(signs) {
                assert!(line.starts_with(sign), "{chat} about {id}: {lines:?}");
            }
            for repeat in own.iter().filter(|one| one.is_repeat) {
                assert!(lines.contains(&repeat.line.as_str()), "{chat}: {repeat:?}");
            }
        }
    }
}
