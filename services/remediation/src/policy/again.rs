//! The question right before an action begins: what was approved may have
//! waited, and the policy may say something else by now. Pure.

use super::{Policy, Ruling, Wish};
use crate::catalogue::Refusal;
use crate::execution::Execution;

impl Policy {
    /// Whether an execution that was approved under an earlier policy may
    /// begin under this one. `stopped` says whether the stop file is there.
    ///
    /// What this policy would let run only as a dry run is not begun, and an
    /// execution that was approved as a dry run stays one.
    ///
    /// # Errors
    /// The first rule against it: one of those at the approval, `expired`,
    /// `more_approvals` or `dry_run`.
    pub fn lets_begin(
        &self,
        execution: &Execution,
        wall_ms: i64,
        stopped: bool,
    ) -> Result<(), Refusal> {
        if execution.is_undo {
            // What made it worse is taken back in a freeze and at night, too.
            self.is_not_stopped(stopped)?;
            if self.forbidden.contains(&execution.action.kind) {
                return Err(Refusal::new(
                    "forbidden_kind",
                    "the policy forbids the undo",
                ));
            }
        } else {
            let wish = Wish {
                action: &execution.action,
                environment: &execution.environment,
                wall_ms,
                stopped,
            };
            match self.rule(wish, &execution.approvals)? {
                Ruling::Run { .. } => {}
                Ruling::Wait { missing } => return Err(missed(execution, wall_ms, missing)),
            }
        }
        if !execution.dry_run && self.is_dry_run(&execution.environment) {
            return Err(Refusal::new(
                "dry_run",
                format!(
                    "the policy lets actions on {} run only as dry runs by now; approve anew to \
                     see what it would do",
                    execution.environment
                ),
            ));
        }
        Ok(())
    }
}

fn missed(execution: &Execution, wall_ms: i64, missing: u32) -> Refusal {
    let ended = |until_ms: i64| until_ms <= wall_ms;
    if execution.approvals.iter().any(|one| ended(one.until_ms)) {
        return Refusal::new(
            "expired",
            "an approval came to its end before the step could begin",
        );
    }
    Refusal::new(
        "more_approvals",
        format!("the policy wants {missing} more approvals by now; approve anew"),
    )
}
