//! `NOTIFY_FILE`: which channels there are, what goes where, and who hears of
//! an incident that nobody acknowledges.

use crate::digest::takes_digests;
use midwatch_events::Severity;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The whole file. Without one there are mails only.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    #[serde(default)]
    pub channels: Vec<Channel>,
    #[serde(default)]
    pub routes: Vec<Route>,
    #[serde(default)]
    pub escalation: Vec<Rung>,
    /// Minutes without news after which a CRITICAL incident says that it is
    /// still being worked on; 0 for never.
    #[serde(default = "progress_minutes")]
    pub progress_minutes: u32,
}

impl Default for Book {
    fn default() -> Book {
        Book {
            channels: Vec::new(),
            routes: Vec::new(),
            escalation: Vec::new(),
            progress_minutes: progress_minutes(),
        }
    }
}

/// People begin to ask after about half an hour of silence.
fn progress_minutes() -> u32 {
    30
}

/// The longest time that a LOW incident may wait to be told.
pub const DIGEST_LONGEST: u32 = 24 * 60;

/// A way to reach people.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Channel {
    /// What routes call it; letters, digits, `-`, `_`, at most 40.
    pub name: String,
    #[serde(flatten)]
    pub kind: Kind,
}

/// What kind of channel, and where its secrets lie.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Kind {
    Slack {
        /// The id of the conversation, `C…`.
        channel: String,
        token_file: PathBuf,
        #[serde(default)]
        api_url: Option<String>,
    },
    Pagerduty {
        routing_key_file: PathBuf,
        #[serde(default)]
        api_url: Option<String>,
    },
    Telegram {
        chat: String,
        token_file: PathBuf,
        #[serde(default)]
        api_url: Option<String>,
        /// Whether messages have a button: where the bot's webhook leads to the
        /// API, which takes it with `TELEGRAM_WEBHOOK_SECRET_FILE`.
        #[serde(default)]
        buttons: bool,
    },
    /// The address itself is often the secret, so it lies in a file.
    Webhook {
        url_file: PathBuf,
        #[serde(default)]
        secret_file: Option<PathBuf>,
        #[serde(default)]
        format: Format,
    },
}

impl Kind {
    /// The name in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Slack { .. } => "slack",
            Kind::Pagerduty { .. } => "pagerduty",
            Kind::Telegram { .. } => "telegram",
            Kind::Webhook { .. } => "webhook",
        }
    }

    /// Whether a message there wakes somebody, and opens or closes an alert.
    #[must_use]
    pub fn is_pager(&self) -> bool {
        matches!(self, Kind::Pagerduty { .. })
    }

    /// Whether a message there has a link under which somebody takes the
    /// incident; the others have buttons, or their own way.
    #[must_use]
    pub fn takes_links(&self) -> bool {
        matches!(
            self,
            Kind::Webhook { .. } | Kind::Telegram { buttons: false, .. }
        )
    }

    /// Whom a message goes to, as people see it.
    #[must_use]
    pub fn recipient(&self) -> &str {
        match self {
            Kind::Slack { channel, .. } => channel,
            Kind::Pagerduty { .. } => "events-v2",
            Kind::Telegram { chat, .. } => chat,
            Kind::Webhook { format, .. } => format.name(),
        }
    }
}

/// The JSON that a webhook expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Midwatch,
    Teams,
    Discord,
    Mattermost,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Format::Midwatch => "midwatch",
            Format::Teams => "teams",
            Format::Discord => "discord",
            Format::Mattermost => "mattermost",
        }
    }
}

/// What goes to which channels. All conditions of a route must hold; a channel
/// of several routes gets each message once.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub channels: Vec<String>,
    /// The least severity, `LOW` unless given.
    #[serde(default = "lowest")]
    pub min_severity: Severity,
    /// Names of services, with `*` at the end for all that begin so; all
    /// services unless given.
    #[serde(default)]
    pub services: Vec<String>,
    /// Teams of the service catalogue; all unless given.
    #[serde(default)]
    pub teams: Vec<String>,
    /// `opened`, `rca`, `plan`, `action`, `update`, `resolved`, `postmortem`;
    /// all unless given.
    #[serde(default)]
    pub stages: Vec<String>,
    #[serde(default)]
    pub hours: Option<Hours>,
    /// Minutes of wall clock between digests, in which incidents of LOW
    /// severity are told together; none, or 0, for a message each. Where
    /// several routes lead to a channel, one without a digest is stronger,
    /// then the shortest.
    #[serde(default)]
    pub digest_minutes: u32,
}

fn lowest() -> Severity {
    Severity::Low
}

/// Hours of the week, at a fixed distance from UTC.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// 1 is Monday, 7 Sunday.
    pub days: Vec<u8>,
    /// Hour of the day at which they begin, 0 to 23.
    pub from: u8,
    /// Hour of the day at which they end, 1 to 24.
    pub to: u8,
    #[serde(default)]
    pub utc_offset_minutes: i32,
    /// Turns them round: outside of these hours.
    #[serde(default)]
    pub outside: bool,
}

impl Hours {
    /// Whether a moment of wall clock lies in them.
    #[must_use]
    pub fn hold(&self, wall_ms: i64) -> bool {
        let minutes = wall_ms.div_euclid(60_000) + i64::from(self.utc_offset_minutes);
        let day = minutes.div_euclid(1440);
        // The first day of the epoch was a Thursday.
        let weekday = u8::try_from((day + 3).rem_euclid(7) + 1).unwrap_or(1);
        let hour = minutes.rem_euclid(1440) / 60;
        let inside = self.days.contains(&weekday)
            && hour >= i64::from(self.from)
            && hour < i64::from(self.to);
        inside != self.outside
    }
}

/// A step of escalation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Minutes of wall clock after the alert without an acknowledgement.
    pub after_minutes: u32,
    #[serde(default = "high")]
    pub min_severity: Severity,
    #[serde(default)]
    pub channels: Vec<String>,
    #[serde(default)]
    pub mail: Vec<String>,
}

fn high() -> Severity {
    Severity::High
}

/// What a route is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub stage: &'a str,
    pub severity: Severity,
    pub services: &'a [String],
    /// The team of the first service; empty where it is not known.
    pub team: &'a str,
    pub wall_ms: i64,
}

const STAGES: [&str; 7] = [
    "opened",
    "rca",
    "plan",
    "action",
    "update",
    "resolved",
    "postmortem",
];

impl Book {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the place and what is wrong there.
    pub fn parse(text: &str) -> Result<Book, String> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let book: Book = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| format!("at {}: {}", error.path(), error.inner()))?;
        book.check()?;
        Ok(book)
    }

    fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for Channel { name, .. } in &self.channels {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
            if name.is_empty() || name.len() > 40 || !name.chars().all(plain) || name == "mail" {
                return Err(format!(
                    "channel {name:?}: a name has 1 to 40 letters, digits, - and _, and is not mail"
                ));
            }
            if !names.insert(name.as_str()) {
                return Err(format!("channel {name:?} is there twice"));
            }
        }
        let routed = self.routes.iter().flat_map(|route| &route.channels);
        let climbed = self.escalation.iter().flat_map(|rung| &rung.channels);
        for name in routed.chain(climbed) {
            if !names.contains(name.as_str()) {
                return Err(format!("{name:?} is none of the channels"));
            }
        }
        for stage in self.routes.iter().flat_map(|route| &route.stages) {
            if !STAGES.contains(&stage.as_str()) {
                return Err(format!("stage {stage:?} is none of {}", STAGES.join(", ")));
            }
        }
        for hours in self.routes.iter().filter_map(|route| route.hours.as_ref()) {
            let days = hours.days.iter().all(|day| (1..=7).contains(day));
            if !days || hours.from >= hours.to || hours.to > 24 {
                return Err("hours: days are 1 to 7, and from < to <= 24".to_owned());
            }
        }
        self.check_digests()?;
        for rung in &self.escalation {
            if rung.after_minutes == 0 || (rung.channels.is_empty() && rung.mail.is_empty()) {
                return Err(
                    "escalation: after_minutes is at least 1, and each step has channels or mail"
                        .to_owned(),
                );
            }
            if let Some(bad) = rung.mail.iter().find(|one| !crate::config::is_address(one)) {
                return Err(format!("escalation: {bad:?} is no mail address"));
            }
        }
        self.check_pagers()
    }

    /// A pager rings once for an alert, so a step that only repeats it wakes
    /// nobody. Routes for some services, teams or hours leave it something to
    /// do.
    fn check_pagers(&self) -> Result<(), String> {
        for (index, rung) in self.escalation.iter().enumerate() {
            let pagers = rung.channels.iter().filter_map(|name| self.channel(name));
            for pager in pagers.filter(|channel| channel.kind.is_pager()) {
                let name = &pager.name;
                let told = |route: &Route| route.tells_all(name, rung.min_severity);
                let earlier = self.escalation[..index].iter().any(|other| {
                    other.channels.contains(name)
                        && other.min_severity <= rung.min_severity
                        && other.after_minutes <= rung.after_minutes
                });
                let by = match self.routes.iter().position(told) {
                    Some(route) => {
                        format!("routes[{route}] tells it of the same incidents at once")
                    }
                    None if earlier => "an earlier step tells it already".to_owned(),
                    None => continue,
                };
                return Err(format!(
                    "escalation[{index}] wakes nobody through {name:?}: {by}, and a pager rings \
                     once for an alert; name another pager or people, or take the step out"
                ));
            }
        }
        Ok(())
    }

    fn check_digests(&self) -> Result<(), String> {
        for route in self.routes.iter().filter(|route| route.digest_minutes > 0) {
            if route.digest_minutes > DIGEST_LONGEST {
                return Err(format!(
                    "digest_minutes {} is more than {DIGEST_LONGEST}, which is a day",
                    route.digest_minutes
                ));
            }
            let mut channels = route.channels.iter().filter_map(|name| self.channel(name));
            if let Some(pager) = channels.find(|channel| !takes_digests(&channel.kind)) {
                return Err(format!(
                    "channel {:?} is a pager, which takes no digest; give it a route of its own",
                    pager.name
                ));
            }
        }
        Ok(())
    }

    /// The channel of this name.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// Minutes between a channel's digests, where a LOW incident's message to
    /// it is left to one.
    #[must_use]
    pub fn digest_minutes(&self, channel: &Channel, asked: &Asked<'_>) -> Option<u32> {
        let routes = self.routes.iter().filter(|route| route.holds(asked));
        let leading = routes.filter(|route| route.channels.contains(&channel.name));
        let least = leading.map(|route| route.digest_minutes).min()?;
        (least > 0).then_some(least)
    }

    /// The channels that a message goes to, in the order of the file.
    #[must_use]
    pub fn routed(&self, asked: &Asked<'_>) -> Vec<&Channel> {
        let wanted: BTreeSet<&str> = self
            .routes
            .iter()
            .filter(|route| route.holds(asked))
            .flat_map(|route| route.channels.iter().map(String::as_str))
            .collect();
        self.channels
            .iter()
            .filter(|channel| wanted.contains(channel.name.as_str()))
            .collect()
    }
}

impl Route {
    /// Whether a channel hears of every beginning from a severity on.
    fn tells_all(&self, channel: &str, from: Severity) -> bool {
        self.channels.iter().any(|name| name == channel)
            && self.min_severity <= from
            && self.services.is_empty()
            && self.teams.is_empty()
            && self.hours.is_none()
            && (self.stages.is_empty() || self.stages.iter().any(|stage| stage == "opened"))
    }

    fn holds(&self, asked: &Asked<'_>) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => asked.services.iter().any(|one| one.starts_with(start)),
            None => asked.services.contains(pattern),
        };
        asked.severity >= self.min_severity
            && (self.services.is_empty() || self.services.iter().any(matches))
            && (self.teams.is_empty() || self.teams.iter().any(|team| team == asked.team))
            && (self.stages.is_empty() || self.stages.iter().any(|stage| stage == asked.stage))
            && self
                .hours
                .as_ref()
                .is_none_or(|hours| hours.hold(asked.wall_ms))
    }
}

#[cfg(test)]
mod tests;
