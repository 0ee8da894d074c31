//! Apache Kafka, one node in KRaft mode, from the jars in the cache.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::layout::{self, Layout};
use crate::port;
use crate::probe::Probe;
use crate::process::Spec;
use crate::run_dir::RunDir;
use crate::servers::run_once;

/// What keeps the broker small. It idles at 155 MB with these. The heap holds
/// a few of the largest messages (8 MB) at a time; below 192 MB produce
/// requests of that size begin to fail.
const JVM: [&str; 11] = [
    "-Xmx256m",
    "-Xms64m",
    "-XX:+UseSerialGC",
    // The quick compiler alone: half the code memory, sooner warm.
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxMetaspaceSize=128m",
    "-XX:ReservedCodeCacheSize=48m",
    "-XX:MaxDirectMemorySize=96m",
    // Otherwise the JVM leaves a statistics file in /tmp.
    "-XX:+PerfDisableSharedMem",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
];

fn settings(port: u16, controller_port: u16, data: &Path) -> String {
    let data = data.display();
    format!(
        "process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=1
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
"
    )
}

/// Formats the storage and says how to start the broker.
///
/// # Errors
/// When Java or the jars are missing or the storage cannot be formatted.
pub(crate) async fn prepare(
    layout: &Layout,
    run: &RunDir,
    folder: &Path,
    port: u16,
) -> Result<Spec> {
    let file = folder.join("server.properties");
    fs::write(&file, settings(port, port::any()?, &folder.join("data")))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let file = file.to_string_lossy().into_owned();
    let format = java(layout, run, "format")?.args([
        "kafka.tools.StorageTool",
        "format",
        // One word each: an id that begins with a dash, as one in 64 does, would
        // be read as an option.
        &format!("--cluster-id={}", cluster_id()?),
        &format!("--config={file}"),
    ]);
    run_once(&format, Duration::from_secs(60)).await?;
    let mut spec = java(layout, run, "kafka")?.args(["kafka.Kafka", &file]);
    spec.probe = Probe::Kafka(port);
    Ok(spec)
}

fn java(layout: &Layout, run: &RunDir, name: &str) -> Result<Spec> {
    let jars = layout.cached("kafka/libs")?.join("*");
    Ok(Spec::new(name, layout::program("java")?, Probe::None)
        .args(JVM)
        // Compression libraries are unpacked there.
        .args([format!("-Djava.io.tmpdir={}", run.scratch().display())])
        .args(["-cp".to_owned(), jars.to_string_lossy().into_owned()]))
}

/// 16 random bytes in Kafka's own notation: URL-safe base64 without padding.
/// Each start is a new broker and must not carry the name of an older one.
fn cluster_id() -> Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(base64(&bytes))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut word = 0_u32;
        for index in 0..3 {
            word = word << 8 | u32::from(group.get(index).copied().unwrap_or(0));
        }
        for index in 0..=group.len() {
            let digit = (word >> (18 - 6 * index)) & 63;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_agrees_with_rfc_4648() {
        // Test vectors of RFC 4648 section 10, without padding.
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn two_brokers_have_two_names() {
        assert_ne!(cluster_id().unwrap(), cluster_id().unwrap());
    }
}
