//! The words that claim something: amounts, times, deeds, blame. A form is one
//! word or several; `*` at its end stands for any ending.

/// What of the cited records a deed needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A step that succeeded and was verified.
    Applied,
    /// The same, of a step whose own words have one of these.
    AppliedAs(&'static [&'static str]),
    /// An outcome that succeeded.
    Executed,
    /// A verification with a verdict.
    Verified,
    /// A record of this phase.
    Phase(&'static str),
    /// A record of this kind.
    Part(&'static str),
    /// What a person stated when closing, or a step that was applied.
    Stated,
    /// A person's end of the incident.
    Closed,
    /// Any record with one of these in its text.
    Told(&'static [&'static str]),
}

/// Words that claim a deed: whatever it is called, active, passive or as a
/// noun. The first form that fits counts.
#[rustfmt::skip]
pub(super) const DEEDS: &[(&[&str], Proof)] = &[
    (&["rolled out", "rollout*", "released", "shipped", "deployed", "pushed out", "went live"], Proof::Part("deployment")),
    (&["rolled", "roll back*", "rolls back", "rolling back", "rollback*", "revert", "reverts", "reverted", "reverting", "reversion", "backed out", "back out", "undid"],
        Proof::AppliedAs(&["roll back", "rollback", "rollout undo", "revert", "undo"])),
    (&["restart*", "reboot*", "bounced", "bouncing", "respawn*", "relaunch*", "recycled", "recycling", "power cycled", "cycled the"],
        Proof::AppliedAs(&["restart", "reboot"])),
    (&["scaled", "scaling", "scale up", "scale out", "scale down", "scaleup", "upscal*", "downscal*", "autoscal*", "resized", "resizing", "added capacity", "added replicas", "more replicas", "added pods"],
        Proof::AppliedAs(&["scale", "replicas", "resize"])),
    (&["drain*"], Proof::AppliedAs(&["drain"])),
    (&["cordon*", "uncordon*", "isolated", "isolating", "quarantin*", "fenced"], Proof::AppliedAs(&["cordon", "isolat"])),
    (&["hotfix*", "hot fix*", "patch", "patches", "patched", "patching"], Proof::AppliedAs(&["patch", "hotfix"])),
    (&["failover*", "failed over", "fail over", "failing over", "fails over", "switched over", "switchover*", "cut over", "cutover*"],
        Proof::AppliedAs(&["failover", "fail over", "switch over"])),
    (&["flush*"], Proof::AppliedAs(&["flush"])),
    (&["purg*", "wiped", "wiping", "pruned", "pruning", "truncated", "deleted", "deleting", "deletion*", "removed", "removing", "removal*", "evict*"],
        Proof::AppliedAs(&["purge", "wipe", "prune", "truncate", "delete", "remove", "evict"])),
    (&["cleared", "clearing", "cleared out", "cleaned", "cleaning", "cleanup*", "clean up*", "freed", "freeing"],
        Proof::AppliedAs(&["clear", "clean", "free"])),
    (&["killed", "killing", "terminated", "terminating", "termination*", "shut down", "shutdown*", "shutting down"],
        Proof::AppliedAs(&["kill", "terminate", "shut", "delete pod"])),
    (&["redeploy*", "re-deploy*"], Proof::AppliedAs(&["redeploy", "deploy", "rollout"])),
    (&["upgrade", "upgrades", "upgraded", "upgrading", "downgrad*", "updated the", "bumped", "bumping"],
        Proof::AppliedAs(&["upgrade", "downgrade", "update", "bump"])),
    (&["throttl*", "rate-limit*", "rate limit*", "load shed*", "shed load", "shedding"], Proof::AppliedAs(&["throttl", "rate limit"])),
    (&["disabl*", "switched off", "turned off", "deactivat*", "unplugged"], Proof::AppliedAs(&["disable", "toggle", "switch off", "turn off"])),
    (&["enabl*", "switched on", "turned on", "activat*", "toggl*"], Proof::AppliedAs(&["enable", "toggle", "switch on", "turn on"])),
    (&["reset", "resets", "resetting", "rotated", "rotating", "rotation*", "renewed", "renewing"], Proof::AppliedAs(&["reset", "rotate", "renew"])),
    (&["rerouted", "rerouting", "redirected", "diverted", "migrated", "migrating", "migration*", "moved traffic", "shifted"],
        Proof::AppliedAs(&["reroute", "redirect", "divert", "migrate", "shift"])),
    (&["replaced", "replacing", "swapped", "recreated", "rebuilt", "reinstall*", "reprovision*", "provisioned", "rebalanced", "reindexed", "vacuumed"],
        Proof::AppliedAs(&["replace", "swap", "recreate", "rebuild", "reinstall", "provision", "rebalance", "reindex", "vacuum"])),
    (&["reconfigur*", "retuned", "tuned", "tuning", "raised the", "raising the", "lowered the", "increased the", "reduced the", "enlarged", "extended the", "expanded"],
        Proof::AppliedAs(&["configur", "tune", "raise", "lower", "increase", "reduce", "enlarge", "extend", "expand", "limit"])),
    (&["silenced", "silencing", "muted", "muting"], Proof::AppliedAs(&["silence", "mute"])),
    (&["blocked the", "unblocked", "whitelisted", "blacklisted", "allowlisted", "denylisted", "banned"], Proof::AppliedAs(&["block", "list", "ban"])),
    (&["fix", "fixes"], Proof::Stated),
    (&["applied", "fixed", "fixing", "mitigat*", "repair*", "mended", "remedied", "remediated", "remediating", "rectif*", "cured",
        "healed", "restored", "restoring", "restoration", "neutrali*", "contained the", "averted", "prevented", "workaround*", "worked around",
        "implemented", "solved", "took effect", "rescued"], Proof::Applied),
    (&["executed", "performed", "carried out", "took action", "took steps", "action was taken", "actions were taken", "steps were taken", "measures were taken", "ran the"],
        Proof::Executed),
    (&["verified", "verification confirmed", "confirmed the", "proved effective", "was effective"], Proof::Verified),
    (&["undone"], Proof::Phase("undone")),
    (&["approved", "approval was given", "authori*", "signed off", "greenlit", "permitted"], Proof::Phase("approved")),
    (&["refused", "vetoed", "turned down"], Proof::Phase("refused")),
    (&["declared"], Proof::Part("declared")),
    (&["closed"], Proof::Closed),
    (&["paged", "paging", "pages were sent"], Proof::Told(&["paged", "pager", "page sent"])),
    (&["escalat*"], Proof::Told(&["escalat"])),
    (&["notified", "notifying", "alerted", "informed", "messaged", "emailed", "announced"], Proof::Told(&["notif", "alert", "inform", "mail", "announc"])),
    (&["phoned", "telephoned", "contacted", "summoned", "called in", "called the", "woken", "woke", "convened", "mobili*", "war room", "bridge call", "stepped in"],
        Proof::Told(&["phone", "contact", "summon", "called", "woke", "conven", "mobili", "war room", "bridge"])),
    (&["acknowledged", "acknowledging"], Proof::Told(&["acknowledg"])),
    (&["snoozed"], Proof::Told(&["snooz"])),
    (&["intervened", "intervening", "intervention*", "manually", "coordinated", "triaged", "debugged", "troubleshot", "diagnosed"],
        Proof::Told(&["interven", "manual", "coordinat", "triag", "debug", "troubleshoot", "diagnos"])),
];

/// Words that deny what stands in the same clause.
pub(super) const DENIALS: &[&str] = &[
    "not", "no", "nor", "never", "without", "nothing", "nobody", "none", "neither",
];

/// Behind one of these a denial is one of something else: `not only`, `in no
/// time`, `not long before`.
#[rustfmt::skip]
pub(super) const BREAKS: &[&str] = &[
    "before", "until", "after", "when", "once", "only", "but", "because", "since", "while", "which",
    "that", "who", "and", "then", "so", "time", "doubt", "delay", "hesitation", "longer", "later",
    "sooner", "just", "merely", "least", "less", "more", "matter", "wonder", "surprise", "question",
    "loss", "hassle", "trouble", "difficulty", "problem", "problems", "impact",
];

/// Numbers in words; `one` is a pronoun more often.
#[rustfmt::skip]
pub(super) const NUMBERS: &[&str] = &[
    "zero", "nil", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred",
    "hundreds", "thousand", "thousands", "million", "millions", "billion", "billions", "trillion",
    "dozen", "dozens", "score", "scores", "tens", "couple", "pair", "several", "few", "numerous",
    "countless", "multiple", "many", "handful", "plenty", "myriad", "majority", "minority", "twice",
    "thrice", "double", "doubled", "doubles", "doubling", "triple", "tripled", "triples", "tripling",
    "quadruple", "quadrupled", "halved", "halving", "half", "halves", "quarter", "quarters", "third",
    "thirds", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "tenths",
    "hundredth", "umpteen", "manifold",
];

/// Amounts that take more than one word.
#[rustfmt::skip]
pub(super) const AMOUNTS: &[&str] = &[
    "all users", "all customers", "all requests", "all traffic", "all services", "all pods", "all calls",
    "every user", "every customer", "every request", "every service", "every pod", "every call",
    "most of", "most users", "most customers", "most requests", "much of", "a lot of", "lots of",
    "nearly all", "almost all", "almost every", "nearly every", "virtually all", "the entire", "the whole",
    "one hour", "one minute", "one second", "one day", "one week", "one month", "one user",
    "one customer", "one percent", "one time", "one third", "one in", "one out of", "one quarter",
    "one tenth", "one pod", "one node", "one replica", "one request",
];

/// Spans and moments without a figure.
#[rustfmt::skip]
pub(super) const TIMES: &[&str] = &[
    "yesterday", "today", "tomorrow", "tonight", "overnight", "midnight", "noon", "midday", "morning",
    "afternoon", "evening", "weekend", "weekends", "fortnight", "instantly", "immediately", "nightly",
    "a second", "a minute", "a day", "a week", "a month", "a moment", "an hour", "an instant",
    "last week", "last month", "last year", "last night",
];

/// Before a unit of time these make a span of it.
pub(super) const SPANS: &[&str] = &[
    "for", "within", "in", "after", "lasted", "lasting", "took", "over", "some", "of", "only",
    "just",
];

pub(super) const UNITS: &[&str] = &[
    "seconds", "minutes", "hours", "days", "weeks", "months", "years", "moments", "ages",
];

/// What nobody measures here: only that it is unknown can be said.
#[rustfmt::skip]
pub(super) const UNMEASURED: &[&str] = &[
    "user", "users", "customer", "customers", "shopper", "shoppers", "subscriber", "subscribers",
    "revenue", "sales", "money", "dollar", "dollars", "euro", "euros", "reputation", "churn",
];

/// Blame, which no record can justify.
#[rustfmt::skip]
pub(super) const BLAME: &[&str] = &[
    "blam*", "careless*", "negligen*", "neglect*", "sloppy", "sloppi*", "reckless*", "incompeten*",
    "irresponsib*", "forgot", "forgotten", "forgetful*", "overlooked", "mistake*", "mistakenly",
    "mistaken", "blunder*", "culprit*", "culpab*", "guilty", "guilt", "lazy", "lazi*", "inattent*",
    "human error*", "operator error*", "user error*", "at fault", "fault of", "should have",
    "ought to have", "could have been avoided", "should never have", "failed to notice",
    "failed to act", "failed to check", "failed to test", "failed to follow", "failed to review",
    "responsible for", "typo", "typos", "fat finger*", "misjudg*", "oversight", "scapegoat*",
    "wrongdo*", "inexperienc*", "untrained", "unqualified", "clumsy", "clumsi*", "thoughtless*",
    "ignored the", "broke the rules", "without permission", "without testing", "without review",
];

/// People by their work; who did what stands in records under a name.
#[rustfmt::skip]
pub(super) const ROLES: &[&str] = &[
    "engineer*", "developer*", "programmer*", "coder*", "intern", "interns", "contractor*", "admin",
    "admins", "administrator*", "manager*", "colleague*", "employee*", "staff", "dba", "dbas", "sre",
    "sres", "devops", "maintainer*", "committer*", "reviewer*", "tester*", "supervisor*", "boss",
    "rookie*", "junior", "juniors", "newcomer*", "freelancer*", "technician*", "operator", "operators",
    "responder*", "someone", "somebody", "guy", "guys",
];

/// Those of whom our own words may speak.
pub(super) const PEOPLE: &[&str] = &[
    "person", "people", "human", "humans", "he", "she", "his", "her", "on-call", "team", "teams",
];

/// What must not be said of people.
#[rustfmt::skip]
pub(super) const CAUSING: &[&str] = &[
    "caused", "causing", "the cause", "broke", "breaking", "broken", "introduced", "introducing",
    "triggered", "triggering", "provoked", "created", "missed", "failed", "erred", "pushed", "merged",
    "misconfigured", "crashed", "brought down", "took down", "led to", "too late", "too slow",
    "slowly", "wrong", "wrongly", "badly", "ignored", "fault", "late",
];
