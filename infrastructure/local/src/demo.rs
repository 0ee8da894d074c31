//! `midwatch-stack run`: the whole pipeline on the embedded stack.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;

use crate::address_book::DemoLock;
use crate::attached::Attached;
use crate::environment;
use crate::exec::exit_code;
use crate::layout::{self, Layout};
use crate::once::{self, Approving, Once};
use crate::port;
use crate::probe::Probe;
use crate::process::Spec;
use crate::prometheus;
use crate::run_dir::{RunDir, reap_leftovers};
use crate::servers::{self, Endpoint, HEALTHY_LIMIT, Server};
use crate::signals::Signals;
use crate::supervisor::{Kind, Supervisor};
use crate::table::Screen;

mod options;

pub use options::Options;

/// The agents, in the order of the flow.
pub const AGENTS: [&str; 6] = [
    "detection",
    "correlation",
    "investigation",
    "remediation",
    "communication",
    "postmortem",
];

/// The simulator's scenarios.
pub const SCENARIOS: [&str; 7] = [
    "LATENCY_SPIKE",
    "ERROR_RATE_SPIKE",
    "CPU_SATURATION",
    "MEMORY_LEAK",
    "DB_CONNECTION_EXHAUSTION",
    "KAFKA_CONSUMER_LAG",
    "DEPLOYMENT_FAILURE",
];

/// Wished ports of the pages.
const DASHBOARD_PORT: u16 = 8000;
const TOPICS_PORT: u16 = 8080;
const INBOX_PORT: u16 = 8025;
const SIMULATOR_PORT: u16 = 8100;

/// Each one-shot job (migrations and topics, knowledge) may take this long.
const JOB_LIMIT: Duration = Duration::from_secs(90);

/// The fault of --once where none is named.
const ONCE_SCENARIO: &str = "DB_CONNECTION_EXHAUSTION";

/// The fault of --approve wrong: its runbook has an executable step that does
/// not help in the simulator, and that can be taken back.
const WRONG_SCENARIO: &str = "LATENCY_SPIKE";

/// Simulated seconds per second when one fault is watched through its life.
pub(crate) const ONCE_SPEED: u32 = 6;
/// The same where a step is approved: what acts runs on the wall clock, and
/// must be done while the fault still lasts.
const APPROVE_SPEED: u32 = 3;

/// Runs a demo until it is told to stop, or with `once` until the fault's life
/// is over. Returns the exit code.
///
/// # Errors
/// When the stack cannot be started.
pub async fn run(mut options: Options) -> Result<i32> {
    let begun = Instant::now();
    if (options.kill || options.rescale) && !options.once {
        bail!("KILL=1 and RESCALE=1 act during the one incident of ONCE=1; give that, too");
    }
    if options.approve.is_some() && !options.once {
        bail!("APPROVE approves a step of the one incident of ONCE=1; give that, too");
    }
    let mut signals = Signals::new()?;
    let layout = Layout::find()?;
    let _lock = DemoLock::take(&layout)?;
    let mut screen = Screen::new(!options.once && options.command.is_empty());
    for line in reap_leftovers() {
        screen.say(&line);
    }
    if options.seed.is_none() {
        options.seed = Some(environment::random_seed()?);
    }
    let broker = choose_broker(&layout, options.broker.as_deref(), &mut screen)?;
    clear_logs(&layout)?;
    let mut run = RunDir::create()?;
    if options.keep {
        run.keep()?;
        screen.say(&format!("data are kept in {}", run.path().display()));
    }
    let logs = layout.logs();
    let mut supervisor = Supervisor::new(layout, run, screen, broker.name());
    let is_watched = options.once || !options.command.is_empty();
    let result = tokio::select! {
        result = live(&mut supervisor, &options, broker, begun) => result,
        signal = signals.next() => Ok(if is_watched { 128 + signal as i32 } else { 0 }),
    };
    // A second Ctrl-C while stopping: let go at once, which kills the rest.
    tokio::select! {
        stopped = supervisor.stop() => stopped?,
        _ = signals.next() => bail!("stopped without waiting"),
    }
    println!("stopped; the logs of this run stay in {}", logs.display());
    result
}

fn choose_broker(layout: &Layout, wish: Option<&str>, screen: &mut Screen) -> Result<Server> {
    let broker = match wish {
        Some("kafka") if !layout.has_kafka() => bail!(
            "BROKER=kafka, but its jars or java are not there; run infrastructure/local/setup.sh"
        ),
        Some("tansu") => Server::Tansu,
        _ if layout.has_kafka() => Server::Kafka,
        _ => Server::Tansu,
    };
    screen.say(match broker {
        Server::Kafka => "broker: Apache Kafka 4.1, one node (costs about 300 MB and 3 s at start)",
        _ => {
            "broker: Tansu, the fallback (memory only: its data end with it; lag figures are \
             not\nreliable; no transactions, which nothing here needs; takeover after a kill ~10 s)"
        }
    });
    Ok(broker)
}

fn clear_logs(layout: &Layout) -> Result<()> {
    let folder = layout.logs();
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Starts everything and keeps it running.
async fn live(
    supervisor: &mut Supervisor,
    options: &Options,
    broker: Server,
    begun: Instant,
) -> Result<i32> {
    let plan = Plan::make(supervisor, options, broker).await?;
    plan.start_services(supervisor, options).await?;
    let healthy_after = begun.elapsed();
    let seconds = healthy_after.as_secs_f64();
    supervisor
        .screen
        .say(&format!("all healthy after {seconds:.1} s\n"));
    let urls = &plan.urls;
    supervisor.screen.say(&format!(
        "  dashboard  {}\n  topics     {}\n  inbox      {}\n  metrics    {}\n  simulator  {}   (make inject SCENARIO=…)\n",
        urls["dashboard"], urls["topics"], urls["inbox"], urls["prometheus"], urls["simulator"]
    ));
    if let Some((_, [token, _])) = &plan.operator {
        let line = format!("  operator's token for the incidents' pages: {token}\n");
        supervisor.screen.say(&line);
    }
    // Room for a kill of each agent and then some.
    let (orders, mut inbox) = mpsc::channel(16);
    if !options.command.is_empty() {
        let variables = plan.of_command();
        let mut attached = Attached::start(&options.command, variables, &mut supervisor.run)?;
        return tokio::select! {
            kept = supervisor.keep_running(&mut inbox) => kept.map(|()| 1),
            status = attached.wait() => Ok(exit_code(status?)),
        };
    }
    if !options.once {
        supervisor
            .screen
            .say("logs: make logs · stop: Ctrl-C or make stop");
        supervisor.keep_running(&mut inbox).await?;
        return Ok(0);
    }
    let once = Once {
        api: urls["api"].clone(),
        inbox: urls["inbox"].clone(),
        scenario: options.scenario().to_owned(),
        // The fallback broker does not answer kcat's version request.
        kcat: (options.kcat && broker == Server::Kafka)
            .then(|| plan.environment["KAFKA_BOOTSTRAP_SERVERS"].clone()),
        speed: options.pace().unwrap_or(ONCE_SPEED),
        seed: options.seed.unwrap_or_default(),
        kills: options.kill,
        rescale: options.rescale,
        approve: plan.approving(options)?,
        scripted_model: options.model.is_some(),
        begun,
        healthy_after,
    };
    let rows = supervisor.rows();
    tokio::select! {
        kept = supervisor.keep_running(&mut inbox) => kept.map(|()| 1),
        passed = once::follow(&once, &orders, rows) => Ok(i32::from(!passed?)),
    }
}

/// What the services are started with.
struct Plan {
    environment: BTreeMap<String, String>,
    /// The user's `.env`, for what the environment itself does not set.
    user: BTreeMap<String, String>,
    hidden: Vec<String>,
    /// Where the API reads who may give commands, and the tokens of the two
    /// that may; none where the user says who may.
    operator: Option<(PathBuf, [String; 2])>,
    /// What remediation may do in a demo; none where the user says what.
    policy: Option<PathBuf>,
    urls: BTreeMap<String, String>,
    dashboard: u16,
    topics: u16,
    simulator: u16,
}

impl Plan {
    /// Starts the servers, waits for them, and derives what services need.
    async fn make(supervisor: &mut Supervisor, options: &Options, broker: Server) -> Result<Self> {
        let mut page = |name, wished| -> Result<u16> {
            let port = port::from(wished)?;
            if let Some(taken) = port.instead_of {
                let number = port.number;
                let text = format!("port {taken} is taken, so the {name} uses {number}");
                supervisor.screen.say(&text);
            }
            Ok(port.number)
        };
        let dashboard = page("dashboard", DASHBOARD_PORT)?;
        let topics = page("topic page", TOPICS_PORT)?;
        let inbox = page("inbox", INBOX_PORT)?;
        let simulator = page("simulator", SIMULATOR_PORT)?;
        let metrics = page("Prometheus", prometheus::PORT)?;
        let endpoints = start_servers(supervisor, broker, inbox).await?;
        let mut plan = Self {
            environment: environment::of_services(&endpoints, dashboard)?,
            user: environment::dot_env(&supervisor.layout.root)?,
            hidden: Vec::new(),
            operator: None,
            policy: None,
            urls: BTreeMap::new(),
            dashboard,
            topics,
            simulator,
        };
        // People read the logs of a demo.
        if !environment::is_set("LOG_FORMAT") {
            let format = plan.user.entry("LOG_FORMAT".to_owned());
            format.or_insert_with(|| "human".to_owned());
        }
        let pages = [
            ("dashboard", dashboard),
            ("api", dashboard),
            ("topics", topics),
            ("inbox", inbox),
            ("simulator", simulator),
            ("prometheus", metrics),
        ];
        for (name, port) in pages {
            let url = format!("http://127.0.0.1:{port}");
            plan.urls.insert(name.to_owned(), url);
        }
        let knowledge = supervisor.layout.root.join("knowledge");
        plan.environment.insert(
            "KNOWLEDGE_DIR".to_owned(),
            knowledge.to_string_lossy().into_owned(),
        );
        plan.let_people_in(supervisor.run.path())?;
        if let Some(model) = &options.model {
            plan.start_scripted_model(supervisor, model == "lies")?;
        }
        supervisor.start_prometheus(metrics)?;
        supervisor.publish(|book| {
            book.urls.clone_from(&plan.urls);
            book.environment.clone_from(&plan.environment);
            book.environment.extend(plan.token());
        })?;
        supervisor.wait_healthy(HEALTHY_LIMIT).await?;
        Ok(plan)
    }

    /// Says who may approve, and what may be done, where the user does not.
    fn let_people_in(&mut self, folder: &Path) -> Result<()> {
        let given = |value: &String| !value.trim().is_empty();
        let is_users =
            |name: &str| environment::is_set(name) || self.user.get(name).is_some_and(given);
        let (tokens, policy, link_key) = (
            is_users("OPERATOR_TOKENS_FILE"),
            is_users("REMEDIATION_POLICY_FILE"),
            is_users("APPROVAL_LINK_KEY_FILE"),
        );
        if !tokens {
            self.operator = Some(environment::operators(folder)?);
        }
        if !policy {
            self.policy = Some(environment::policy(folder)?);
        }
        if !link_key {
            let file = environment::link_key(folder)?;
            let file = file.to_string_lossy().into_owned();
            self.environment
                .insert("APPROVAL_LINK_KEY_FILE".to_owned(), file);
        }
        Ok(())
    }

    fn start_scripted_model(&mut self, supervisor: &mut Supervisor, lies: bool) -> Result<()> {
        let script = supervisor
            .layout
            .root
            .join("infrastructure/scripted-model/serve.py");
        let port = port::any()?;
        let spec = Spec::new("model", layout::program("python3")?, Probe::Listener(port)).args([
            script.to_string_lossy().into_owned(),
            "--bind".to_owned(),
            format!("127.0.0.1:{port}"),
            "--lie".to_owned(),
            if lies { "mixed" } else { "none" }.to_owned(),
        ]);
        supervisor.start(Kind::Server, spec, None, false)?;
        let url = format!("http://127.0.0.1:{port}/v1");
        self.environment.insert("LLM_BASE_URL".to_owned(), url);
        // A real key has no business at a scripted endpoint.
        self.hidden = ["LLM_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"]
            .map(str::to_owned)
            .to_vec();
        Ok(())
    }

    /// What the command line shows the API.
    fn token(&self) -> Option<(String, String)> {
        let (_, [token, _]) = self.operator.as_ref()?;
        Some(("OPERATOR_TOKEN".to_owned(), token.clone()))
    }

    /// How a step is approved, where one is.
    fn approving(&self, options: &Options) -> Result<Option<Approving>> {
        let Some(which) = options.approve else {
            return Ok(None);
        };
        let (_, tokens) = self.operator.as_ref().context(
            "APPROVE needs the tokens of operators that the demo makes; unset OPERATOR_TOKENS_FILE",
        )?;
        Ok(Some(Approving {
            which,
            tokens: tokens.clone(),
            simulator: self.urls["simulator"].clone(),
            own_policy: self.policy.is_some(),
        }))
    }

    /// What only one agent is started with.
    fn of_agent(&self, agent: &str) -> Vec<(&'static str, String)> {
        if agent != "remediation" {
            return Vec::new();
        }
        let policy = self.policy.as_ref();
        let policy = policy.map(|file| {
            (
                "REMEDIATION_POLICY_FILE",
                file.to_string_lossy().into_owned(),
            )
        });
        let simulator = ("SIMULATOR_ACTIONS_URL", self.urls["simulator"].clone());
        policy.into_iter().chain([simulator]).collect()
    }

    /// The variables of an attached command: those of the services, and the
    /// address of each page.
    fn of_command(&self) -> BTreeMap<String, String> {
        let mut variables = self.user.clone();
        variables.extend(self.environment.clone());
        let pages = self.urls.iter().map(|(name, url)| {
            let name = format!("MIDWATCH_{}_URL", name.to_uppercase());
            (name, url.clone())
        });
        variables.extend(pages);
        variables.extend(self.token());
        variables
    }

    /// A service's process: the stack's variables over the user's.
    fn service(&self, supervisor: &Supervisor, name: &str, port: u16) -> Result<(Spec, String)> {
        let program = supervisor.layout.binary(&format!("midwatch-{name}"))?;
        let base = format!("http://127.0.0.1:{port}");
        let mut spec = Spec::new(name, program, Probe::Http(format!("{base}/readyz")));
        spec.env.clone_from(&self.user);
        spec.env.extend(self.environment.clone());
        spec.env_remove.clone_from(&self.hidden);
        spec.env
            .retain(|variable, _| !self.hidden.contains(variable));
        let spec = spec.env("HTTP_BIND", format!("127.0.0.1:{port}"));
        Ok((spec, format!("{base}/metrics")))
    }

    async fn start_services(&self, supervisor: &mut Supervisor, options: &Options) -> Result<()> {
        for job in ["init", "seeder"] {
            let begun = Instant::now();
            let (spec, _) = self.service(supervisor, job, port::any()?)?;
            supervisor.run_to_end(&spec, JOB_LIMIT).await?;
            let seconds = begun.elapsed().as_secs_f64();
            supervisor
                .screen
                .say(&format!("{job} done in {seconds:.1} s"));
        }
        for agent in AGENTS {
            let (mut spec, metrics) = self.service(supervisor, agent, port::any()?)?;
            for (name, value) in self.of_agent(agent) {
                spec = spec.env(name, value);
            }
            supervisor.start(Kind::Agent, spec, Some(metrics), false)?;
        }
        supervisor.scale(&options.scale)?;
        let (spec, metrics) = self.service(supervisor, "api", port::any()?)?;
        let targets = prometheus::targets_file(supervisor.run.path());
        let spec = spec
            .env("API_BIND", format!("127.0.0.1:{}", self.dashboard))
            .env("TOPICS_BIND", format!("127.0.0.1:{}", self.topics))
            .env("TOPICS_URL", &self.urls["topics"])
            .env("INBOX_URL", &self.urls["inbox"])
            .env("AGENT_ENDPOINTS", format!("@{}", targets.display()));
        let spec = match &self.operator {
            Some((file, _)) => {
                spec.env("OPERATOR_TOKENS_FILE", file.to_string_lossy().into_owned())
            }
            None => spec,
        };
        supervisor.start(Kind::Agent, spec, Some(metrics), false)?;
        supervisor.wait_healthy(HEALTHY_LIMIT).await?;

        let (spec, metrics) = self.service(supervisor, "collector", port::any()?)?;
        supervisor.start(Kind::Source, spec, Some(metrics), false)?;
        let (spec, metrics) = self.service(supervisor, "simulator", port::any()?)?;
        let control = format!("127.0.0.1:{}", self.simulator);
        let spec = spec
            .env("SIM_BIND", control)
            .args(options.simulator_arguments());
        supervisor.start(Kind::Source, spec, Some(metrics), options.once)?;
        supervisor.wait_healthy(HEALTHY_LIMIT).await
    }
}

/// Starts all servers; each boots while the next one's data are prepared. The
/// broker is the slowest and goes first.
async fn start_servers(
    supervisor: &mut Supervisor,
    broker: Server,
    inbox: u16,
) -> Result<BTreeMap<Server, Endpoint>> {
    let order = [
        broker,
        Server::Postgres,
        Server::Redis,
        Server::Vectors,
        Server::Embedder,
        Server::Mail,
    ];
    let mut endpoints = BTreeMap::new();
    for server in order {
        let (spec, endpoint) =
            servers::prepare(server, &supervisor.layout, &supervisor.run, Some(inbox)).await?;
        supervisor.start(Kind::Server, spec, None, false)?;
        endpoints.insert(server, endpoint);
    }
    Ok(endpoints)
}
