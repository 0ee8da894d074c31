//! The servers of the embedded stack: what each is started with, where it then
//! serves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use serde::{Deserialize, Serialize};

use crate::kafka;
use crate::layout::{self, Layout};
use crate::port;
use crate::probe::Probe;
use crate::process::Spec;
use crate::run_dir::RunDir;

/// A server may take this long from start to serving. Kafka needs three
/// seconds on an idle machine; ten times that is a machine under a build.
pub const HEALTHY_LIMIT: Duration = Duration::from_secs(60);

/// One of the servers that the services need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
    /// Apache Kafka, one node.
    Kafka,
    /// The fallback broker.
    Tansu,
    /// The process that speaks Qdrant's protocol.
    Vectors,
    /// The process that computes embeddings.
    Embedder,
    /// The SMTP inbox.
    Mail,
}

impl Server {
    /// All servers.
    pub const ALL: [Self; 7] = [
        Self::Postgres,
        Self::Redis,
        Self::Kafka,
        Self::Tansu,
        Self::Vectors,
        Self::Embedder,
        Self::Mail,
    ];

    /// Its name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
            Self::Tansu => "tansu",
            Self::Vectors => "vectors",
            Self::Embedder => "embedder",
            Self::Mail => "mail",
        }
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|server| server.name() == text)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                format!("unknown server '{text}'; known are {known}")
            })
    }
}

/// Where a server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address in the form that the services' variable for it takes.
    pub url: String,
    /// Address of its web page, if it has one.
    pub web: Option<String>,
    /// Port that `url` names.
    pub port: u16,
}

/// Prepares a server's data and says how to start it and where it will serve.
/// `web_port` is the wished port of a web page (the inbox); any free one if
/// `None`.
///
/// # Errors
/// When a program, a file or a free port is missing, or the data folder cannot
/// be made.
pub async fn prepare(
    server: Server,
    layout: &Layout,
    run: &RunDir,
    web_port: Option<u16>,
) -> Result<(Spec, Endpoint)> {
    let port = port::any()?;
    let folder = run.path().join(server.name());
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (spec, url) = match server {
        Server::Postgres => {
            let spec = postgres(&folder, run, port).await?;
            (
                spec,
                format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            )
        }
        Server::Redis => (redis(&folder, port)?, format!("redis://127.0.0.1:{port}")),
        Server::Kafka => {
            let spec = kafka::prepare(layout, run, &folder, port).await?;
            (spec, format!("127.0.0.1:{port}"))
        }
        Server::Tansu => (tansu(layout, port)?, format!("127.0.0.1:{port}")),
        Server::Vectors => (
            vectors(layout, &folder, port)?,
            format!("http://127.0.0.1:{port}"),
        ),
        Server::Embedder => (
            embedder(layout, port)?,
            format!("http://127.0.0.1:{port}/v1"),
        ),
        Server::Mail => return mail(layout, &folder, port, web_port),
    };
    let web = None;
    Ok((spec, Endpoint { url, web, port }))
}

/// PostgreSQL refuses to run as root; Debian's package brings a user for it.
fn postgres_user() -> Option<String> {
    geteuid().is_root().then(|| "postgres".to_owned())
}

async fn postgres(folder: &Path, run: &RunDir, port: u16) -> Result<Spec> {
    let programs = layout::postgres_programs()?;
    let user = postgres_user();
    if let Some(name) = &user {
        let found = User::from_name(name)?
            .with_context(|| format!("the user {name} does not exist; install postgresql"))?;
        chown(folder, Some(found.uid.as_raw()), Some(found.gid.as_raw()))?;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    let data = folder.to_string_lossy().into_owned();
    let mut initdb = Spec::new("initdb", programs.join("initdb"), Probe::None).args([
        "--auth=trust",
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-instructions",
        "-D",
        &data,
    ]);
    initdb.user.clone_from(&user);
    initdb.folder = Some(run.path().to_path_buf());
    run_once(&initdb, Duration::from_secs(60)).await?;

    let settings = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        // No socket file outside the data folder, nothing left in /dev/shm.
        "unix_socket_directories=".to_owned(),
        "dynamic_shared_memory_type=mmap".to_owned(),
        "shared_buffers=48MB".to_owned(),
        "max_connections=120".to_owned(),
        "max_wal_size=256MB".to_owned(),
        "autovacuum_max_workers=1".to_owned(),
        "max_parallel_workers=0".to_owned(),
        "max_logical_replication_workers=0".to_owned(),
        "jit=off".to_owned(),
    ];
    let mut spec = Spec::new("postgres", programs.join("postgres"), Probe::Postgres(port))
        .args(["-D".to_owned(), data])
        .args(
            settings
                .into_iter()
                .flat_map(|item| ["-c".to_owned(), item]),
        );
    spec.user = user;
    // SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
    spec.stop_signal = Signal::SIGINT;
    spec.death_signal = Signal::SIGINT;
    spec.folder = Some(run.path().to_path_buf());
    Ok(spec)
}

/// Runs a preparatory program to its end.
///
/// # Errors
/// When it fails or takes longer than `limit`; the message carries its output.
pub(crate) async fn run_once(spec: &Spec, limit: Duration) -> Result<()> {
    let mut command = spec.command()?;
    let output = tokio::time::timeout(limit, command.output())
        .await
        .with_context(|| format!("{} took more than {} s", spec.name, limit.as_secs()))?
        .with_context(|| format!("cannot run {}", spec.program.display()))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}{}",
            spec.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn redis(folder: &Path, port: u16) -> Result<Spec> {
    let port_text = port.to_string();
    let folder = folder.to_string_lossy();
    Ok(Spec::new(
        "redis",
        layout::program("redis-server")?,
        Probe::Redis(port),
    )
    .args([
        "--port",
        &port_text,
        "--bind",
        "127.0.0.1",
        "--dir",
        &folder,
        "--maxmemory",
        "128mb",
        "--maxmemory-policy",
        "noeviction",
        "--appendonly",
        "yes",
        "--save",
        "",
        "--daemonize",
        "no",
    ]))
}

fn tansu(layout: &Layout, port: u16) -> Result<Spec> {
    let address = format!("tcp://127.0.0.1:{port}");
    Ok(
        Spec::new("tansu", layout.cached("tansu/tansu")?, Probe::Kafka(port)).args([
            "broker",
            "--listener-url",
            &address,
            "--advertised-listener-url",
            &address,
            "--storage-engine",
            "memory://tansu/",
        ]),
    )
}

fn vectors(layout: &Layout, folder: &Path, port: u16) -> Result<Spec> {
    let http = format!("127.0.0.1:{}", port::any()?);
    Ok(Spec::new(
        "vectors",
        layout.binary("midwatch-vectors")?,
        Probe::Http(format!("http://{http}/readyz")),
    )
    .env("HTTP_BIND", http)
    .args(["--bind".to_owned(), format!("127.0.0.1:{port}")])
    .args(["--data".to_owned(), folder.to_string_lossy().into_owned()]))
}

fn embedder(layout: &Layout, port: u16) -> Result<Spec> {
    let model = layout.cached("model")?;
    Ok(Spec::new(
        "embedder",
        layout.binary("midwatch-embedder")?,
        Probe::Http(format!("http://127.0.0.1:{port}/readyz")),
    )
    .env("HTTP_BIND", format!("127.0.0.1:{port}"))
    .env(
        "ORT_DYLIB_PATH",
        model.join("libonnxruntime.so").to_string_lossy(),
    )
    .env("MODEL_DIR", model.to_string_lossy()))
}

fn mail(
    layout: &Layout,
    folder: &Path,
    port: u16,
    web_port: Option<u16>,
) -> Result<(Spec, Endpoint)> {
    let web_port = match web_port {
        Some(number) => number,
        None => port::any()?,
    };
    let web = format!("http://127.0.0.1:{web_port}");
    let program = layout.cached("mail/node_modules/maildev/bin/maildev")?;
    let spec = Spec::new(
        "mail",
        layout::program("node")?,
        Probe::Mail(port, format!("{web}/healthz")),
    )
    .args([
        "--max-old-space-size=96".to_owned(),
        program.to_string_lossy().into_owned(),
        "--smtp".to_owned(),
        port.to_string(),
        "--ip".to_owned(),
        "127.0.0.1".to_owned(),
        "--web".to_owned(),
        web_port.to_string(),
        "--web-ip".to_owned(),
        "127.0.0.1".to_owned(),
        "--mail-directory".to_owned(),
        folder.to_string_lossy().into_owned(),
    ]);
    let url = format!("smtp://127.0.0.1:{port}");
    let web = Some(web);
    Ok((spec, Endpoint { url, web, port }))
}
