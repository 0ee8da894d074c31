-- What was published about one incident: its page, its postmortem and its
-- bundle ask for it by its id.
CREATE INDEX outbox_by_key ON outbox (key);
