//! Agents that are killed in the middle of a storm come to the same incidents
//! and verdicts as ones that nobody disturbs.
//!
//! The same seeded storm is told three times, at the same time but apart from
//! each other (topics, groups, databases): undisturbed, with correlation killed
//! by SIGKILL at seeded moments and started again, and with the investigation
//! killed so; now and then both are killed at once. `STORM_SEED` says which storm
//! (another one each time if not set; it is printed), `STORM_KILLS` how many kills
//! each (5), `STORM_BROKER` on which broker: `kafka`, or the fallback `tansu`
//! (Kafka where it can be had).

mod agents;
mod dice;
mod difference;
mod kills;
mod outcome;
mod rest;
mod story;
mod world;

use crate::story::{Story, story};
use crate::world::{AGENTS, GROW, Killed, SETTLE, Servers, World, remember};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

fn variable(name: &str) -> Option<String> {
    std::env::vars()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value)
}

fn needed(name: &str) -> String {
    variable(name).unwrap_or_else(|| panic!("{name} is not set: run through `make test`"))
}

fn number(name: &str) -> Option<u64> {
    let text = variable(name).filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// A seed that nobody chose: where this process lies among others, and when.
fn drawn() -> u64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = folder.path().to_string_lossy().into_owned();
    let derived = midwatch_events::ids::derive(&["seed", &name, &std::process::id().to_string()]);
    derived.as_u64_pair().0 % 1_000_000
}

fn broker() -> String {
    let wanted = variable("STORM_BROKER").filter(|text| !text.is_empty());
    match wanted.as_deref() {
        Some("kafka") => needed("MIDWATCH_TEST_KAFKA"),
        Some("tansu") => needed("MIDWATCH_TEST_TANSU"),
        Some(other) => panic!("STORM_BROKER={other}: kafka and tansu are known"),
        None => variable("MIDWATCH_TEST_KAFKA").unwrap_or_else(|| needed("MIDWATCH_TEST_TANSU")),
    }
}

async fn servers(programs: &Path) -> Servers {
    let broker = broker();
    let redis = needed("MIDWATCH_TEST_REDIS_URL");
    let knowledge = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../knowledge");
    let variables = BTreeMap::from([
        ("KAFKA_BOOTSTRAP_SERVERS", broker.clone()),
        ("REDIS_URL", redis.clone()),
        ("QDRANT_URL", needed("MIDWATCH_TEST_QDRANT_URL")),
        ("EMBEDDINGS_URL", needed("MIDWATCH_TEST_EMBEDDINGS_URL")),
        ("KNOWLEDGE_DIR", knowledge.to_string_lossy().into_owned()),
        (SETTLE.0, SETTLE.1.to_string()),
        (GROW.0, GROW.1.to_string()),
    ]);
    let source = PathBuf::from(needed("MIDWATCH_TEST_BIN_DIR"));
    for name in ["correlation", "investigation", "seeder"] {
        let name = format!("midwatch-{name}");
        std::fs::copy(source.join(&name), programs.join(&name))
            .unwrap_or_else(|error| panic!("{name} is not built: {error}"));
    }
    let seeded = Command::new(programs.join("midwatch-seeder"))
        .env_clear()
        .envs(&variables)
        .output()
        .expect("the seeder starts");
    let said = String::from_utf8_lossy(&seeded.stdout);
    assert!(
        seeded.status.success(),
        "the knowledge is not seeded: {said}"
    );
    Servers {
        broker,
        database: needed("MIDWATCH_TEST_DATABASE_URL"),
        redis: midwatch_clients::redis::connect(&redis)
            .await
            .expect("Redis"),
        variables,
        programs: programs.to_path_buf(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_storm_they_come_to_the_same_incidents_and_verdicts() {
    let seed = number("STORM_SEED").unwrap_or_else(drawn);
    let kills = usize::try_from(number("STORM_KILLS").unwrap_or(5)).expect("a count");
    let broker = variable("STORM_BROKER").unwrap_or_default();
    println!("STORM_SEED={seed} STORM_KILLS={kills} STORM_BROKER={broker}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let servers = servers(folder.path()).await;
    let begun = Instant::now();
    let count = (kills as u64).div_ceil(2).max(3);
    let mut stories: Vec<Arc<Story>> = Vec::new();
    for index in 0..count {
        let environment = format!("storm-{seed}-{index}-{}", std::process::id());
        let told = story(seed, index, &environment);
        remember(&servers.redis, &told).await;
        stories.push(Arc::new(told));
    }
    let mut worlds = Vec::new();
    for name in ["calm", AGENTS[0], AGENTS[1]] {
        worlds.push(Arc::new(World::new(name, &servers, folder.path()).await));
    }
    let deal = |agent| Some((agent, kills::plan(agent, seed, kills)));
    let killed = tokio::join!(
        worlds[0].play(&stories, None),
        worlds[1].play(&stories, deal(AGENTS[0])),
        worlds[2].play(&stories, deal(AGENTS[1])),
    );
    println!("the storm took {} s", begun.elapsed().as_secs());
    let calm = outcome::of(&worlds[0], false).await;
    println!("undisturbed: {} stories, {:?}", stories.len(), calm.counts);
    let mut wrong = Vec::new();
    for (world, killed) in [(&worlds[1], killed.1), (&worlds[2], killed.2)] {
        let dealt: u32 = killed.moments.values().sum();
        assert_eq!(dealt as usize, kills);
        assert!(killed.missed * 2 <= dealt, "too few moments came");
        let disturbed = outcome::of(world, true).await;
        let Killed {
            moments,
            missed,
            both,
            seconds,
        } = &killed;
        println!(
            "{} killed {kills} times ({both} of them with the other; {moments:?}, {missed} of \
             them elsewhere, as the moment did not come; at {seconds:?} s): {:?}",
            world.name, disturbed.counts
        );
        println!(
            "longest acts, s: {:.1?}",
            world.spans.lock().expect("no panic").values()
        );
        let found = difference::differences(&calm, &disturbed);
        wrong.extend(
            found
                .into_iter()
                .map(|one| format!("{} killed: {one}", world.name)),
        );
    }
    println!("all took {} s", begun.elapsed().as_secs());
    let shown = &wrong[..wrong.len().min(60)];
    assert!(
        wrong.is_empty(),
        "STORM_SEED={seed}: {} differences:\n{}",
        wrong.len(),
        shown.join("\n")
    );
}
