//! What boards, chats and the last mail say of a step and of its undo, and what
//! they do not say of commands that came in vain.

mod fixtures;

use fixtures::{AT, connections, core, hear};
use midwatch_communication::channels::{Book, Post};
use midwatch_communication::decide::{Core, State};
use midwatch_events::action::{Span, Verification, VerificationVerdict};
use midwatch_events::response::ActionDetails;
use midwatch_events::{Event, RemediationAction};
use midwatch_runtime::agent::{Input, Moment};
use midwatch_runtime::effect::Effect;
use serde_json::Value;

const BOOK: &str = r#"{
  "channels": [
    {"name": "ops", "kind": "slack", "channel": "C01", "token_file": "/none"},
    {"name": "hook", "kind": "webhook", "url_file": "/none"}
  ],
  "routes": [{"channels": ["ops", "hook"]}],
  "progress_minutes": 30
}"#;

/// An incident with a plan, of which steps are told.
struct Story {
    core: Core,
    state: State,
    at_ms: i64,
}

impl Story {
    fn new() -> Story {
        let core = Core {
            book: Book::parse(BOOK).expect("the book is well formed"),
            ..core()
        };
        let mut state = State::default();
        let [opened, rca, plan, ..] = connections().events();
        for event in [opened, rca, plan] {
            hear(&core, &mut state, event);
        }
        Story {
            core,
            state,
            at_ms: AT.event_ms,
        }
    }

    /// What the chat is told of it, and what its board says then.
    fn tell(
        &mut self,
        phase: &str,
        (reason, result): (&str, &str),
        details: ActionDetails,
    ) -> (String, String) {
        self.at_ms += 1_000;
        let action = RemediationAction {
            header: connections().opened.header,
            plan_id: connections().plan.plan_id,
            step_id: "S1".to_owned(),
            phase: phase.to_owned(),
            by: "maria".to_owned(),
            reason: reason.to_owned(),
            result: result.to_owned(),
            at_ms: self.at_ms,
            details,
        };
        let effects = hear(&self.core, &mut self.state, Event::Action(Box::new(action)));
        let post = effects.iter().find_map(|effect| match effect {
            Effect::StartJob(job) if job.kind == "post" => Some(job.payload.clone()),
            _ => None,
        });
        let post: Post = serde_json::from_value(post.expect("the chat is told")).expect("a post");
        let short = format!("{}: ", connections().opened.header.short_id);
        let headline = post.headline.strip_prefix(&short).expect("the id first");
        (
            format!("{headline} | {}", post.detail.replace('\n', " | ")),
            post.board.action.unwrap_or_default(),
        )
    }

    /// S1 was carried out, and made it worse.
    fn worse() -> Story {
        let mut story = Story::new();
        story.tell("intent", ("approved", "kubectl …"), step());
        let done = ActionDetails {
            succeeded: Some(true),
            ..step()
        };
        let (_, board) = story.tell("outcome", ("", "done"), done);
        assert_eq!(board, "S1 was carried out");
        let span = Span {
            from_ms: 0,
            to_ms: 1,
            count: 5,
            median: 1.0,
        };
        let found = Verification {
            service: "payment-service".to_owned(),
            metric: "m".to_owned(),
            verdict: VerificationVerdict::Worse,
            before: span.clone(),
            after: span,
            control: None,
            test: String::new(),
            p_value: None,
            summary: "twice as high".to_owned(),
        };
        let details = ActionDetails {
            verification: Some(Box::new(found)),
            ..step()
        };
        let (_, board) = story.tell("verified", ("twice as high", "worse"), details);
        assert_eq!(board, "S1 made it worse");
        let why = "undo, for the effect was worse";
        let (said, board) = story.tell("intent", (why, "kubectl undo"), undo());
        assert_eq!(board, "the undo of S1 is being carried out");
        assert_eq!(said, format!("{board} | {why} | kubectl undo"));
        story
    }

    /// How the last mail says that it ended, and what a progress note says.
    fn ending(mut self) -> (String, String) {
        let at = Moment {
            wall_ms: AT.wall_ms + 31 * 60_000,
            ..AT
        };
        let input = Input::Timer {
            name: "progress".to_owned(),
            payload: Value::Null,
        };
        let effects = self.core.decide(&mut self.state, at, input);
        let mail = |effects: &[Effect]| {
            let mut notes = fixtures::mails(effects).into_iter();
            let mail = notes.find(|note| note.channel == "mail");
            mail.expect("a mail").body_text.clone()
        };
        let note = mail(&effects);
        let [_, _, _, resolved, _] = connections().events();
        (mail(&hear(&self.core, &mut self.state, resolved)), note)
    }
}

fn step() -> ActionDetails {
    ActionDetails {
        idempotency_key: "do".to_owned(),
        ..ActionDetails::default()
    }
}

fn undo() -> ActionDetails {
    ActionDetails {
        idempotency_key: "undo".to_owned(),
        is_undo: true,
        ..ActionDetails::default()
    }
}

/// Tells what became of the undo, and looks at what is said of it then.
fn ended((phase, result): (&str, &str), details: ActionDetails, (board, ending): (&str, &str)) {
    let mut story = Story::worse();
    let (said, shown) = story.tell(phase, ("why", result), details);
    assert_eq!(shown, board);
    assert!(said.starts_with(&format!("{board} | why")), "{said}");
    assert!(!said.contains("nothing was changed"), "{said}");
    let (mail, note) = story.ending();
    assert!(
        mail.contains(&format!("{ending}; why")),
        "{ending} in {mail}"
    );
    assert!(note.contains(&format!("Action: {board}\n")), "{note}");
}

#[test]
fn an_undo_is_told_as_an_undo_whatever_becomes_of_it() {
    let details = |succeeded, rule: &str| ActionDetails {
        succeeded,
        rule: rule.to_owned(),
        ..undo()
    };
    let undone = "S1 was carried out, made it worse and was undone";
    ended(
        ("undone", "undone"),
        details(Some(true), ""),
        ("S1 was undone", undone),
    );
    ended(
        ("outcome", "failed; nothing was changed"),
        details(Some(false), ""),
        (
            "the undo of S1 failed: it did not take S1 back",
            "S1 was carried out and made it worse, and its undo failed",
        ),
    );
    ended(
        ("outcome", "unknown; a person must look"),
        details(None, ""),
        (
            "it is not known whether the undo of S1 took effect",
            "made it worse, and whether it was undone is not known",
        ),
    );
    ended(
        ("refused", "refused"),
        details(None, "precondition"),
        (
            "the undo of S1 was refused (precondition): S1 was not taken back",
            "S1 was carried out and made it worse, and its undo was refused",
        ),
    );
}

#[test]
fn a_command_in_vain_leaves_what_is_said_of_the_step() {
    let heard = |rule: &str| ActionDetails {
        credential_id: "token:maria".to_owned(),
        rule: rule.to_owned(),
        ..ActionDetails::default()
    };
    let mut story = Story::new();
    let (_, before) = story.tell("refused", ("not yours", "refused"), heard("approver"));
    assert_eq!(before, "", "nothing was done of it");
    let (_, running) = story.tell("intent", ("approved", "kubectl …"), step());
    assert_eq!(running, "S1 is being carried out");
    for (rule, words) in [
        (
            "already_approved",
            "maria's approval of S1 was refused (already_approved)",
        ),
        ("approver", "maria's approval of S1 was refused (approver)"),
        (
            "plan_hash",
            "maria's command about S1 was refused (plan_hash)",
        ),
        (
            "has_begun",
            "maria's rejection of S1 was refused (has_begun)",
        ),
    ] {
        let (said, board) = story.tell("refused", ("why not", "refused"), heard(rule));
        assert_eq!(said, format!("{words} | why not"));
        assert_eq!(board, running);
    }
    // A rejection that counts, and a step that is withdrawn, end it.
    let (_, board) = story.tell("refused", ("not now", "rejected"), heard("rejected"));
    assert_eq!(board, "S1 refused (rejected)");
    let frozen = ActionDetails {
        rule: "freeze".to_owned(),
        ..ActionDetails::default()
    };
    let (_, board) = story.tell("refused", ("a freeze began", "refused"), frozen);
    assert_eq!(board, "S1 refused (freeze)");
}
