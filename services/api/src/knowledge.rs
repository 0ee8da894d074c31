//! The knowledge store as people search it: what it holds, and what resembles
//! a question.

use crate::App;
use crate::error::ApiError;
use crate::params::Params;
use axum::Json;
use axum::extract::State;
use midwatch_clients::knowledge::{
    ARCHITECTURE, COLLECTIONS, INCIDENTS, KnowledgeError, KnowledgeStore, RUNBOOKS,
};
use serde::Serialize;
use serde_json::Value;
use std::error::Error as _;
use std::time::Duration;

/// How long counting and searching may take together; people wait for it.
const LIMIT: Duration = Duration::from_secs(6);
/// Longest question, in bytes; the embedder reads some 2 kB.
const QUESTION: usize = 500;
/// Characters of a hit's text that are shown.
const TEXT: usize = 4_000;

/// A collection and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Collection {
    pub name: &'static str,
    /// What its points are.
    pub holds: &'static str,
    /// `null` where the store gives no answer.
    pub points: Option<u64>,
}

/// Something that resembles the question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    pub collection: &'static str,
    /// Cosine of question and text, −1..1; 1 for a service asked for by name.
    pub score: f32,
    pub title: String,
    /// The part of the document that was found.
    pub section: String,
    /// Kinds, tags and the like.
    pub about: Vec<String>,
    pub text: String,
}

/// What the store holds and what it answered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KnowledgeView {
    pub collections: Vec<Collection>,
    pub question: Option<String>,
    /// Best first; `null` where nothing was asked or no answer came.
    pub hits: Option<Vec<Hit>>,
    /// Why something is missing, and how to mend it.
    pub problems: Vec<String>,
}

/// Counts the collections and asks `?q=`, in `?collection=` or all of them.
///
/// # Errors
/// A bad parameter. A store or embedder that is away is an answer.
pub async fn view(app: &App, params: &Params) -> Result<KnowledgeView, ApiError> {
    params.only(&["q", "collection"])?;
    let names = COLLECTIONS.map(|(name, _)| name);
    let only = params.one_of("collection", &names)?;
    let question = params.text("q");
    if let Some(text) = question.as_ref().filter(|text| text.len() > QUESTION) {
        let hint = format!("use at most {QUESTION} bytes");
        return Err(ApiError::parameter(
            "q",
            &text[..text.floor_char_boundary(40)],
            hint,
        ));
    }
    let mut view = KnowledgeView {
        question: question.clone(),
        ..KnowledgeView::default()
    };
    let Some(store) = &app.knowledge else {
        view.collections = names.map(|name| collection(name, None)).to_vec();
        view.problems.push(
            "No knowledge store is configured; set QDRANT_URL and EMBEDDINGS_URL.".to_owned(),
        );
        return Ok(view);
    };
    let counts = tokio::time::timeout(LIMIT, count(store)).await;
    match counts {
        Ok((collections, problem)) => {
            view.collections = collections;
            view.problems.extend(problem);
        }
        Err(_) => {
            view.collections = names.map(|name| collection(name, None)).to_vec();
            view.problems.push(slow("the knowledge store (QDRANT_URL)"));
        }
    }
    let Some(question) = question.filter(|_| view.problems.is_empty()) else {
        return Ok(view);
    };
    match tokio::time::timeout(LIMIT, search(store, &question, only.as_deref())).await {
        Ok(Ok(hits)) => view.hits = Some(hits),
        Ok(Err(error)) => view.problems.push(words(&error)),
        Err(_) => view
            .problems
            .push(slow("the embedder (EMBEDDINGS_URL) or the store")),
    }
    Ok(view)
}

/// `GET /api/knowledge`.
pub async fn get(State(app): State<App>, params: Params) -> Result<Json<KnowledgeView>, ApiError> {
    Ok(Json(view(&app, &params).await?))
}

fn collection(name: &'static str, points: Option<u64>) -> Collection {
    let holds = match name {
        INCIDENTS => "chunks of past incidents",
        RUNBOOKS => "sections of runbooks",
        _ => "records of services",
    };
    Collection {
        name,
        holds,
        points,
    }
}

async fn count(store: &KnowledgeStore) -> (Vec<Collection>, Option<String>) {
    let mut collections = Vec::new();
    let mut problem = None;
    for (name, _) in COLLECTIONS {
        // After one failure the others would only wait as long again.
        let points = match problem {
            Some(_) => None,
            None => match store.count(name).await {
                Ok(points) => Some(points),
                Err(error) => {
                    problem = Some(words(&error));
                    None
                }
            },
        };
        collections.push(collection(name, points));
    }
    (collections, problem)
}

async fn search(
    store: &KnowledgeStore,
    question: &str,
    only: Option<&str>,
) -> Result<Vec<Hit>, KnowledgeError> {
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    let mut hits = Vec::new();
    if wanted(INCIDENTS) {
        for hit in store.search_incidents(question, None).await? {
            let minutes = format!("took {} min", hit.mttr_minutes);
            hits.push(Hit {
                collection: INCIDENTS,
                score: hit.score,
                title: match hit.record["title"].as_str() {
                    Some(title) => format!("{}: {title}", hit.incident_id),
                    None => hit.incident_id,
                },
                section: hit.chunk_type.replace('_', " "),
                about: [hit.anomaly_type, hit.severity, minutes]
                    .into_iter()
                    .chain(hit.tags)
                    .collect(),
                text: cut(&hit.text),
            });
        }
    }
    if wanted(RUNBOOKS) {
        for hit in store.search_runbooks(question, None).await? {
            hits.push(Hit {
                collection: RUNBOOKS,
                score: hit.score,
                title: hit.runbook_id,
                section: hit.section_title,
                about: hit.anomaly_types,
                text: cut(&hit.text),
            });
        }
    }
    if wanted(ARCHITECTURE)
        && let Some(hit) = store.architecture(question).await?
    {
        let said = |name: &str| match &hit.record[name] {
            Value::String(text) => Some(text.clone()),
            _ => None,
        };
        hits.push(Hit {
            collection: ARCHITECTURE,
            score: hit.score,
            section: "service record".to_owned(),
            about: ["criticality", "team", "language"]
                .into_iter()
                .filter_map(said)
                .collect(),
            text: cut(&said("description").unwrap_or_default()),
            title: hit.service_name,
        });
    }
    hits.sort_by(|one, other| other.score.total_cmp(&one.score));
    Ok(hits)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The error with its innermost cause, which names what the network said.
fn words(error: &KnowledgeError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    let mut last = None;
    while let Some(inner) = cause {
        last = Some(inner.to_string());
        cause = inner.source();
    }
    if let Some(last) = last {
        text.push_str(&format!(" ({last})"));
    }
    text
}

fn slow(what: &str) -> String {
    format!("No answer came within {} s from {what}.", LIMIT.as_secs())
}
