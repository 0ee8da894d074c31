-- Which dead letters people sent again. A message is named by where it first
-- lay, so that two letters about it (of two groups, or of one that was killed
-- in between) are sent again once.
CREATE TABLE dead_letters_resent (
    epoch            TEXT NOT NULL,
    -- The original topic, without any configured prefix.
    topic            TEXT NOT NULL,
    origin_partition INTEGER NOT NULL,
    origin_offset    BIGINT NOT NULL,
    -- Where the dead letter lies on `<topic>.dlq`.
    letter_partition INTEGER NOT NULL,
    letter_offset    BIGINT NOT NULL,
    -- sending → sent, refused (never taken; may be tried again) or doubtful
    -- (no acknowledgement came; it may be on the topic or not).
    state            TEXT NOT NULL CHECK (state IN ('sending', 'sent', 'refused', 'doubtful')),
    attempts         INTEGER NOT NULL DEFAULT 1,
    requested_by     TEXT NOT NULL,
    requested_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    finished_at      TIMESTAMPTZ,
    -- Where the broker put it.
    sent_partition   INTEGER,
    sent_offset      BIGINT,
    error            TEXT,
    PRIMARY KEY (epoch, topic, origin_partition, origin_offset)
);
CREATE INDEX dead_letters_resent_by_age ON dead_letters_resent (requested_at DESC);

-- The page of the agents counts these every few seconds.
CREATE INDEX jobs_failed ON jobs (finished_at) WHERE error IS NOT NULL;
-- People look for the mails that failed, which are few.
CREATE INDEX notifications_by_status ON notifications (status, id);
CREATE INDEX outbox_refused ON outbox (agent) WHERE refused IS NOT NULL;

-- The one thing that the dashboard may write, and nothing else.
DO $$
BEGIN
    CREATE ROLE midwatch_resender NOLOGIN;
EXCEPTION
    -- Another database of this server may be migrating at the same moment.
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'the role midwatch_resender was not created: this user may not create roles';
END
$$;
DO $$
BEGIN
    GRANT SELECT, INSERT, UPDATE ON dead_letters_resent TO midwatch_resender;
EXCEPTION
    WHEN undefined_object THEN NULL;
END
$$;
DO $$
BEGIN
    GRANT SELECT ON dead_letters_resent, processed TO midwatch_reader;
EXCEPTION
    WHEN undefined_object THEN NULL;
END
$$;
