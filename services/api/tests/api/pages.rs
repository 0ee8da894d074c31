//! The pages.

use crate::HOSTILE;
use crate::fixture::{Cast, Stage, write};
use crate::server::Server;
use midwatch_events::ids;
use serde_json::Value;
use std::collections::BTreeSet;

#[tokio::test]
async fn no_name_and_no_line_becomes_markup() {
    let server = Server::start().await;
    let cast = Cast::hostile(HOSTILE);
    for (seed, stage) in [
        ("x", Stage::Resolved),
        ("y", Stage::Planned),
        ("z", Stage::Opened),
    ] {
        let cast = Cast {
            id: ids::derive(&[seed]),
            ..cast.clone()
        };
        write(&server.scratch.pool, &cast, stage).await;
        let page = server.page(&format!("/incidents/{}", cast.id)).await;
        assert_harmless(&page, "the incident");
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    }
    let encoded = "%3Cimg%20src=x%20onerror=alert(1)%3E";
    for path in [
        "/".to_owned(),
        format!("/?service={encoded}"),
        format!("/?service={encoded}&severity=LOW"),
        format!("/?status={encoded}"),
        format!("/incidents/{encoded}"),
        format!("/elsewhere/{encoded}"),
        format!("/static/{encoded}"),
    ] {
        assert_harmless(&server.page(&path).await, &path);
    }
    server.stop().await;
}

pub fn assert_harmless(page: &str, what: &str) {
    let lower = page.to_lowercase();
    assert!(
        !lower.contains("<img src=x"),
        "{what} holds the injected element"
    );
    assert!(!lower.contains("<script>"), "{what} holds an inline script");
    assert_eq!(
        lower.matches("<script").count(),
        1,
        "{what} has other scripts than its own"
    );
    // What stands in quotes is the value of an attribute, and text.
    let unquoted: String = lower.split('"').step_by(2).collect();
    for active in [
        " onerror=",
        " onload=",
        " onclick=",
        " style=",
        "javascript:",
    ] {
        assert!(
            !unquoted.split('<').any(|element| {
                element
                    .split('>')
                    .next()
                    .is_some_and(|inside| inside.contains(active))
            }),
            "{what} has an element with {active}"
        );
    }
    assert!(
        !lower.contains("\"javascript:"),
        "{what} has a link that is a script"
    );
}

#[tokio::test]
async fn the_incident_page_shows_all_its_parts() {
    let server = Server::start().await;
    let cast = Cast::usual("page", 4);
    write(&server.scratch.pool, &cast, Stage::Resolved).await;
    let page = server
        .page(&format!("/incidents/{}", ids::short_incident(cast.id)))
        .await;
    for part in [
        "5 min 20 s simulated, 53 s wall",
        "(wall +53 s)",
        "class=\"chart wide\"",
        "class=\"chart narrow\"",
        "class=\"region\"",
        "class=\"band\"",
        "class=\"expected\"",
        "class=\"scores decided\"",
        "class=\"spot\"",
        "<ol class=\"reasons\"",
        "× the largest error of payment-service in the past day, outside the range ever seen</p>",
        "detected ",
        "class=\"graph wide\"",
        "order-service calls payment-service: seen in spans 3 min before detection",
        "kubectl -n production rollout undo deployment&#x2f;payment-service",
        "RESOLVED — DB connection exhaustion",
        "451 greylisted",
        "<h4>Action items</h4>",
        "$0.0123",
        "not among the records that were kept",
        ">INC-2025-007</a>",
        "What would refute it",
        "Looked again because: order-service joined",
        "another cause came first",
        "The disk of payment-service is full.",
        "no record says so",
        "The knowledge store gave no answer.",
        "No spans of the last hour were kept.",
        "No call leads from user-service to payment-service.",
        "in the catalogue, told by Kubernetes 1 d before detection",
        "First the 2 messages of the round before, word for word.",
        "class=\"proof wide\"",
        "class=\"bond refutes\"",
        "from <a href=\"#artifact-",
        "OPERATOR_TOKENS_FILE",
        "<span class=\"chip\">Command refused</span>",
        "4,302 tokens and $0.0246 for 2 model calls of 4.62 s.",
        "<td data-label=\"Stage\">copied records</td><td data-label=\"Calls\">0</td>",
        "<b>All</b></td><td data-label=\"Calls\">2</td><td data-label=\"Tokens\">4,302</td>",
        "data-status=\"reviewed\"><span class=\"state is-over\">reviewed</span><span>version 2</span>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let cited: Vec<&str> = page
        .split("href=\"#record-")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    // Nine in the lists, and each record twice in the evidence graph.
    assert_eq!(cited.iter().collect::<BTreeSet<_>>().len(), 7);
    assert!(cited.len() >= 9 + 2 * 7, "{}", cited.len());
    for id in cited {
        assert!(
            page.contains(&format!("id=\"record-{id}\"")),
            "{id} leads nowhere"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_cited_reading_is_marked_on_its_chart_and_other_incidents_are_linked() {
    let server = Server::start().await;
    let cast = Cast::usual("cited", 4);
    write(&server.scratch.pool, &cast, Stage::Resolved).await;
    let page = server.page(&format!("/incidents/{}", cast.id)).await;
    let sibling = format!(
        "href=\"/incidents/{}\">{}",
        cast.sibling(),
        ids::short_incident(cast.sibling())
    );
    assert!(page.contains(&sibling), "{sibling}");
    let metric = ids::record(cast.id, "metric", &["0"]);
    let asked = format!("/incidents/{}?chart={metric}", cast.id);
    let charted = server.page(&asked).await;
    assert!(!page.contains("<figure id=") && charted.contains("<figure id=\"chart-evidence\">"));
    assert!(charted.contains("text class=\"cursor\""));
    server.stop().await;
}

#[tokio::test]
async fn a_young_incident_says_what_is_still_to_come() {
    let server = Server::start().await;
    let young = Cast::usual("young", 1);
    write(&server.scratch.pool, &young, Stage::Opened).await;
    let page = server.page(&format!("/incidents/{}", young.id)).await;
    for part in [
        "Not yet known: investigation is at work.",
        "The plan follows the root cause.",
        "Open for",
        "0 tokens and $0: no model was asked.",
        "<b>All</b></td><td data-label=\"Calls\">0</td><td data-label=\"Tokens\">0</td>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_empty_feed_says_what_is_going_on() {
    let server = Server::start().await;
    let page = server.page("/").await;
    assert!(page.contains("All quiet: no incident so far"));
    assert!(page.contains("The broker gives no answer at the moment"));
    assert!(page.contains("No agent has written to the audit trail yet."));
    let topics = server.json("/api/topics").await;
    assert_eq!(topics["reachable"], false);
    assert_eq!(topics["topics"][0]["name"], "raw.metrics");
    assert_eq!(topics["topics"][0]["partitions"], Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn a_feed_emptied_by_its_filters_says_so() {
    let server = Server::start().await;
    write(&server.scratch.pool, &Cast::usual("a", 1), Stage::Opened).await;
    let page = server.page("/?severity=LOW").await;
    assert!(page.contains("No incident matches these filters"));
    assert!(page.contains("There are 1 in all.") && page.contains(">Show all</a>"));
    server.stop().await;
}

#[tokio::test]
async fn documents_of_another_build_cost_only_themselves() {
    let server = Server::start().await;
    let cast = Cast::usual("foreign", 1);
    write(&server.scratch.pool, &cast, Stage::Resolved).await;
    sqlx::query(
        "UPDATE incidents SET remediation_plan = '[1]', blast_radius = '\"x\"', affected_services = '{}',
             rca_candidates = '[{\"rank\": 1}]', resolution = '{\"mttr_ms\": \"soon\"}'",
    )
    .execute(&server.scratch.pool)
    .await
    .unwrap();
    let page = server.page(&format!("/incidents/{}", cast.id)).await;
    assert!(
        page.contains("5 entries of affected_services, blast_radius"),
        "{page}"
    );
    assert!(server.page("/").await.contains("on unknown service"));
    server.stop().await;
}

#[tokio::test]
async fn assets_are_kept_by_browsers_and_checked_by_version() {
    let server = Server::start().await;
    let page = server.page("/").await;
    let address = page
        .split("href=\"")
        .find(|rest| rest.contains("midwatch.css"))
        .unwrap();
    let address = address.split('"').next().unwrap().replace("&#x2f;", "/");
    let response = server.get(&address).await;
    assert_eq!(
        response.headers()["cache-control"],
        "public, max-age=31536000, immutable"
    );
    assert_eq!(
        response.headers()["content-type"],
        "text/css; charset=utf-8"
    );
    let tag = response.headers()["etag"].clone();
    let url = format!("http://{}{address}", server.address);
    let again = server
        .client
        .get(url)
        .header("if-none-match", tag)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 304);
    for outside in ["http://", "https://", "@import"] {
        let css = include_str!("../../static/midwatch.css");
        assert!(
            !css.contains(outside),
            "the style sheet loads from elsewhere"
        );
    }
    server.stop().await;
}
