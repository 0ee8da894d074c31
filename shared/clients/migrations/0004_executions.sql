-- Every action that was carried out or is being carried out. The intent is
-- written before the world is touched, the outcome after; a row is begun once
-- and ended once.
CREATE TABLE executions (
    -- The same for every try of an action; of a rehearsal `dry-run:` before it.
    key          TEXT PRIMARY KEY,
    incident_id  UUID NOT NULL,
    environment  TEXT NOT NULL,
    service      TEXT NOT NULL,
    plan_id      UUID NOT NULL,
    step_id      TEXT NOT NULL,
    kind         TEXT NOT NULL,
    is_undo      BOOLEAN NOT NULL,
    dry_run      BOOLEAN NOT NULL,
    action       JSONB NOT NULL,
    phase        TEXT NOT NULL CHECK (phase IN ('intent', 'outcome')),
    status       TEXT CHECK (status IN ('done', 'failed', 'refused', 'unknown')),
    rule         TEXT NOT NULL DEFAULT '',
    output       TEXT NOT NULL DEFAULT '',
    -- Event time at which it took effect.
    acted_at_ms  BIGINT,
    reconciled   BOOLEAN NOT NULL DEFAULT FALSE,
    -- Slot and, after #, which start of the process there.
    owner        TEXT NOT NULL,
    lease_until  TIMESTAMPTZ NOT NULL,
    began_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Set right before the world may be touched: without it, nothing was done.
    acting_at    TIMESTAMPTZ,
    -- The machine that touches it.
    acting_on    TEXT,
    -- What was found before, by which one can tell later whether it was done.
    observed     JSONB,
    ended_at     TIMESTAMPTZ,
    CHECK ((phase = 'outcome') = (ended_at IS NOT NULL AND status IS NOT NULL))
);
CREATE INDEX executions_by_service ON executions (environment, service, began_at);
CREATE INDEX executions_by_time ON executions (began_at);
CREATE INDEX executions_by_incident ON executions (incident_id, began_at);

DO $$
BEGIN
    GRANT SELECT ON executions TO midwatch_reader;
EXCEPTION
    WHEN undefined_object THEN NULL;
END
$$;
