//! What every section stands on: the servers, and agents as processes.

use crate::options::Options;
use anyhow::{Context as _, Result, bail, ensure};
use midwatch_clients::kafka::{KafkaSettings, create_topics, ensure_epoch};
use midwatch_clients::postgres::Postgres;
use midwatch_local::layout::Layout;
use midwatch_local::port;
use midwatch_local::probe::Probe;
use midwatch_local::process::{Process, Spec};
use midwatch_local::run_dir::RunDir;
use midwatch_runtime::{Settings, clock};
use nix::sys::signal::Signal;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An agent may take this long from start to ready, and from SIGTERM to end.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The servers, and what this run put on them.
pub struct Bed {
    pub options: Options,
    pub begun: Instant,
    pub broker_name: &'static str,
    broker: String,
    settings: Settings,
    layout: Layout,
    run: RunDir,
    /// Tells this run's topics and databases from those of others.
    unique: String,
    topics: Vec<KafkaSettings>,
    databases: Vec<String>,
}

/// An agent that was started.
pub struct Agent {
    pub process: Process,
    pub spec: Spec,
    log: PathBuf,
    /// Where it tells how it is.
    base: String,
}

impl Bed {
    /// Looks where the servers are.
    ///
    /// # Errors
    /// Names the variable that is missing.
    pub fn new(options: Options) -> Result<Bed> {
        let settings = Settings::from_env();
        let kafka = settings.get("MIDWATCH_TEST_KAFKA");
        let tansu = settings.get("MIDWATCH_TEST_TANSU");
        let (broker_name, broker) = match options.broker.as_deref() {
            Some("tansu") => ("tansu", tansu),
            Some(_) => ("kafka", kafka),
            None if kafka.is_some() => ("kafka", kafka),
            None => ("tansu", tansu),
        };
        let broker = broker.with_context(|| {
            format!(
                "no {broker_name} runs for this; start the bench through `midwatch-stack exec \
                 --with {broker_name},redis,postgres,vectors,embedder -- …`"
            )
        })?;
        let layout = Layout::find()?;
        for part in options.parts() {
            for name in part.processes() {
                let program = layout.bin_dir.join(format!("midwatch-{name}"));
                ensure!(
                    program.is_file(),
                    "{} is not built; `make bench` builds what the bench needs",
                    program.display()
                );
            }
        }
        let unique = clock::random_id().simple().to_string();
        Ok(Bed {
            begun: Instant::now(),
            broker_name,
            broker,
            settings,
            layout,
            run: RunDir::create()?,
            unique: unique[..8].to_owned(),
            topics: Vec::new(),
            databases: Vec::new(),
            options,
        })
    }

    /// Shows what is being done.
    pub fn say(&self, part: &str, text: &str) {
        let seconds = self.begun.elapsed().as_secs();
        eprintln!("[{}:{:02}] {part}: {text}", seconds / 60, seconds % 60);
    }

    /// A variable that `midwatch-stack exec` sets.
    ///
    /// # Errors
    /// It is not set; the message names the server.
    pub fn server(&self, variable: &str, server: &str) -> Result<String> {
        self.settings.get(variable).with_context(|| {
            format!("{variable} is not set; add {server} to the servers of `midwatch-stack exec --with …`")
        })
    }

    /// Topics of a section's own, with an epoch.
    ///
    /// # Errors
    /// The broker is away.
    pub async fn broker(&mut self, name: &str, partitions: i32) -> Result<KafkaSettings> {
        let mut kafka = KafkaSettings::at(&self.broker);
        kafka.topic_prefix = format!("bench-{}-{name}.", self.unique);
        kafka.partitions = partitions;
        self.topics.push(kafka.clone());
        create_topics(&kafka).await.context("creating topics")?;
        ensure_epoch(&kafka, &format!("epoch-{}-{name}", self.unique))
            .await
            .context("writing the epoch")?;
        Ok(kafka)
    }

    /// A database of a section's own, with the schema.
    ///
    /// # Errors
    /// No server, or it refuses.
    pub async fn database(&mut self, name: &str) -> Result<(Postgres, String)> {
        let base = self.server("MIDWATCH_TEST_DATABASE_URL", "postgres")?;
        let admin = Postgres::connect(&base, 1).await?;
        let database = format!("bench_{}_{name}", self.unique);
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {database}")))
            .execute(&admin.pool)
            .await?;
        self.databases.push(database.clone());
        let (server, _) = base
            .rsplit_once('/')
            .context("MIDWATCH_TEST_DATABASE_URL names no database")?;
        let url = format!("{server}/{database}");
        let postgres = Postgres::connect(&url, 2).await?;
        postgres.migrate().await?;
        Ok((postgres, url))
    }

    /// Lets Redis hold what many series need; the stack's own bound of 128 MB
    /// is one for a demo.
    ///
    /// # Errors
    /// No Redis, or it refuses.
    pub async fn roomy_redis(&self) -> Result<String> {
        let url = self.server("MIDWATCH_TEST_REDIS_URL", "redis")?;
        let answer = self.redis(&url, "CONFIG SET maxmemory 8gb").await?;
        ensure!(answer.starts_with("+OK"), "Redis answers {answer:?}");
        Ok(url)
    }

    async fn redis(&self, url: &str, command: &str) -> Result<String> {
        let address = url.trim_start_matches("redis://").trim_end_matches('/');
        let mut stream = tokio::net::TcpStream::connect(address)
            .await
            .with_context(|| format!("Redis at {url}"))?;
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        let mut answer = [0; 64];
        let size = tokio::time::timeout(LIMIT, stream.read(&mut answer)).await??;
        Ok(String::from_utf8_lossy(&answer[..size]).into_owned())
    }

    /// Lets Redis note the commands that hold it up, from now on.
    ///
    /// # Errors
    /// No Redis, or it refuses.
    pub async fn watch_redis(&self) -> Result<()> {
        let url = self.server("MIDWATCH_TEST_REDIS_URL", "redis")?;
        for command in [
            "CONFIG SET slowlog-log-slower-than 1000 slowlog-max-len 10000",
            "SLOWLOG RESET",
        ] {
            let answer = self.redis(&url, command).await?;
            ensure!(answer.starts_with("+OK"), "Redis answers {answer:?}");
        }
        Ok(())
    }

    /// For how long one command held Redis up at most since
    /// [`Bed::watch_redis`], milliseconds (less than one counts as none), and
    /// which one.
    ///
    /// # Errors
    /// No Redis, or it refuses.
    pub async fn held_up(&self) -> Result<(f64, String)> {
        let url = self.server("MIDWATCH_TEST_REDIS_URL", "redis")?;
        let script = "EVAL \"local most, name = 0, '-' \
             for _, entry in ipairs(redis.call('SLOWLOG', 'GET', '10000')) do \
             if entry[3] > most then most, name = entry[3], entry[4][1] end end \
             return most .. ' ' .. name\" 0";
        let answer = self.redis(&url, script).await?;
        let (most, name) = answer
            .lines()
            .nth(1)
            .and_then(|line| line.split_once(' '))
            .with_context(|| format!("Redis answers {answer:?}"))?;
        Ok((most.parse::<f64>()? / 1_000.0, name.to_owned()))
    }

    /// The folder of the catalogue and the runbooks.
    pub fn knowledge(&self) -> String {
        let folder = self.layout.root.join("knowledge");
        folder.to_string_lossy().into_owned()
    }

    /// Variables that reach the broker and its topics.
    pub fn variables(&self, kafka: &KafkaSettings) -> BTreeMap<String, String> {
        let partitions = kafka.partitions.to_string();
        [
            ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap.as_str()),
            ("KAFKA_TOPIC_PREFIX", kafka.topic_prefix.as_str()),
            ("KAFKA_PARTITIONS", partitions.as_str()),
            ("RUST_LOG", "warn"),
            ("MIDWATCH_SLOT", "0"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    /// Variables of agents that need all servers; mails go to the inbox at `smtp`.
    ///
    /// # Errors
    /// A server is not there.
    pub fn all_variables(
        &self,
        kafka: &KafkaSettings,
        database: &str,
        smtp: &str,
    ) -> Result<BTreeMap<String, String>> {
        let mut variables = self.variables(kafka);
        let more = [
            ("DATABASE_URL", database.to_owned()),
            (
                "REDIS_URL",
                self.server("MIDWATCH_TEST_REDIS_URL", "redis")?,
            ),
            (
                "QDRANT_URL",
                self.server("MIDWATCH_TEST_QDRANT_URL", "vectors")?,
            ),
            (
                "EMBEDDINGS_URL",
                self.server("MIDWATCH_TEST_EMBEDDINGS_URL", "embedder")?,
            ),
            ("SMTP_URL", smtp.to_owned()),
            ("KNOWLEDGE_DIR", self.knowledge()),
        ];
        variables.extend(more.map(|(name, value)| (name.to_owned(), value)));
        Ok(variables)
    }

    /// Runs the seeder, which lies beside the bench or beside the stack.
    ///
    /// # Errors
    /// It is not built, or fails.
    pub async fn seed(&mut self, variables: &BTreeMap<String, String>) -> Result<()> {
        let stack = self
            .settings
            .get("MIDWATCH_TEST_BIN_DIR")
            .map(PathBuf::from);
        let program = [Some(self.layout.bin_dir.clone()), stack]
            .into_iter()
            .flatten()
            .map(|folder| folder.join("midwatch-seeder"))
            .find(|path| path.is_file())
            .context("midwatch-seeder is not built; run `make build` first")?;
        let mut spec = Spec::new("seeder", program, Probe::None);
        spec.env.clone_from(variables);
        let log = self.log("seeder")?;
        let mut process = spec.start(&log, &mut self.run)?;
        match process.wait(LIMIT).await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the seeder ended with {status}; {}", process.last_words()),
            None => bail!("the seeder took more than {} s", LIMIT.as_secs()),
        }
    }

    fn log(&self, name: &str) -> Result<PathBuf> {
        let folder = match &self.options.logs {
            Some(folder) => folder.clone(),
            None => self.run.path().to_path_buf(),
        };
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder.join(format!("{name}.log")))
    }

    /// Starts an agent; it is not ready yet.
    ///
    /// # Errors
    /// It is not built.
    pub fn start(&mut self, name: &str, variables: &BTreeMap<String, String>) -> Result<Agent> {
        let program = self.layout.binary(&format!("midwatch-{name}"))?;
        let address = format!("127.0.0.1:{}", port::any()?);
        let base = format!("http://{address}");
        let mut spec = Spec::new(name, program, Probe::Http(format!("{base}/readyz")));
        spec.env.clone_from(variables);
        let spec = spec.env("HTTP_BIND", address);
        let log = self.log(name)?;
        let process = spec.start(&log, &mut self.run)?;
        Ok(Agent {
            process,
            spec,
            log,
            base,
        })
    }

    /// Removes topics and databases of the section that ended. Failing here
    /// costs room only, so it is said and no more.
    pub async fn clear(&mut self) {
        for kafka in std::mem::take(&mut self.topics) {
            if let Err(error) = drop_topics(&kafka).await {
                eprintln!("bench: topics of {} stay: {error:#}", kafka.topic_prefix);
            }
        }
        for database in std::mem::take(&mut self.databases) {
            if let Err(error) = self.drop_database(&database).await {
                eprintln!("bench: the database {database} stays: {error:#}");
            }
        }
        if let Some(url) = self.settings.get("MIDWATCH_TEST_REDIS_URL")
            && let Err(error) = self.redis(&url, "FLUSHALL ASYNC").await
        {
            eprintln!("bench: Redis is not emptied: {error:#}");
        }
    }

    async fn drop_database(&self, database: &str) -> Result<()> {
        let base = self.server("MIDWATCH_TEST_DATABASE_URL", "postgres")?;
        let admin = Postgres::connect(&base, 1).await?;
        let statement = format!("DROP DATABASE {database} WITH (FORCE)");
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&admin.pool)
            .await?;
        Ok(())
    }
}

async fn drop_topics(kafka: &KafkaSettings) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = kafka.client_config().create()?;
    let metadata = admin
        .inner()
        .fetch_metadata(None, Duration::from_secs(10))?;
    let names: Vec<&str> = metadata
        .topics()
        .iter()
        .map(|topic| topic.name())
        .filter(|name| name.starts_with(&kafka.topic_prefix))
        .collect();
    admin.delete_topics(&names, &AdminOptions::new()).await?;
    Ok(())
}

impl Agent {
    /// Waits until it is ready.
    ///
    /// # Errors
    /// It ends or takes too long; the message carries the end of its log.
    pub async fn ready(&mut self) -> Result<()> {
        self.process.wait_healthy(&self.spec.probe, LIMIT).await
    }

    /// Starts it again after it ended.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start_again(&mut self, bed: &mut Bed) -> Result<()> {
        self.process = self.spec.start(&self.log, &mut bed.run)?;
        Ok(())
    }

    /// Ends it and waits for its end.
    ///
    /// # Errors
    /// It survives.
    pub async fn end(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal);
        self.process.finish(Duration::from_secs(15)).await
    }

    /// The sum of a metric over all labels; 0 where there is none yet.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metric(&self, client: &reqwest::Client, name: &str) -> Result<f64> {
        let address = format!("{}/metrics", self.base);
        let text = client.get(&address).send().await?.text().await?;
        Ok(sum_of(&text, name))
    }

    /// CPU seconds that it has used.
    ///
    /// # Errors
    /// It ended.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(&self.process.pid().to_string())
    }

    /// Bytes resident now.
    ///
    /// # Errors
    /// It ended.
    pub fn resident_bytes(&self) -> Result<f64> {
        self.memory("VmRSS:")
    }

    /// Bytes resident at most since its start.
    ///
    /// # Errors
    /// It ended.
    pub fn peak_bytes(&self) -> Result<f64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let kilobytes: f64 = text
            .lines()
            .find_map(|line| line.strip_prefix(what))
            .and_then(|line| line.split_whitespace().next())
            .context("the process has no memory any more")?
            .parse()?;
        Ok(kilobytes * 1024.0)
    }
}

/// CPU seconds, user and system, of a process (`self` for this one).
///
/// # Errors
/// It does not exist.
pub fn cpu_seconds(process: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold spaces; fields count from its end.
    let (_, rest) = text.rsplit_once(')').context("/proc has no such form")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks: f64 = [11, 12]
        .iter()
        .filter_map(|&index| fields.get(index)?.parse::<f64>().ok())
        .sum();
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(ticks / per_second as f64)
}

/// The sum of all series of a metric in Prometheus' text form.
fn sum_of(text: &str, name: &str) -> f64 {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let bare = series.split('{').next()?;
            (bare == name).then(|| value.parse::<f64>().ok()).flatten()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# TYPE a_total counter\na_total{topic=\"x\"} 3\na_total{topic=\"y z\"} 4\na_total_more 9\n";
        assert_eq!(sum_of(text, "a_total"), 7.0);
        assert_eq!(sum_of(text, "b"), 0.0);
    }

    #[test]
    fn this_process_has_used_cpu_time() {
        let before = cpu_seconds("self").unwrap();
        let mut sum = 0_u64;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_seconds("self").unwrap() > before);
    }
}
