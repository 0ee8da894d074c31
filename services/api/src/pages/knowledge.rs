//! `/knowledge`: what the agents can look up, and a search in it.

use super::{Frame, Section, evidence, markdown};
use crate::App;
use crate::error::ApiError;
use crate::knowledge::{self, Collection, Hit};
use crate::params::Params;
use axum::extract::State;
use axum::response::Response;
use midwatch_clients::knowledge::{INCIDENTS, RUNBOOKS};
use minijinja::Value;
use serde::Serialize;
use std::collections::BTreeSet;

/// A hit with its text as people read it.
#[derive(Serialize)]
struct Shown {
    rendered: Value,
    /// Where the pages of incidents link to.
    anchor: String,
    #[serde(flatten)]
    hit: Hit,
}

#[derive(Serialize)]
struct View {
    frame: Frame,
    query: String,
    collection: String,
    collections: Vec<Collection>,
    question: Option<String>,
    hits: Option<Vec<Shown>>,
    problems: Vec<String>,
}

/// `GET /knowledge`.
pub async fn show(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    let found = knowledge::view(&app, &params).await?;
    // An incident has several chunks and a link names none: the best is first.
    let mut seen = BTreeSet::new();
    let shown = |hit: Hit| Shown {
        anchor: Some(evidence::anchor(&name(&hit)))
            .filter(|anchor| seen.insert(anchor.clone()))
            .unwrap_or_default(),
        rendered: Value::from_safe_string(markdown::without_links(&hit.text)),
        hit,
    };
    let view = View {
        frame: Frame::new("Knowledge").of(Section::Knowledge),
        query: params.text("q").unwrap_or_default(),
        collection: params.text("collection").unwrap_or_default(),
        collections: found.collections,
        question: found.question,
        hits: found.hits.map(|hits| hits.into_iter().map(shown).collect()),
        problems: found.problems,
    };
    app.pages.answer("knowledge.html", view)
}

/// What evidence calls a document: a runbook's section, a past incident.
fn name(hit: &Hit) -> String {
    match hit.collection {
        RUNBOOKS => format!("{}#{}", hit.title, hit.section),
        INCIDENTS => {
            let (id, _) = hit.title.split_once(": ").unwrap_or((&hit.title, ""));
            id.to_owned()
        }
        _ => hit.title.clone(),
    }
}
