-- The tables that readers outside Midwatch rely on.

CREATE TABLE incidents (
    id                  UUID PRIMARY KEY,
    short_id            TEXT NOT NULL,
    environment         TEXT NOT NULL,
    status              TEXT NOT NULL CHECK (status IN
        ('DETECTING', 'CORRELATING', 'INVESTIGATING', 'RCA_COMPLETE', 'REMEDIATING', 'RESOLVED')),
    anomaly_type        TEXT NOT NULL,
    severity            TEXT NOT NULL CHECK (severity IN ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    affected_services   JSONB NOT NULL DEFAULT '[]',
    blast_radius        JSONB NOT NULL DEFAULT '{}',
    -- The whole of what correlation knows: signals, grouped anomalies, deployment.
    correlation_context JSONB NOT NULL DEFAULT '{}',
    rca_candidates      JSONB,
    top_root_cause      TEXT,
    rca_confidence      DOUBLE PRECISION,
    remediation_plan    JSONB,
    postmortem          TEXT,
    -- Event time; in a simulation it runs faster than the wall clock.
    detection_time      TIMESTAMPTZ NOT NULL,
    resolution_time     TIMESTAMPTZ,
    resolution          JSONB,
    -- Wall clock.
    created_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at          TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX incidents_affected_services ON incidents USING GIN (affected_services);
CREATE INDEX incidents_by_age ON incidents (created_at DESC, id DESC);
CREATE INDEX incidents_by_status ON incidents (status, created_at DESC, id DESC);

-- The audit trail. Rows are only ever added.
CREATE TABLE agent_events (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Derived from cause and effect index: writing twice adds nothing.
    event_id      UUID NOT NULL UNIQUE,
    incident_id   UUID,
    agent_name    TEXT NOT NULL,
    event_type    TEXT NOT NULL,
    event_time_ms BIGINT NOT NULL,
    summary       TEXT NOT NULL,
    payload       JSONB NOT NULL DEFAULT '{}',
    created_at    TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX agent_events_by_incident ON agent_events (incident_id, id);

CREATE TABLE notifications (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id    UUID NOT NULL,
    stage          TEXT NOT NULL,
    channel        TEXT NOT NULL,
    recipient      TEXT NOT NULL,
    -- 'to' or 'cc'.
    role           TEXT NOT NULL,
    message_id     TEXT NOT NULL,
    in_reply_to    TEXT,
    subject        TEXT NOT NULL,
    body_html      TEXT NOT NULL,
    body_text      TEXT NOT NULL,
    status         TEXT NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'SENT', 'FAILED')),
    attempts       INTEGER NOT NULL DEFAULT 0,
    error          TEXT,
    created_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    sent_at        TIMESTAMPTZ,
    UNIQUE (incident_id, stage, channel, recipient)
);
CREATE INDEX notifications_by_message ON notifications (message_id);

CREATE VIEW emails AS
SELECT min(id)                                    AS id,
       incident_id,
       stage                                      AS notification_type,
       jsonb_agg(recipient ORDER BY role DESC, recipient) AS recipients,
       min(subject)                               AS subject,
       min(body_html)                             AS body_html,
       min(body_text)                             AS body_text,
       message_id,
       -- A mail counts as sent once somebody has it; `error` names whom it did
       -- not reach.
       min(status)                                AS status,
       max(attempts)                              AS attempts,
       max(error)                                 AS error,
       min(created_at)                            AS created_at,
       max(sent_at)                               AS sent_at
FROM notifications
WHERE channel = 'mail'
GROUP BY incident_id, stage, message_id;

-- What evidence points at; it outlives Redis and the broker.
CREATE TABLE incident_records (
    incident_id UUID NOT NULL,
    record_id   TEXT NOT NULL,
    kind        TEXT NOT NULL,
    service     TEXT NOT NULL,
    -- The metric's name, the rule's, or empty.
    name        TEXT NOT NULL DEFAULT '',
    at_ms       BIGINT NOT NULL,
    value       DOUBLE PRECISION,
    text        TEXT NOT NULL DEFAULT '',
    payload     JSONB NOT NULL,
    keep_until  TIMESTAMPTZ NOT NULL DEFAULT now() + INTERVAL '400 days',
    PRIMARY KEY (incident_id, record_id)
);
CREATE INDEX incident_records_series ON incident_records (incident_id, kind, service, name, at_ms);
COMMENT ON COLUMN incident_records.keep_until IS 'Retention: 400 days, so that the same season of the year before can be compared.';

CREATE TABLE llm_calls (
    call_id           UUID PRIMARY KEY,
    incident_id       UUID,
    agent             TEXT NOT NULL,
    purpose           TEXT NOT NULL,
    tier              TEXT NOT NULL,
    model             TEXT NOT NULL,
    -- Both redacted before they left the process.
    prompt            JSONB NOT NULL,
    reply             TEXT,
    prompt_tokens     BIGINT NOT NULL DEFAULT 0,
    completion_tokens BIGINT NOT NULL DEFAULT 0,
    cost_usd          DOUBLE PRECISION NOT NULL DEFAULT 0,
    latency_ms        BIGINT NOT NULL DEFAULT 0,
    outcome           TEXT NOT NULL,
    error             TEXT,
    created_at        TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX llm_calls_by_incident ON llm_calls (incident_id, created_at);

-- What the runtime needs to deliver effects exactly once.

CREATE TABLE processed (
    agent        TEXT NOT NULL,
    -- The event, job or timer that was decided on.
    input_id     UUID NOT NULL,
    processed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (agent, input_id)
);
CREATE INDEX processed_by_age ON processed (processed_at);

CREATE TABLE agent_state (
    agent      TEXT NOT NULL,
    scope      TEXT NOT NULL,
    -- Writes are conditional on the version that was read.
    version    BIGINT NOT NULL,
    state      JSONB NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (agent, scope)
);

CREATE TABLE outbox (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent      TEXT NOT NULL,
    event_id   UUID NOT NULL UNIQUE,
    topic      TEXT NOT NULL,
    key        TEXT NOT NULL,
    -- The very bytes that go out, however often and by whichever build.
    payload    BYTEA NOT NULL,
    headers    JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    sent_at    TIMESTAMPTZ,
    -- Why the broker will never take it; such a row is set aside.
    refused    TEXT
);
CREATE INDEX outbox_unsent ON outbox (agent, id) WHERE sent_at IS NULL;

CREATE TABLE jobs (
    id           UUID PRIMARY KEY,
    seq          BIGINT GENERATED ALWAYS AS IDENTITY,
    agent        TEXT NOT NULL,
    scope        TEXT NOT NULL,
    -- Jobs of one lane run one at a time, in order; the scope unless stated.
    lane         TEXT NOT NULL,
    kind         TEXT NOT NULL,
    payload      JSONB NOT NULL,
    -- ready → running → done (result journalled) → applied; or failed → applied.
    status       TEXT NOT NULL DEFAULT 'ready'
        CHECK (status IN ('ready', 'running', 'done', 'failed', 'applied')),
    attempts     INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    run_after    TIMESTAMPTZ NOT NULL DEFAULT now(),
    lease_owner  TEXT,
    lease_until  TIMESTAMPTZ,
    result       JSONB,
    error        TEXT,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    finished_at  TIMESTAMPTZ
);
CREATE INDEX jobs_open ON jobs (agent, run_after) WHERE status <> 'applied';

CREATE TABLE timers (
    agent       TEXT NOT NULL,
    scope       TEXT NOT NULL,
    name        TEXT NOT NULL,
    -- Wall clock; the timer's identity is (scope, name, due time).
    due_ms      BIGINT NOT NULL,
    payload     JSONB NOT NULL DEFAULT '{}',
    PRIMARY KEY (agent, scope, name)
);
CREATE INDEX timers_due ON timers (agent, due_ms);

CREATE TABLE subscriptions (
    agent   TEXT NOT NULL,
    channel TEXT NOT NULL,
    scope   TEXT NOT NULL,
    PRIMARY KEY (agent, channel, scope)
);

-- Legal events that came before their predecessor. `waiting_for` is a scope or
-- a channel; the row ends when its predecessor comes or its time is up.
CREATE TABLE parked (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent       TEXT NOT NULL,
    waiting_for TEXT NOT NULL,
    event_id    UUID NOT NULL,
    topic       TEXT NOT NULL,
    payload     BYTEA NOT NULL,
    coordinates JSONB NOT NULL,
    reason      TEXT NOT NULL,
    expires_ms  BIGINT NOT NULL,
    UNIQUE (agent, waiting_for, event_id)
);
CREATE INDEX parked_by_expiry ON parked (agent, expires_ms);

DO $$
BEGIN
    CREATE ROLE midwatch_reader NOLOGIN;
EXCEPTION
    -- Another database of this server may be migrating at the same moment.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'the role midwatch_reader was not created: this user may not create roles';
END
$$;
DO $$
BEGIN
    GRANT SELECT ON incidents, agent_events, notifications, emails, incident_records, llm_calls,
        jobs, outbox, parked TO midwatch_reader;
EXCEPTION
    WHEN undefined_object THEN NULL;
END
$$;
