// The running stack: where its parts are, and waiting for it.

const NAMES = {
  dashboard: "MIDWATCH_DASHBOARD_URL",
  topics: "MIDWATCH_TOPICS_URL",
  inbox: "MIDWATCH_INBOX_URL",
  simulator: "MIDWATCH_SIMULATOR_URL",
  broker: "KAFKA_BOOTSTRAP_SERVERS",
};

const missing = Object.values(NAMES).filter((name) => !process.env[name]);
if (missing.length > 0) {
  console.error(`not set: ${missing.join(", ")}. A running stack sets them for its command:
  target/debug/midwatch-stack run --quiet --speed 10 -- node infrastructure/browser/run.mjs`);
  process.exit(2);
}

/** Addresses of the stack, without a slash at the end. */
export const stack = Object.fromEntries(
  Object.entries(NAMES).map(([part, name]) => [part, process.env[name].replace(/\/+$/, "")]),
);

const REQUEST_LIMIT_MS = 10_000;

/** The JSON at `url`; throws what was answered otherwise. */
export async function json(url, options = {}) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(REQUEST_LIMIT_MS), ...options });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}: ${text.slice(0, 300)}`);
  return JSON.parse(text);
}

/** Puts `body` to `url` as JSON. */
export function post(url, body) {
  return json(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

let over = false;

/** Ends every wait that still goes on: whoever waited has left. */
export function giveUp() {
  over = true;
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Asks `probe` until it answers something true, and returns that. After
 * `limitMs` it fails with `what` was expected and what was there instead:
 * the last error, or what `seen` tells.
 */
export async function eventually(what, limitMs, probe, seen = async () => undefined) {
  const end = Date.now() + limitMs;
  let failure;
  for (;;) {
    try {
      const found = await probe();
      if (found) return found;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    if (over || Date.now() > end) break;
    await pause(200);
  }
  const instead = failure?.message ?? (await seen().catch((error) => error.message));
  const shown = instead === undefined ? "" : `; instead: ${typeof instead === "string" ? instead : JSON.stringify(instead)}`;
  throw new Error(`expected within ${limitMs / 1000} s: ${what}${shown}`);
}

/** Waits until the simulator publishes the present. */
export function simulatorIsLive() {
  const status = () => json(`${stack.simulator}/status`);
  return eventually(
    "the simulator has published its history",
    60_000,
    async () => (await status()).phase === "live" && status(),
    status,
  );
}

/** Starts a fault; the simulator's view of it. */
export const inject = (scenario, service) => post(`${stack.simulator}/inject`, { scenario, service });

/** Incidents that name a service, newest first, among the newest 200. */
export async function incidentsOf(service) {
  const { items } = await json(`${stack.dashboard}/api/incidents?limit=200`);
  return items.filter((item) => item.affected_services.includes(service));
}

export const incident = (id) => json(`${stack.dashboard}/api/incidents/${id}`);

/** The newest incident that names `service`, once `is` holds for its details. Those in `known` are passed over. */
export async function incidentWhere(service, what, limitMs, is, known = new Set()) {
  const newest = async () => {
    const first = (await incidentsOf(service)).find(({ id }) => !known.has(id));
    return first && incident(first.id);
  };
  const look = async () => {
    const found = await newest();
    return found && is(found) && found;
  };
  const seen = async () => {
    const found = await newest();
    return found ? `${found.short_id} is ${found.status}, mails ${found.mails.map((mail) => `${mail.stage} ${mail.status}`).join(", ")}` : "no incident";
  };
  return eventually(`the incident of ${service} ${what}`, limitMs, look, seen);
}

/** Whether everything that follows a resolved incident has happened. */
export const isComplete = (found) =>
  found.status === "RESOLVED" && found.postmortem !== null && stagesSent(found).size === 5;

/** The stages of the mails that went out; `plan.changed.2` is one of the plan's. */
export const stagesSent = (found) =>
  new Set(found.mails.filter((mail) => mail.status === "SENT").map((mail) => mail.stage.split(".")[0]));

/** Mails in the inbox whose subject holds `text`. */
export async function inboxMails(text) {
  const mails = await json(`${stack.inbox}/email`);
  return mails.filter((mail) => (mail.subject ?? "").includes(text));
}
