//! The pages: server-rendered, with templates compiled in.
//!
//! Autoescape is on for every template, whatever its name. The one value that
//! enters a page as markup is the postmortem, rendered by [`markdown`].

pub mod agents;
pub mod assets;
pub mod calls;
pub mod cause;
pub mod chain;
pub mod chart;
pub mod conclusion;
pub mod costs;
pub mod drawings;
pub mod evidence;
pub mod feed;
pub mod fleet;
pub mod format;
pub mod graph;
pub mod incident;
pub mod knowledge;
pub mod markdown;
pub mod operate;
pub mod proof;
pub mod score;
pub mod size;
pub mod spark;

use crate::App;
use crate::error::ApiError;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use midwatch_runtime::clock;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

/// The templates, by name.
const TEMPLATES: &[(&str, &str)] = &[
    ("base.html", include_str!("../templates/base.html")),
    ("feed.html", include_str!("../templates/feed.html")),
    ("incident.html", include_str!("../templates/incident.html")),
    ("operate.html", include_str!("../templates/operate.html")),
    ("approve.html", include_str!("../templates/approve.html")),
    (
        "acknowledge.html",
        include_str!("../templates/acknowledge.html"),
    ),
    ("step.html", include_str!("../templates/step.html")),
    ("cause.html", include_str!("../templates/cause.html")),
    ("proof.html", include_str!("../templates/proof.html")),
    ("chain.html", include_str!("../templates/chain.html")),
    ("calls.html", include_str!("../templates/calls.html")),
    ("costs.html", include_str!("../templates/costs.html")),
    ("evidence.html", include_str!("../templates/evidence.html")),
    ("response.html", include_str!("../templates/response.html")),
    ("chart.html", include_str!("../templates/chart.html")),
    ("graph.html", include_str!("../templates/graph.html")),
    ("fleet.html", include_str!("../templates/fleet.html")),
    ("service.html", include_str!("../templates/service.html")),
    (
        "knowledge.html",
        include_str!("../templates/knowledge.html"),
    ),
    ("agents.html", include_str!("../templates/agents.html")),
    ("letters.html", include_str!("../templates/letters.html")),
    ("spark.html", include_str!("../templates/spark.html")),
    ("error.html", include_str!("../templates/error.html")),
];

/// The compiled templates.
pub struct Pages {
    environment: Environment<'static>,
}

impl Default for Pages {
    fn default() -> Self {
        Pages::new()
    }
}

/// What all templates are read with: everything escaped, an unknown name is an
/// error, and the filters of [`format`].
///
/// # Panics
/// Never: the delimiters are constants.
pub(crate) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the delimiters are those of Jinja");
    environment.set_syntax(syntax);
    format::register(&mut environment);
    environment
}

impl Pages {
    /// Compiles the templates.
    ///
    /// # Panics
    /// A template has a syntax error; they are part of the build, and a test
    /// renders each.
    #[must_use]
    pub fn new() -> Pages {
        Pages::with_links(&[])
    }

    /// The same, with links to other pages (what, address) in the navigation.
    ///
    /// # Panics
    /// As [`Pages::new`].
    #[must_use]
    pub fn with_links(links: &[(&'static str, String)]) -> Pages {
        let mut environment = environment();
        environment.add_global("css", assets::address("midwatch.css"));
        environment.add_global("js", assets::address("midwatch.js"));
        environment.add_global("icon", assets::address("icon.svg"));
        let sections = Section::ALL.map(|section| (section.title(), section.address()));
        environment.add_global("sections", Serde(sections.to_vec()));
        environment.add_global("links", Serde(links.to_vec()));
        for (name, source) in TEMPLATES {
            environment
                .add_template(name, source)
                .expect("the templates are part of the build and a test renders each");
        }
        Pages { environment }
    }

    fn render(&self, name: &str, view: impl Serialize) -> Result<String, ApiError> {
        self.environment
            .get_template(name)
            .and_then(|template| template.render(Serde(view)))
            .map_err(|error| {
                tracing::error!(template = name, error = ?error, "a page could not be rendered");
                ApiError::internal(format!("the page {name} could not be rendered"))
            })
    }

    /// A page as an answer.
    ///
    /// # Errors
    /// The template and its view do not fit.
    pub fn answer(&self, name: &str, view: impl Serialize) -> Result<Response, ApiError> {
        Ok(Html(self.render(name, view)?).into_response())
    }
}

/// What every page has around its content.
#[derive(Debug, Serialize)]
pub struct Frame {
    pub title: String,
    /// Wall clock at which the page was made.
    pub now_ms: i64,
    /// Which incident's events concern this page; all where empty.
    pub follows: String,
    /// The newest line of the audit trail that the page shows.
    pub last_id: i64,
    /// The page is fetched again this often even without news; 0 where not.
    pub every_ms: i64,
    /// The title of the section that the page belongs to; empty for none.
    pub section: &'static str,
}

impl Frame {
    pub(crate) fn new(title: impl Into<String>) -> Frame {
        Frame {
            title: title.into(),
            now_ms: clock::now_ms(),
            follows: String::new(),
            last_id: 0,
            every_ms: 0,
            section: "",
        }
    }

    fn of(self, section: Section) -> Frame {
        Frame {
            section: section.title(),
            ..self
        }
    }
}

/// A part of the dashboard, as the navigation has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Incidents,
    Fleet,
    Knowledge,
    Agents,
}

impl Section {
    const ALL: [Section; 4] = [
        Section::Incidents,
        Section::Fleet,
        Section::Knowledge,
        Section::Agents,
    ];

    const fn title(self) -> &'static str {
        match self {
            Section::Incidents => "Incidents",
            Section::Fleet => "Fleet",
            Section::Knowledge => "Knowledge",
            Section::Agents => "Agents",
        }
    }

    const fn address(self) -> &'static str {
        match self {
            Section::Incidents => "/",
            Section::Fleet => "/fleet",
            Section::Knowledge => "/knowledge",
            Section::Agents => "/agents",
        }
    }
}

/// A refused request, for people.
#[must_use]
pub fn error_page(app: &App, error: &ApiError) -> Response {
    #[derive(Serialize)]
    struct View<'a> {
        frame: Frame,
        status: u16,
        error: &'a ApiError,
    }
    let view = View {
        frame: Frame::new(error.message.clone()),
        status: error.status.as_u16(),
        error,
    };
    match app.pages.render("error.html", view) {
        Ok(html) => {
            let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (error.status, kind, html).into_response()
        }
        Err(second) => second.into_response(),
    }
}
