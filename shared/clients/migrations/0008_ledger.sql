-- What was published about one incident: its page and its postmortem ask for
-- the ledger, and the outbox keeps eight days of all incidents.
CREATE INDEX outbox_by_key ON outbox (key);
