-- Which one-time links were used. A link is named by its nonce; whoever takes
-- the row first publishes what the link stands for.
CREATE TABLE approval_links_used (
    nonce         TEXT PRIMARY KEY,
    incident_id   UUID NOT NULL,
    plan_hash     TEXT NOT NULL,
    step_id       TEXT NOT NULL,
    recipient     TEXT NOT NULL,
    -- 'approve' or 'reject'.
    command       TEXT NOT NULL CHECK (command IN ('approve', 'reject')),
    taken_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Where the broker put the command; empty while that is not known.
    partition     INTEGER,
    broker_offset BIGINT
);
CREATE INDEX approval_links_used_by_incident ON approval_links_used (incident_id);

DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE, DELETE ON approval_links_used TO midwatch_resender;
EXCEPTION
    WHEN undefined_object THEN NULL;
END
$$;
DO $$
BEGIN
    GRANT SELECT ON approval_links_used TO midwatch_reader;
EXCEPTION
    WHEN undefined_object THEN NULL;
END
$$;
