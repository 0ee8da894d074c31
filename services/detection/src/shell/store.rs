//! Detector state in Redis: one hash of fields per partition, and a pointer
//! that names the hash and the next offset.
//!
//! Keys begin with `midwatch:detection:v2:<epoch>:<topic>:<partition>`, where
//! v2 is the layout of what is stored (a build that cannot read the one before
//! raises it, starts afresh and leaves the old state to expire) and the topic
//! carries the configured prefix: `…:owner` (a number, raised at each
//! assignment), `…:pointer` (`next_offset`, `state_key`, `journal`,
//! `saved_wall_ms`) and the hash itself. All expire a day after the raw topics'
//! records would have.
//!
//! Few changes go into the hash together with the pointer. Many would block
//! Redis for too long, so they go piece by piece into a journal, a hash of its
//! own that the pointer then names: from there on they count. Afterwards Redis
//! itself takes them, piece by piece, over into the state's hash, and the
//! journal is dropped. Whoever claims the partition finishes that first, so that
//! a crash anywhere in between changes nothing. An empty value in a journal is a
//! field that is gone.

use crate::decide::state::{Change, PartitionState};
use anyhow::Context as _;
use fred::clients::Client;
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface};
use fred::types::scripts::Script;
use fred::types::{ClusterHash, CustomCommand};
use midwatch_events::topics::RETENTION_MS;
use midwatch_runtime::clock;
use std::collections::HashMap;

/// Lifetime of state, seconds: a day longer than the records it is about.
const TTL_S: i64 = RETENTION_MS / 1000 + 86_400;
/// Fields per command, half a megabyte or so: what Redis does in a few
/// milliseconds, during which nobody else is served. With more changed fields
/// a checkpoint takes the journal.
pub const PIECE: usize = 500;

/// Writes the changed fields and moves the pointer, if the caller still owns
/// the partition.
const FLIP: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local index = 7
for _ = 1, tonumber(ARGV[6]) do
  redis.call('HDEL', KEYS[3], ARGV[index])
  index = index + 1
end
while index < #ARGV do
  redis.call('HSET', KEYS[3], ARGV[index], ARGV[index + 1])
  index = index + 2
end
redis.call('HSET', KEYS[2], 'next_offset', ARGV[2], 'state_key', KEYS[3], 'journal', ARGV[5], 'saved_wall_ms', ARGV[3])
for i = 1, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[4]) end
return 1
";

/// Takes a piece of a journal over into the hash, if the caller still owns the
/// partition; returns where the next piece begins, "0" after the last.
const FOLD: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'stale' end
local page = redis.call('HSCAN', KEYS[3], ARGV[2], 'COUNT', ARGV[3])
local fields = page[2]
for i = 1, #fields, 2 do
  if fields[i + 1] == '' then
    redis.call('HDEL', KEYS[2], fields[i])
  else
    redis.call('HSET', KEYS[2], fields[i], fields[i + 1])
  end
end
redis.call('EXPIRE', KEYS[2], ARGV[4])
return page[1]
";

/// A partition on the broker: the topic's name with prefix, and the number.
pub type Place = (String, i32);

/// What owning a partition means in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Raised by one at each assignment; only the highest may write.
    pub owner: i64,
    state_key: String,
    /// How many journals it has begun.
    journals: u64,
}

/// What was stored for a partition.
#[derive(Debug)]
pub struct Stored {
    pub state: PartitionState,
    pub next_offset: i64,
}

/// How a checkpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    Done,
    /// Somebody else has claimed the partition since.
    Stale,
}

/// Detector state of one epoch.
#[derive(Clone, Debug)]
pub struct Store {
    redis: Client,
    epoch: String,
    flip: Script,
    fold: Script,
}

impl Store {
    /// The state of this epoch.
    #[must_use]
    pub fn new(redis: Client, epoch: &str) -> Store {
        Store {
            redis,
            epoch: epoch.to_owned(),
            flip: Script::from_lua(FLIP),
            fold: Script::from_lua(FOLD),
        }
    }

    fn key(&self, place: &Place, what: &str) -> String {
        format!(
            "midwatch:detection:v2:{}:{}:{}:{what}",
            self.epoch, place.0, place.1
        )
    }

    /// Notes this epoch as the current one for consumers under `prefix`;
    /// returns the one before where that was another.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn note_epoch(&self, prefix: &str) -> anyhow::Result<Option<String>> {
        let key = format!("midwatch:detection:current-epoch:{prefix}");
        let before: Option<String> = self.redis.getset(&key, &self.epoch).await?;
        let () = self.redis.expire(&key, TTL_S, None).await?;
        Ok(before.filter(|before| *before != self.epoch))
    }

    /// Claims a partition and reads what is stored for it.
    ///
    /// # Errors
    /// Redis is away, or what it holds cannot be read (the message names the
    /// field; deleting the pointer key starts the partition afresh).
    pub async fn claim(&self, place: &Place) -> anyhow::Result<(Claim, Option<Stored>)> {
        let owner: i64 = self.redis.incr(self.key(place, "owner")).await?;
        let () = self
            .redis
            .expire(self.key(place, "owner"), TTL_S, None)
            .await?;
        let pointer_key = self.key(place, "pointer");
        let pointer: HashMap<String, String> = self.redis.hgetall(&pointer_key).await?;
        let mut claim = Claim {
            owner,
            state_key: self.key(place, &format!("state:{owner}")),
            journals: 0,
        };
        let Some(next) = pointer.get("next_offset") else {
            return Ok((claim, None));
        };
        let next_offset = next
            .parse()
            .with_context(|| format!("{pointer_key} has next_offset {next:?}, not a number"))?;
        let state_key = pointer
            .get("state_key")
            .with_context(|| format!("{pointer_key} has no state_key"))?;
        claim.state_key.clone_from(state_key);
        if let Some(journal) = pointer.get("journal").filter(|key| !key.is_empty()) {
            let folded = self.fold(place, &claim, next_offset, journal).await?;
            anyhow::ensure!(
                folded == Saved::Done,
                "somebody else claimed {} {} at the same moment",
                place.0,
                place.1
            );
        }
        let state = self
            .read(state_key)
            .await
            .with_context(|| format!("{state_key}; delete {pointer_key} to start afresh"))?;
        Ok((claim, Some(Stored { state, next_offset })))
    }

    /// Reads a state in pieces: written out as a whole, a large one would take
    /// as much memory again, and block Redis.
    async fn read(&self, key: &str) -> anyhow::Result<PartitionState> {
        let mut state = PartitionState::default();
        let mut cursor = "0".to_owned();
        loop {
            let command = CustomCommand::new_static("HSCAN", ClusterHash::FirstKey, false);
            let size = PIECE.to_string();
            let arguments = vec![key, cursor.as_str(), "COUNT", size.as_str()];
            let (next, fields): (String, Vec<String>) =
                self.redis.custom(command, arguments).await?;
            for pair in fields.chunks_exact(2) {
                state.put(&pair[0], &pair[1])?;
            }
            if next == "0" {
                return Ok(state);
            }
            cursor = next;
        }
    }

    /// Writes a checkpoint of at most [`PIECE`] changed fields with the next
    /// offset, all or nothing. Repeating it after an error does no harm.
    ///
    /// # Errors
    /// Redis is away; whether the checkpoint was written is not known then.
    pub async fn save(
        &self,
        place: &Place,
        claim: &Claim,
        next_offset: i64,
        changes: &[Change],
    ) -> anyhow::Result<Saved> {
        self.flip(place, claim, next_offset, changes, None).await
    }

    /// The key of a new journal.
    pub fn journal(&self, place: &Place, claim: &mut Claim) -> String {
        claim.journals += 1;
        self.key(
            place,
            &format!("journal:{}:{}", claim.owner, claim.journals),
        )
    }

    /// Writes a piece of at most [`PIECE`] changed fields to a journal.
    /// Repeating it after an error does no harm.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn note(&self, journal: &str, changes: &[Change]) -> anyhow::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut arguments = Vec::with_capacity(2 * changes.len() + 1);
        arguments.push(journal);
        for (field, value) in changes {
            arguments.push(field);
            arguments.push(value.as_deref().unwrap_or_default());
        }
        let command = CustomCommand::new_static("HSET", ClusterHash::FirstKey, false);
        let _: i64 = self.redis.custom(command, arguments).await?;
        // Given at once: a crash before the flip must not leave a hash that
        // lives for ever.
        let () = self.redis.expire(journal, TTL_S, None).await?;
        Ok(())
    }

    /// Lets a journal count, with the next offset, and takes it over into the
    /// hash. Repeating it after an error does no harm.
    ///
    /// # Errors
    /// Redis is away; whether the checkpoint counts is not known then.
    pub async fn finish(
        &self,
        place: &Place,
        claim: &Claim,
        next_offset: i64,
        journal: &str,
    ) -> anyhow::Result<Saved> {
        let flipped = self
            .flip(place, claim, next_offset, &[], Some(journal))
            .await?;
        if flipped == Saved::Stale {
            let () = self.redis.unlink(journal).await?;
            return Ok(Saved::Stale);
        }
        self.fold(place, claim, next_offset, journal).await
    }

    /// Takes the journal's fields over into the hash and drops the journal.
    async fn fold(
        &self,
        place: &Place,
        claim: &Claim,
        next_offset: i64,
        journal: &str,
    ) -> anyhow::Result<Saved> {
        let keys = [
            self.key(place, "owner"),
            claim.state_key.clone(),
            journal.to_owned(),
        ];
        let mut cursor = "0".to_owned();
        loop {
            let arguments = vec![
                claim.owner.to_string(),
                cursor,
                PIECE.to_string(),
                TTL_S.to_string(),
            ];
            cursor = self
                .fold
                .evalsha_with_reload(&self.redis, keys.to_vec(), arguments)
                .await?;
            match cursor.as_str() {
                "stale" => return Ok(Saved::Stale),
                "0" => break,
                _ => {}
            }
        }
        let saved = self.flip(place, claim, next_offset, &[], None).await?;
        if saved == Saved::Done {
            let () = self.redis.unlink(journal).await?;
        }
        Ok(saved)
    }

    async fn flip(
        &self,
        place: &Place,
        claim: &Claim,
        next_offset: i64,
        changes: &[Change],
        journal: Option<&str>,
    ) -> anyhow::Result<Saved> {
        let mut keys = vec![
            self.key(place, "owner"),
            self.key(place, "pointer"),
            claim.state_key.clone(),
        ];
        keys.extend(journal.map(str::to_owned));
        let mut arguments = vec![
            claim.owner.to_string(),
            next_offset.to_string(),
            clock::now_ms().to_string(),
            TTL_S.to_string(),
            journal.unwrap_or_default().to_owned(),
        ];
        // How many fields go, those, and then the others with their values. A
        // field that goes and comes again is among both, and is there then.
        let gone = changes.iter().filter(|(_, value)| value.is_none());
        let gone: Vec<String> = gone.map(|(field, _)| field.clone()).collect();
        arguments.push(gone.len().to_string());
        arguments.extend(gone);
        for (field, value) in changes {
            if let Some(value) = value {
                arguments.extend([field.clone(), value.clone()]);
            }
        }
        let flipped: i64 = self
            .flip
            .evalsha_with_reload(&self.redis, keys, arguments)
            .await?;
        Ok(if flipped == 1 {
            Saved::Done
        } else {
            Saved::Stale
        })
    }
}
