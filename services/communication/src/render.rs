//! Subjects and bodies. Templates are compiled in; what ends in `.html`
//! escapes every value.

use crate::routing::Stage;
use crate::units::line;
use crate::view::{
    CauseView, DigestView, MergedView, OpenedView, PlanView, PostmortemView, ProgressView,
    ResolvedView,
};
use midwatch_events::IncidentHeader;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;
use std::fmt;

const TEMPLATES: [(&str, &str); 19] = [
    ("parts.html", include_str!("../templates/parts.html")),
    ("base.html", include_str!("../templates/base.html")),
    ("footer.txt", include_str!("../templates/footer.txt")),
    ("opened.html", include_str!("../templates/opened.html")),
    ("opened.txt", include_str!("../templates/opened.txt")),
    ("rca.html", include_str!("../templates/rca.html")),
    ("rca.txt", include_str!("../templates/rca.txt")),
    ("plan.html", include_str!("../templates/plan.html")),
    ("plan.txt", include_str!("../templates/plan.txt")),
    ("progress.html", include_str!("../templates/progress.html")),
    ("progress.txt", include_str!("../templates/progress.txt")),
    ("digest.html", include_str!("../templates/digest.html")),
    ("digest.txt", include_str!("../templates/digest.txt")),
    ("merged.html", include_str!("../templates/merged.html")),
    ("merged.txt", include_str!("../templates/merged.txt")),
    ("resolved.html", include_str!("../templates/resolved.html")),
    ("resolved.txt", include_str!("../templates/resolved.txt")),
    (
        "postmortem.html",
        include_str!("../templates/postmortem.html"),
    ),
    (
        "postmortem.txt",
        include_str!("../templates/postmortem.txt"),
    ),
];

/// Longest subject, characters; the figure that matters comes early.
const SUBJECT: usize = 180;

/// Characters of a subject that lists of mails show, and that RFC 5322 asks
/// lines to stay within.
const SHOWN: usize = 78;

/// A mail's three texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub subject: String,
    pub html: String,
    pub text: String,
}

/// The compiled templates.
pub struct Templates {
    environment: Environment<'static>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").finish_non_exhaustive()
    }
}

impl Default for Templates {
    fn default() -> Self {
        Templates::compile(UndefinedBehavior::Lenient)
    }
}

/// What a mail is about.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    Opened(OpenedView),
    Cause(CauseView),
    Plan(PlanView),
    Resolved(ResolvedView),
    /// In the place of the mail about the end.
    Merged(MergedView),
    Postmortem(PostmortemView),
    /// Nothing is new.
    Progress(ProgressView),
}

impl View {
    /// The mail's stage.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            View::Opened(_) => Stage::Opened,
            View::Cause(_) => Stage::Rca,
            View::Plan(_) => Stage::Plan,
            View::Resolved(_) | View::Merged(_) => Stage::Resolved,
            View::Postmortem(_) => Stage::Postmortem,
            // Whoever hears of a beginning hears that it goes on.
            View::Progress(_) => Stage::Opened,
        }
    }

    /// The subject, in the form that mail filters rely on.
    #[must_use]
    pub fn subject(&self, header: &IncidentHeader) -> String {
        let id = &header.short_id;
        let text = match self {
            View::Opened(opened) => return alarm(opened, header),
            View::Cause(cause) => {
                format!(
                    "🔍 [{id}] Root cause analysis — {}% confidence{}",
                    cause.confidence,
                    if cause.changed {
                        " (another cause than before)"
                    } else {
                        ""
                    }
                )
            }
            View::Plan(plan) => {
                format!(
                    "🛠️ [{id}] Remediation plan — {}, ETA {}{}",
                    plan.count,
                    plan.eta,
                    if plan.changed {
                        " (replaces the plan before)"
                    } else {
                        ""
                    }
                )
            }
            View::Resolved(resolved) => format!(
                "✅ [{id}] RESOLVED — {} — MTTR {}",
                header.anomaly_type.title(),
                resolved.mttr
            ),
            View::Merged(merged) => {
                format!(
                    "🔗 [{id}] Merged after {} — {}",
                    merged.after,
                    header.title()
                )
            }
            View::Postmortem(postmortem) => {
                format!("📋 [{id}] Postmortem — {}", postmortem.count)
            }
            View::Progress(progress) => {
                let (severity, silence) = (progress.frame.severity, &progress.silence);
                let title = header.title();
                format!("⏳ [{severity}] {id} — no news for {silence} — {title}")
            }
        };
        line(&text, SUBJECT)
    }
}

/// The subject of an alarm. Filters rely on its beginning, up to the service;
/// the reading follows as far as it fits a list of mails.
fn alarm(opened: &OpenedView, header: &IncidentHeader) -> String {
    let severity = opened.frame.severity;
    let (id, title) = (&header.short_id, header.title());
    if let Some(within) = &opened.escalated {
        let text = format!("⏫ [{severity}] {id} — unacknowledged for {within} — {title}");
        return line(&text, SUBJECT);
    }
    let begin = format!("🚨 [{severity}] {id} — {title}");
    let end = if opened.reopened { " (reopened)" } else { "" };
    let trigger = &opened.trigger;
    let Some((observed, baseline)) = trigger.observed.as_ref().zip(trigger.baseline.as_ref())
    else {
        return line(&format!("{begin}{end}"), SUBJECT);
    };
    // A unit that both have is read once.
    let unit = observed.find(' ').map_or("", |start| &observed[start..]);
    let normal = baseline.strip_suffix(unit).unwrap_or(baseline);
    let long = format!("{begin} — {observed} (normal {normal}){end}");
    let text = if long.chars().count() <= SHOWN {
        long
    } else {
        format!("{begin} — {observed}{end}")
    };
    line(&text, SUBJECT)
}

impl Templates {
    /// Compiles the templates; with [`UndefinedBehavior::Strict`] a name that
    /// no view has is an error, which the tests use.
    ///
    /// # Panics
    /// On a template that does not compile: they are part of the binary and
    /// every one is rendered in the tests.
    #[must_use]
    pub fn compile(undefined: UndefinedBehavior) -> Templates {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(undefined);
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .expect("the usual delimiters are valid"),
        );
        for (name, source) in TEMPLATES {
            environment
                .add_template(name, source)
                .expect("compiled-in templates compile, which the tests prove");
        }
        Templates { environment }
    }

    /// The mail for `view`.
    ///
    /// # Panics
    /// On a template that cannot be filled from its own view type; the tests
    /// fill each one both with everything there and with everything absent.
    #[must_use]
    pub fn render(&self, view: &View, header: &IncidentHeader) -> Rendered {
        let subject = view.subject(header);
        match view {
            View::Opened(view) => self.fill("opened", subject, view),
            View::Cause(view) => self.fill("rca", subject, view),
            View::Plan(view) => self.fill("plan", subject, view),
            View::Resolved(view) => self.fill("resolved", subject, view),
            View::Merged(view) => self.fill("merged", subject, view),
            View::Postmortem(view) => self.fill("postmortem", subject, view),
            View::Progress(view) => self.fill("progress", subject, view),
        }
    }

    /// The digest.
    ///
    /// # Panics
    /// As [`Templates::render`].
    #[must_use]
    pub fn digest(&self, view: &DigestView) -> Rendered {
        let subject = format!("🔵 [{}] Digest — {}", view.frame.severity, view.title);
        self.fill("digest", line(&subject, SUBJECT), view)
    }

    fn fill<T: Serialize>(&self, template: &str, subject: String, view: &T) -> Rendered {
        #[derive(Serialize)]
        struct Page<'a, T> {
            subject: &'a str,
            #[serde(flatten)]
            view: &'a T,
        }
        let page = Page {
            subject: &subject,
            view,
        };
        let fill = |ending: &str| {
            let name = format!("{template}.{ending}");
            self.environment
                .get_template(&name)
                .and_then(|template| template.render(Value::from(Serde(&page))))
                .expect("a view has what its template asks for, which the tests prove")
        };
        let (html, text) = (fill("html"), fill("txt"));
        Rendered {
            subject,
            html,
            text,
        }
    }
}
