//! The plan's mail with a link under which its one recipient may approve the
//! first step. Pure: the key is part of the core.

use crate::decide::{Core, State};
use crate::render::View;
use crate::routing::{Recipients, Stage};
use crate::units;
use crate::view::{ApproveView, PlanView};
use midwatch_clients::signed_link::{self, Link};
use midwatch_events::{ActionStep, RemediationPlan, ids};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::Effect;

/// How long a link lasts, wall clock: the watch of whoever gets it. The plan's
/// own hash ends it earlier where the plan changes.
const LINK_MS: i64 = 4 * 3_600_000;

/// The view as everybody may see it: rows of `notifications` are shown on the
/// dashboard and leave with bundles, and a link speaks for its recipient.
/// Nothing where it holds neither link nor picture.
pub(crate) fn for_all(view: &View) -> Option<View> {
    if let View::Opened(opened) = view
        && opened.picture
    {
        // The picture is part of the mail; elsewhere it would be missing.
        let mut opened = opened.clone();
        opened.picture = false;
        return Some(View::Opened(opened));
    }
    let View::Plan(plan) = view else {
        return None;
    };
    let mut plan = plan.clone();
    let approve = plan.approve.as_mut()?;
    approve.link.clone_from(&plan.frame.link);
    Some(View::Plan(plan))
}

impl Core {
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
