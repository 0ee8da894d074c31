-- The chain of typed artifacts that an incident leaves behind. Rows are only
-- ever added; of a row that is there, nothing but the status changes.
CREATE TABLE artifacts (
    artifact_id    UUID PRIMARY KEY,
    -- The order of writing.
    seq            BIGINT GENERATED ALWAYS AS IDENTITY,
    incident_id    UUID NOT NULL,
    kind           TEXT NOT NULL CHECK (kind IN
        ('observation_summary', 'anomaly_finding', 'root_cause_hypothesis', 'remediation_proposal',
         'execution_plan', 'execution_result', 'verification_result', 'incident_report')),
    schema_version INTEGER NOT NULL,
    producer       TEXT NOT NULL,
    consumer       TEXT NOT NULL,
    status         TEXT NOT NULL CHECK (status IN ('complete', 'partial', 'superseded', 'rejected')),
    -- The artifacts that it was concluded from.
    inputs         UUID[] NOT NULL DEFAULT '{}',
    -- Ids of the records that it rests on.
    evidence       TEXT[] NOT NULL DEFAULT '{}',
    -- Event time.
    created_at_ms  BIGINT NOT NULL,
    replay         BOOLEAN NOT NULL DEFAULT FALSE,
    body           JSONB NOT NULL,
    -- Wall clock.
    written_at     TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX artifacts_by_incident ON artifacts (incident_id, seq);

DO $$
BEGIN
    GRANT SELECT ON artifacts TO midwatch_reader;
EXCEPTION
    WHEN undefined_object THEN NULL;
END
$$;
