//! Mails and messages with a one-time link: under which the one recipient of the
//! plan's mail may approve its first step, and under which whoever hears of an
//! incident takes it. Pure: the key is part of the core.

use crate::decide::{Core, State};
use crate::render::View;
use crate::routing::{Recipients, Stage};
use crate::units;
use crate::view::{ApproveView, PlanView, TakeView};
use midwatch_clients::signed_link::{self, Link, TakeLink};
use midwatch_events::{ActionStep, IncidentHeader, RemediationPlan, ids};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::Effect;

/// How long a link lasts, wall clock: the watch of whoever gets it. The plan's
/// own hash ends an approval's earlier where the plan changes.
const LINK_MS: i64 = 4 * 3_600_000;

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
    /// Where `recipient` can take the incident, and until when (wall clock), as
    /// long as nobody has it. `key` tells messages of the incident apart.
    pub(crate) fn take_link(
        &self,
        state: &State,
        at: Moment,
        header: &IncidentHeader,
        (key, recipient): (&str, &str),
    ) -> Option<(String, i64)> {
        let link_key = self.link_key.as_ref()?;
        if state.acknowledged || state.over {
            return None;
        }
        let incident = header.incident_id.to_string();
        let link = TakeLink {
            incident_id: header.incident_id,
            recipient: recipient.to_owned(),
            // Derived, so that a repeated decision gives the same mail.
            nonce: ids::derive(&["take", &incident, key, recipient])
                .simple()
                .to_string(),
            expires_ms: at.wall_ms + LINK_MS,
        };
        let url = signed_link::take_url(&self.dashboard_url, link_key, &link);
        Some((url, link.expires_ms))
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
            let (link, until_ms) = self.take_link(state, at, header, (key, recipient))?;
            let others = recipients.all().into_iter();
            let take = TakeView {
                link,
                until: units::moment(until_ms),
                others: others.filter(|one| one != recipient).collect(),
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
        // What only looks ends no harm: the link is for the first step that may.
        let acts = |step: &&ActionStep| {
            let typed = step.typed.as_deref();
            typed.is_some_and(|action| !action.kind.only_looks())
        };
        let step = plan.action_steps.iter().find(acts);
        let link_key = self.link_key.as_ref();
        let link_key = link_key.filter(|_| !self.mails_rest(state, header));
        let (Some(link_key), Some(step)) = (link_key, step) else {
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
            let link = Link {
                incident_id: header.incident_id,
                plan_hash: plan.plan_hash.clone(),
                step_id: step.step_id.clone(),
                recipient: recipient.clone(),
                // Derived, so that a repeated decision gives the same mail.
                nonce: ids::derive(&["approval", &plan.plan_hash, &step.step_id, recipient])
                    .simple()
                    .to_string(),
                expires_ms,
            };
            let mut view = view.clone();
            view.approve = Some(ApproveView {
                step: units::line(&step.step_id, 20),
                action: units::line(&step.action, 200),
                link: signed_link::url(&self.dashboard_url, link_key, &link),
                until: units::moment(expires_ms),
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
