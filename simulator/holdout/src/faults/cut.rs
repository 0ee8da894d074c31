//! Recordings whose call graph has gaps: services that nobody wrote down.

use super::Truth;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Deserialize, Serialize)]
struct Topology {
    services: Vec<Service>,
}

#[derive(Deserialize, Serialize)]
struct Service {
    name: String,
    depends_on: Vec<String>,
}

impl Topology {
    /// Leaves out the services of a third, 0 to 2, but for `kept`, and every
    /// call from and to them.
    fn cut(&mut self, third: usize, kept: &str) {
        let names = self.services.iter().map(|one| one.name.clone());
        let gone: BTreeSet<String> = names
            .enumerate()
            .filter(|(index, name)| index % 3 == third && name != kept)
            .map(|(_, name)| name)
            .collect();
        self.services.retain(|one| !gone.contains(&one.name));
        for one in &mut self.services {
            one.depends_on.retain(|callee| !gone.contains(callee));
        }
    }
}

/// Leaves a third of the services, 0 to 2, out of the call graph of every case
/// in `dir`, the alert's own never; their records stay.
///
/// # Errors
/// If there is no such third, or a file of `dir` cannot be read or written.
pub fn cut(dir: &Path, third: usize) -> anyhow::Result<()> {
    ensure!(third < 3, "there are the thirds 0, 1 and 2, none {third}");
    let path = dir.join("truth.jsonl");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    for line in text.lines() {
        let truth: Truth = serde_json::from_str(line)
            .with_context(|| format!("{} holds a line that is no truth", path.display()))?;
        let path = dir.join("cases").join(&truth.case).join("topology.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let mut topology: Topology = serde_json::from_str(&text)
            .with_context(|| format!("{} holds no topology", path.display()))?;
        topology.cut(third, &truth.question.target);
        std::fs::write(&path, serde_json::to_string(&topology)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_leaves_the_graph_with_its_calls_and_the_alerted_service_stays() {
        let text = r#"{"services":[
            {"name":"a","depends_on":["b","d","e"]},{"name":"b","depends_on":["d"]},
            {"name":"c","depends_on":[]},{"name":"d","depends_on":["e"]},
            {"name":"e","depends_on":[]}]}"#;
        let mut topology: Topology = serde_json::from_str(text).expect("written above");
        topology.cut(0, "a");
        let left = serde_json::to_string(&topology).expect("plain names");
        let expected = r#"{"services":[{"name":"a","depends_on":["b","e"]},{"name":"b","depends_on":[]},{"name":"c","depends_on":[]},{"name":"e","depends_on":[]}]}"#;
        assert_eq!(left, expected);
    }
}
