//! Midwatch's own processes, for the doctor to look at.

use super::{LIMIT, Stage, needed};
use midwatch_local::port;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

fn program(name: &str) -> Command {
    let path = Path::new(&needed("MIDWATCH_TEST_BIN_DIR")).join(name);
    assert!(path.is_file(), "{} is not built", path.display());
    let mut command = Command::new(path);
    command
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Fills the knowledge store of the stage.
pub async fn seed(stage: &Stage) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the project");
    let status = program("midwatch-seeder")
        .envs(&stage.values)
        .env("KNOWLEDGE_DIR", root.join("knowledge"))
        .status()
        .await
        .expect("the seeder runs");
    assert!(status.success());
}

/// Starts the API of the stage, and waits until it answers.
pub async fn api(stage: &mut Stage) -> Child {
    let number = port::any().expect("a port");
    let address = format!("127.0.0.1:{number}");
    let child = program("midwatch-api")
        .envs(&stage.values)
        .env("API_BIND", &address)
        .env("TOPICS_BIND", "off")
        .spawn()
        .expect("the API starts");
    stage.set("MIDWATCH_API_URL", format!("http://{address}"));
    let begun = Instant::now();
    while !reqwest::get(format!("http://{address}/health"))
        .await
        .is_ok_and(|response| response.status().is_success())
    {
        assert!(begun.elapsed() < LIMIT, "the API does not answer");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    child
}
