-- Every version of a postmortem with its statements, and how far its review
-- has come. A new version begins as a draft again.
CREATE TABLE postmortems (
    incident_id  UUID NOT NULL,
    -- Counts from 1: an incident that ended again has a new one.
    version      INTEGER NOT NULL CHECK (version > 0),
    status       TEXT NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'reviewed', 'published')),
    markdown     TEXT NOT NULL,
    -- The sentences with their ids, parts and records.
    statements   JSONB NOT NULL,
    -- What can be learnt from it: cause, fix, effect of the actions.
    lesson       JSONB NOT NULL DEFAULT '{}',
    reviewed_by  TEXT,
    published_by TEXT,
    -- Wall clock.
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    reviewed_at  TIMESTAMPTZ,
    published_at TIMESTAMPTZ,
    PRIMARY KEY (incident_id, version)
);
CREATE INDEX postmortems_by_status ON postmortems (status, created_at DESC);

DO $$
BEGIN
    GRANT SELECT ON postmortems TO midwatch_reader;
EXCEPTION
    WHEN undefined_object THEN NULL;
END
$$;
