//! A second pair of eyes: Debian's kcat, which nobody here wrote, must see the
//! topics and read the root cause from the broker.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// How long kcat may take for either question.
const LIMIT: Duration = Duration::from_secs(20);

/// Lists the topics and reads `rca.completed`; says in one line what was seen.
///
/// # Errors
/// kcat is missing or fails, the topics are not there, or no root cause is.
pub async fn look(bootstrap: &str) -> Result<String> {
    let listing = run(bootstrap, &["-L"]).await?;
    let topics = listing
        .lines()
        .filter(|line| line.trim_start().starts_with("topic "))
        .count();
    for topic in ["raw.metrics", "incidents.opened", "postmortems.generated"] {
        ensure!(
            listing.contains(&format!("topic \"{topic}\"")),
            "kcat -L does not list {topic}"
        );
    }
    let causes = run(
        bootstrap,
        &["-C", "-t", "rca.completed", "-e", "-q", "-f", "%s\\n"],
    )
    .await?;
    let count = causes
        .lines()
        .filter(|line| line.contains("\"root_cause_candidates\""))
        .count();
    ensure!(count > 0, "kcat reads no root cause from rca.completed");
    Ok(format!(
        "kcat lists {topics} topics and reads {count} from rca.completed"
    ))
}

async fn run(bootstrap: &str, arguments: &[&str]) -> Result<String> {
    let child = Command::new("kcat")
        .args(["-b", bootstrap])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, child)
        .await
        .context("kcat does not end")?
        .context("kcat cannot be run; install it with: apt-get install kcat")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kcat failed: {}", complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
