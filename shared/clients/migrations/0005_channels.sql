-- What channels other than mail need so that people see each message once.

-- Where a message stands at its provider: what is edited later, and what a try
-- after a crash must not post again.
CREATE TABLE channel_messages (
    incident_id UUID NOT NULL,
    channel     TEXT NOT NULL,
    -- `root` for the message of the incident, else the stage's key.
    part        TEXT NOT NULL,
    -- The provider's own id.
    external_id TEXT NOT NULL,
    written_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (incident_id, channel, part)
);
COMMENT ON TABLE channel_messages IS 'Ids under which Slack, Telegram and others keep the messages of an incident.';

DO $$
BEGIN
    GRANT SELECT ON channel_messages TO midwatch_reader;
EXCEPTION
    WHEN undefined_object THEN NULL;
END
$$;
