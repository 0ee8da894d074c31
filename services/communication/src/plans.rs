//! The plan, and who hears of another one. Pure.

use crate::decide::{Core, State};
use crate::quiet::is_low;
use crate::render::View;
use crate::routing::Stage;
use crate::view;
use midwatch_events::{RemediationPlan, ids};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::Effect;
use uuid::Uuid;

/// How a plan names its cause where that is not established. That the lead
/// became the cause changes nothing about what to do.
const LEAD: &str = "not established; strongest lead: ";

/// What a plan is for and does; what else differs is no reason to write again.
fn gist(plan: &RemediationPlan) -> Uuid {
    let cause = plan.root_cause.as_str();
    let mut parts = vec!["plan gist", cause.strip_prefix(LEAD).unwrap_or(cause)];
    for step in &plan.action_steps {
        parts.extend([&*step.step_id, &*step.command]);
    }
    ids::derive(&parts)
}

impl Core {
    /// A plan. Channels show each. A mail about another one comes where it is
    /// for another cause or has other steps, since people would follow the one
    /// that they have, and where the first one's link is worthless now; one
    /// that only says the same again is left to the page.
    pub(crate) fn planned(
        &self,
        state: &mut State,
        at: Moment,
        plan: &RemediationPlan,
    ) -> Vec<Effect> {
        let is_quiet = is_low(state, &plan.header);
        if is_quiet {
            state.quiet.plan = Some(Box::new(plan.clone()));
        }
        let around = self.around(state, &plan.header);
        let mut view = view::plan(plan, state.opened.as_deref(), &around);
        Core::offer(state, plan);
        let known = Stage::Plan.key(state.round);
        // Whoever was told of none hears of this one as the first.
        let told = state.told.get(&known).is_some_and(|told| !told.is_empty());
        let noted = is_quiet && state.told.contains_key(&known);
        let changed = (told || noted) && state.plan_hash != plan.plan_hash;
        let gist = Some(gist(plan));
        let is_other = changed && state.plan_gist != gist;
        state.plan_hash.clone_from(&plan.plan_hash);
        state.plan_gist = gist;
        let key = if changed {
            format!("{known}.changed.{}", plan.rca_revision)
        } else {
            known.clone()
        };
        let mut mailed = view.clone();
        let mut effects = if is_other || self.links_to(state, plan).is_some() {
            mailed.changed = changed;
            let effects = self.tell_plan(state, at, &mailed, plan, &key);
            if changed && !self.mails_rest(state, &plan.header) {
                // Who hears of this one has nothing left to hear of the first.
                let people = self.recipients(state, Stage::Plan, &plan.header);
                state.told.entry(known).or_default().extend(people.all());
            }
            effects
        } else {
            self.tell_plan(state, at, &mailed, plan, &known)
        };
        view.changed = changed;
        effects.extend(self.post_stage(state, at, &plan.header, &View::Plan(view), key));
        effects
    }
}
