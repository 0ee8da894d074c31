-- Five mails for each incident to one recipient; one mail in a thousand failed.
INSERT INTO notifications (incident_id, stage, channel, recipient, role, message_id, subject, body_html,
    body_text, status, attempts, error, created_at, sent_at)
SELECT md5('bench' || n)::uuid, stage, 'mail', 'oncall@example.com', 'to',
       format('%s.%s@midwatch', stage, md5('bench' || n)), format('[INC] incident %s: %s', n, stage),
       repeat('<p>What happened, and what to do now.</p>', 20), 'What happened, and what to do now.',
       CASE WHEN failed THEN 'FAILED' ELSE 'SENT' END, 1, CASE WHEN failed THEN '451 try again later' END, at, at
FROM (SELECT n, stage, (n * 5 + number) % 1000 = 0 AS failed,
             now() - n * INTERVAL '5 minutes' + number * INTERVAL '1 minute' AS at
      FROM generate_series($1::bigint, 1, -1) AS n
      CROSS JOIN unnest(ARRAY['opened', 'rca', 'plan', 'resolved', 'postmortem']) WITH ORDINALITY AS s(stage, number)
     ) AS numbered
ORDER BY n DESC, at
