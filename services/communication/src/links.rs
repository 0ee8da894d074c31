//! Mails and messages with a one-time link: under which the one recipient of the
//! plan's mail may approve its first step, and under which whoever hears of an
//! incident takes it. Pure: the key is part of the core.
//!
//! What is decided goes through the database, which is read by more people than
//! may approve. So a decision only says what a link would be good for, and puts
//! an address in its place; the delivery signs it, the same each time.

use crate::channels::Post;
use crate::decide::{Core, State};
use crate::mail::Mail;
use crate::render::View;
use crate::routing::{Recipients, Stage};
use crate::units;
use crate::view::{ApproveView, PlanView, TakeView};
use midwatch_clients::signed_link::{self, Link, LinkKey, TakeLink};
use midwatch_events::{ActionStep, IncidentHeader, RemediationPlan, ids};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::Effect;
use minijinja::HtmlEscape;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long a link lasts, wall clock: the watch of whoever gets it. The plan's
/// own hash ends an approval's earlier where the plan changes.
const LINK_MS: i64 = 4 * 3_600_000;

/// What a link is good for, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsigned {
    pub incident_id: Uuid,
    pub recipient: String,
    pub nonce: String,
    /// Wall clock.
    pub expires_ms: i64,
    /// The step that it approves; absent where it takes the incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub plan_hash: String,
    pub step_id: String,
}

impl Unsigned {
    /// What stands in the link's place until it is signed: the incident's page,
    /// which is where people are led if it never is.
    fn place(&self, dashboard_url: &str) -> String {
        let (incident, nonce) = (self.incident_id, &self.nonce);
        format!("{dashboard_url}/incidents/{incident}?link={nonce}")
    }

    fn url(&self, dashboard_url: &str, key: &LinkKey) -> String {
        let (recipient, nonce) = (self.recipient.clone(), self.nonce.clone());
        let (incident_id, expires_ms) = (self.incident_id, self.expires_ms);
        match &self.step {
            Some(step) => {
                let link = Link {
                    incident_id,
                    plan_hash: step.plan_hash.clone(),
                    step_id: step.step_id.clone(),
                    recipient,
                    nonce,
                    expires_ms,
                };
                signed_link::url(dashboard_url, key, &link)
            }
            None => {
                let link = TakeLink {
                    incident_id,
                    recipient,
                    nonce,
                    expires_ms,
                };
                signed_link::take_url(dashboard_url, key, &link)
            }
        }
    }

    /// The link that a view holds.
    pub(crate) fn of(view: &View) -> Option<&Unsigned> {
        let take = match view {
            View::Opened(opened) => opened.take.as_ref(),
            View::Progress(progress) => progress.take.as_ref(),
            View::Plan(plan) => return plan.approve.as_ref().map(|approve| &*approve.unsigned),
            _ => None,
        };
        take.map(|take| &*take.unsigned)
    }
}

/// The view as everybody may see it: rows of `notifications` are shown on the
/// dashboard and leave with bundles, and a link speaks for its recipient.
/// Nothing where it holds neither link nor picture.
pub(crate) fn for_all(view: &View) -> Option<View> {
    match view {
        View::Opened(opened) if opened.picture || opened.take.is_some() => {
            // The picture is part of the mail; elsewhere it would be missing.
            let mut opened = opened.clone();
            (opened.picture, opened.take) = (false, None);
            Some(View::Opened(opened))
        }
        View::Progress(progress) if progress.take.is_some() => {
            let mut progress = progress.clone();
            progress.take = None;
            Some(View::Progress(progress))
        }
        View::Plan(plan) => {
            let mut plan = plan.clone();
            let approve = plan.approve.as_mut()?;
            approve.link.clone_from(&plan.frame.link);
            Some(View::Plan(plan))
        }
        _ => None,
    }
}

/// The same view with a link for one recipient.
fn with(view: &View, take: TakeView) -> View {
    let mut view = view.clone();
    match &mut view {
        View::Opened(opened) => opened.take = Some(take),
        View::Progress(progress) => progress.take = Some(take),
        _ => {}
    }
    view
}

impl Core {
    /// The mail as it is handed over. Where there is no key any more, its link
    /// leads to the incident's page.
    #[must_use]
    pub fn signed(&self, mut mail: Mail) -> Mail {
        let (Some(key), Some(link)) = (&self.link_key, &mail.link) else {
            return mail;
        };
        let place = link.place(&self.dashboard_url);
        let url = link.url(&self.dashboard_url, key);
        let escaped = |text: &str| HtmlEscape(text).to_string();
        let note = &mut mail.notification;
        note.body_text = note.body_text.replace(&place, &url);
        note.body_html = note.body_html.replace(&escaped(&place), &escaped(&url));
        mail
    }

    /// The same of a message on a channel.
    #[must_use]
    pub fn signed_post(&self, mut post: Post) -> Post {
        if let (Some(key), Some(link)) = (&self.link_key, &post.link) {
            post.take = Some(link.url(&self.dashboard_url, key));
        }
        post
    }

    /// Under which `recipient` can take the incident, as long as nobody has it.
    /// `key` tells messages of the incident apart.
    pub(crate) fn take_link(
        &self,
        state: &State,
        at: Moment,
        header: &IncidentHeader,
        (key, recipient): (&str, &str),
    ) -> Option<Unsigned> {
        if self.link_key.is_none() || state.acknowledged || state.over {
            return None;
        }
        let incident = header.incident_id.to_string();
        Some(Unsigned {
            incident_id: header.incident_id,
            recipient: recipient.to_owned(),
            // Derived, so that a repeated decision gives the same mail.
            nonce: ids::derive(&["take", &incident, key, recipient])
                .simple()
                .to_string(),
            expires_ms: at.wall_ms + LINK_MS,
            step: None,
        })
    }

    /// The mails of a message: one for all, or, where each addressee gets a
    /// link, one for each, and one for the people in copy.
    pub(crate) fn each(
        &self,
        state: &State,
        at: Moment,
        view: &View,
        (header, key): (&IncidentHeader, &str),
        recipients: Recipients,
    ) -> Vec<(Recipients, View)> {
        let offers = matches!(view, View::Opened(_) | View::Progress(_));
        let own = |recipient: &String| {
            let unsigned = self.take_link(state, at, header, (key, recipient))?;
            let others = recipients.all().into_iter();
            let take = TakeView {
                link: unsigned.place(&self.dashboard_url),
                until: units::moment(unsigned.expires_ms),
                others: others.filter(|one| one != recipient).collect(),
                unsigned: Box::new(unsigned),
            };
            let alone = Recipients {
                to: vec![recipient.clone()],
                cc: Vec::new(),
            };
            Some((alone, with(view, take)))
        };
        let mails: Option<Vec<_>> = recipients.to.iter().map(own).collect();
        let Some(mut mails) = mails.filter(|_| offers) else {
            return vec![(recipients, view.clone())];
        };
        if !recipients.cc.is_empty() {
            let rest = Recipients {
                to: recipients.cc,
                cc: Vec::new(),
            };
            mails.push((rest, view.clone()));
        }
        mails
    }

    /// The step that a plan's mails let people approve by a link, where they do.
    /// What only looks ends no harm: it is the first one that may.
    pub(crate) fn links_to<'a>(
        &self,
        state: &State,
        plan: &'a RemediationPlan,
    ) -> Option<&'a ActionStep> {
        let acts = |step: &&ActionStep| {
            let typed = step.typed.as_deref();
            typed.is_some_and(|action| !action.kind.only_looks())
        };
        let has_links = self.link_key.is_some() && !self.mails_rest(state, &plan.header);
        plan.action_steps.iter().find(acts).filter(|_| has_links)
    }

    /// Sends the plan. With a key for links each addressee gets a mail of their
    /// own, since a link speaks for one person; people in copy get none.
    pub(crate) fn tell_plan(
        &self,
        state: &mut State,
        at: Moment,
        view: &PlanView,
        plan: &RemediationPlan,
        key: &str,
    ) -> Vec<Effect> {
        let key = key.to_owned();
        let header = &plan.header;
        let recipients = self.recipients(state, Stage::Plan, header);
        let Some(step) = self.links_to(state, plan) else {
            return self.tell_as(
                state,
                at,
                &View::Plan(view.clone()),
                header,
                key,
                recipients,
            );
        };
        let expires_ms = at.wall_ms + LINK_MS;
        let mut effects = Vec::new();
        for recipient in &recipients.to {
            let unsigned = Unsigned {
                incident_id: header.incident_id,
                recipient: recipient.clone(),
                // Derived, so that a repeated decision gives the same mail.
                nonce: ids::derive(&["approval", &plan.plan_hash, &step.step_id, recipient])
                    .simple()
                    .to_string(),
                expires_ms,
                step: Some(Step {
                    plan_hash: plan.plan_hash.clone(),
                    step_id: step.step_id.clone(),
                }),
            };
            let mut view = view.clone();
            view.approve = Some(ApproveView {
                step: units::line(&step.step_id, 20),
                action: units::line(&step.action, 200),
                link: unsigned.place(&self.dashboard_url),
                until: units::moment(expires_ms),
                unsigned: Box::new(unsigned),
            });
            let own = Recipients {
                to: vec![recipient.clone()],
                cc: Vec::new(),
            };
            effects.extend(self.tell_as(state, at, &View::Plan(view), header, key.clone(), own));
        }
        let rest = Recipients {
            to: recipients.cc,
            cc: Vec::new(),
        };
        effects.extend(self.tell_as(state, at, &View::Plan(view.clone()), header, key, rest));
        effects
    }
}
