//! One-time links to take an incident, on a real broker and a real database.

use crate::commands::{TOKEN, broker, commands, file, press};
use crate::decisions::serve;
use crate::fixture::{Cast, Stage, write};
use crate::links::key;
use crate::pages::assert_harmless;
use midwatch_clients::postgres::approval_links;
use midwatch_clients::signed_link::{self, Link, LinkKey, TakeLink};
use midwatch_events::ids;
use midwatch_runtime::clock;

fn link(cast: &Cast, recipient: &str, nonce: &str) -> TakeLink {
    TakeLink {
        incident_id: cast.id,
        recipient: recipient.to_owned(),
        nonce: nonce.to_owned(),
        expires_ms: clock::now_ms() + 60_000,
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one link from the first look on")]
async fn looking_takes_nothing_and_pressing_takes_the_incident_once() {
    let settings = broker().await;
    let operators = file("take", &format!("ana {TOKEN} mail=ana@example.com\n"));
    let server = serve(&settings, &operators).await;
    let cast = Cast::usual("take", 3);
    write(&server.scratch.pool, &cast, Stage::Planned).await;
    let here = format!("http://{}", server.address);
    let origin = [
        ("origin", here.as_str()),
        ("x-forwarded-for", "198.51.100.7"),
    ];
    let token = signed_link::sign_take(&key(), &link(&cast, "ana@example.com", "take-1"));
    let at = format!("/acknowledge?t={token}");
    // A scanner looks, again and again.
    for _ in 0..3 {
        let head = server.client.head(format!("{here}{at}")).send().await;
        assert_eq!(head.expect("an answer").status(), 200);
        let page = server.page(&at).await;
        assert_harmless(&page, "the link");
        for part in [
            "ana@example.com (operator ana)",
            "I have it",
            "Escalation stops",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
    assert!(commands(&settings).await.is_empty());
    let fields = format!("t={token}&reason=on+my+way");
    let foreign = [("origin", "http://evil.example")];
    let refused = press(&server, "/acknowledge", &fields, &foreign).await;
    assert_eq!(refused.status(), 403);
    let pressed = press(&server, "/acknowledge", &fields, &origin).await;
    assert_eq!(pressed.status(), 202);
    let page = pressed.text().await.expect("a body");
    assert!(
        page.contains("<b>Acknowledged</b>, as ana@example.com"),
        "{page}"
    );
    let replayed = press(&server, "/acknowledge", &fields, &origin).await;
    assert_eq!(replayed.status(), 409);
    let page = replayed.text().await.expect("a body");
    assert!(page.contains("ana@example.com acknowledged"), "{page}");
    let looked = server.get(&at).await;
    assert_eq!(looked.status(), 410);
    let page = looked.text().await.expect("a body");
    assert!(page.contains("already used") && !page.contains("<form class=\"operate decide\""));
    // Whose word it is where no operator has the address, or where it lay in a
    // channel.
    for (recipient, nonce) in [("ops@example.com", "take-2"), ("room", "take-3")] {
        let token = signed_link::sign_take(&key(), &link(&cast, recipient, nonce));
        let fields = format!("t={token}");
        let pressed = press(&server, "/acknowledge", &fields, &origin).await;
        assert_eq!(pressed.status(), 202, "{recipient}");
    }
    let found = commands(&settings).await;
    let told: Vec<[&str; 6]> = found
        .iter()
        .map(|(_, command)| {
            let details = &command.details;
            [
                command.command.as_str(),
                &command.by,
                &command.credential_id,
                &command.reason,
                &details.channel,
                &details.nonce,
            ]
        })
        .collect();
    assert_eq!(
        told,
        [
            [
                "acknowledge",
                "ana",
                "link:ana@example.com",
                "on my way",
                "link",
                "take-1"
            ],
            [
                "acknowledge",
                "ops@example.com",
                "mailbox:ops@example.com",
                "",
                "link",
                "take-2"
            ],
            ["acknowledge", "room", "channel:room", "", "link", "take-3"],
        ]
    );
    for (incident, command) in &found {
        assert_eq!(*incident, cast.id.to_string());
        assert_eq!(command.incident_id, cast.id);
        assert_eq!(command.details.origin, "198.51.100.7");
    }
    let used = approval_links::used(&server.app.pool, "take-1").await;
    let used = used.expect("read").expect("it was used");
    assert!(used.is_published && used.command == "acknowledge");
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table of what is refused")]
async fn a_link_that_takes_nothing_says_why() {
    let settings = broker().await;
    let operators = file("bad-take", &format!("ana {TOKEN}\n"));
    let server = serve(&settings, &operators).await;
    let [cast, over, taken] = ["idle", "ended", "held"].map(|seed| Cast::usual(seed, 3));
    for (cast, stage) in [
        (&cast, Stage::Planned),
        (&over, Stage::Resolved),
        (&taken, Stage::Planned),
    ] {
        write(&server.scratch.pool, cast, stage).await;
    }
    sqlx::query(
        "UPDATE incidents SET correlation_context =
             jsonb_set(correlation_context, '{acknowledged_by}', '\"bo\"') WHERE id = $1",
    )
    .bind(taken.id)
    .execute(&server.scratch.pool)
    .await
    .expect("written");
    let good = link(&cast, "ana@example.com", "n");
    let sign = |link: &TakeLink| signed_link::sign_take(&key(), link);
    let foreign = LinkKey::of(b"another-key-of-thirty-two-bytes!").expect("32 bytes");
    let mut tampered = sign(&good).into_bytes();
    tampered[20] = if tampered[20] == b'A' { b'B' } else { b'A' };
    let approval = Link {
        incident_id: cast.id,
        plan_hash: cast.plan_hash(),
        step_id: "S2".to_owned(),
        recipient: "ana@example.com".to_owned(),
        nonce: "a".to_owned(),
        expires_ms: good.expires_ms,
    };
    let with = |incident_id, expires_ms| {
        sign(&TakeLink {
            incident_id,
            expires_ms,
            ..good.clone()
        })
    };
    let late = good.expires_ms;
    let here = format!("http://{}", server.address);
    for (token, status, words) in [
        (String::new(), 400, "this is no whole link"),
        // A link for something else takes nothing.
        (
            signed_link::sign(&key(), &approval),
            400,
            "this is no whole link",
        ),
        (
            String::from_utf8(tampered).expect("text"),
            403,
            "signature does not fit",
        ),
        (
            signed_link::sign_take(&foreign, &good),
            403,
            "signed elsewhere",
        ),
        (with(cast.id, 1), 410, "the link has expired"),
        (
            with(ids::derive(&["nobody"]), late),
            404,
            "there is no incident",
        ),
        (with(over.id, late), 409, "is over"),
        (with(taken.id, late), 409, "bo has acknowledged it already"),
    ] {
        let looked = server.get(&format!("/acknowledge?t={token}")).await;
        assert_eq!(looked.status(), status, "{words}");
        let page = looked.text().await.expect("a body");
        let has_button = page.contains("<form class=\"operate decide\"");
        assert!(page.contains(words) && !has_button, "{words}: {page}");
        let fields = format!("t={token}");
        let origin = [("origin", here.as_str())];
        let pressed = press(&server, "/acknowledge", &fields, &origin).await;
        assert_eq!(pressed.status(), status, "{words}");
    }
    // Nor does a link to take it approve anything.
    let looked = server.get(&format!("/approve?t={}", sign(&good))).await;
    assert_eq!(looked.status(), 400);
    assert!(commands(&settings).await.is_empty());
    server.stop().await;
    std::fs::remove_file(operators).expect("it is there");
}
