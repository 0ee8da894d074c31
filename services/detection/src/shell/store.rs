//! Detector state in Redis: one hash of fields per partition, and a pointer
//! that names the hash and the next offset.
//!
//! Keys begin with `midwatch:detection:<epoch>:<topic>:<partition>`, where the
//! topic carries the configured prefix: `…:owner` (a number, raised at each
//! assignment), `…:pointer` (`next_offset`, `state_key`, `journal`,
//! `saved_wall_ms`) and the hash itself. All expire a day after the raw topics'
//! records would have.
//!
//! Few changes go into the hash together with the pointer. Many would block
//! Redis for too long, so they go piece by piece into a journal, a hash of its
//! own that the pointer then names: from there on they count. Afterwards they
//! go, piece by piece, into the hash itself, and the journal is dropped.
//! Whoever reads lays the journal over the hash, so that a crash anywhere in
//! between changes nothing. An empty value in a journal is a field that is gone.

use crate::decide::state::PartitionState;
use anyhow::Context as _;
use fred::clients::Client;
use fred::interfaces::{HashesInterface, KeysInterface};
use fred::types::scripts::Script;
use midwatch_events::topics::RETENTION_MS;
use midwatch_runtime::clock;
use std::collections::{BTreeMap, HashMap};

/// Lifetime of state, seconds: a day longer than the records it is about.
const TTL_S: i64 = RETENTION_MS / 1000 + 86_400;
/// With more changed fields than this a checkpoint takes the journal; the
/// script below would block Redis for more than some 10 ms.
const IN_PLACE: usize = 2_000;
/// Fields per command otherwise.
const CHUNK: usize = 500;

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

/// Writes changed fields, if the caller still owns the partition.
const FOLD: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local index = 3
for _ = 1, tonumber(ARGV[2]) do
  redis.call('HDEL', KEYS[2], ARGV[index])
  index = index + 1
end
while index < #ARGV do
  redis.call('HSET', KEYS[2], ARGV[index], ARGV[index + 1])
  index = index + 2
end
return 1
";

/// A partition on the broker: the topic's name with prefix, and the number.
pub type Place = (String, i32);

/// What owning a partition means in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Raised by one at each assignment; only the highest may write.
    pub owner: i64,
    state_key: String,
    /// A journal whose fields are not all in the hash yet.
    journal: Option<String>,
    rewrites: u64,
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
            "midwatch:detection:{}:{}:{}:{what}",
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
            journal: None,
            rewrites: 0,
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
        let mut fields: BTreeMap<String, String> =
            self.read(state_key).await?.into_iter().collect();
        let journal = pointer.get("journal").filter(|key| !key.is_empty());
        if let Some(journal) = journal {
            let changes = self.read_journal(journal).await?;
            for (field, value) in &changes {
                match value {
                    Some(value) => fields.insert(field.clone(), value.clone()),
                    None => fields.remove(field),
                };
            }
            claim.journal = Some(journal.clone());
            let settled = self
                .settle(place, &mut claim, next_offset, &changes)
                .await?;
            anyhow::ensure!(
                settled == Saved::Done,
                "somebody else claimed {} {} at the same moment",
                place.0,
                place.1
            );
        }
        let state = PartitionState::restore(fields)
            .with_context(|| format!("{state_key}; delete {pointer_key} to start afresh"))?;
        Ok((claim, Some(Stored { state, next_offset })))
    }

    async fn read_journal(&self, key: &str) -> anyhow::Result<BTreeMap<String, Option<String>>> {
        let fields = self.read(key).await?;
        let present = |value: String| (!value.is_empty()).then_some(value);
        Ok(fields
            .into_iter()
            .map(|(field, value)| (field, present(value)))
            .collect())
    }

    async fn read(&self, key: &str) -> anyhow::Result<Vec<(String, String)>> {
        let names: Vec<String> = self.redis.hkeys(key).await?;
        let mut fields = Vec::with_capacity(names.len());
        for chunk in names.chunks(CHUNK) {
            let values: Vec<Option<String>> = self.redis.hmget(key, chunk.to_vec()).await?;
            for (name, value) in chunk.iter().zip(values) {
                let value = value.with_context(|| format!("{key} lost its field {name}"))?;
                fields.push((name.clone(), value));
            }
        }
        Ok(fields)
    }

    /// Writes a checkpoint: the changed fields and the next offset, all or
    /// nothing. Repeating it after an error does no harm.
    ///
    /// # Errors
    /// Redis is away; whether the checkpoint was written is not known then.
    pub async fn save(
        &self,
        place: &Place,
        claim: &mut Claim,
        next_offset: i64,
        changes: &BTreeMap<String, Option<String>>,
        state: &PartitionState,
    ) -> anyhow::Result<Saved> {
        // A journal left by an error holds nothing that is not among the
        // changes: those stay until they are saved. So the next one replaces it.
        if changes.len() <= IN_PLACE && claim.journal.is_none() {
            return self.flip(place, claim, next_offset, changes).await;
        }
        if 2 * changes.len() >= state.field_count() {
            return self.rewrite(place, claim, next_offset, state).await;
        }
        let journal = self.fresh_key(place, claim);
        for piece in Pieces(changes.iter()) {
            let fields: Vec<(String, String)> = piece
                .into_iter()
                .map(|(field, value)| (field.clone(), value.clone().unwrap_or_default()))
                .collect();
            self.write(&journal, fields).await?;
        }
        let before = claim.journal.replace(journal.clone());
        let saved = self
            .flip(place, claim, next_offset, &BTreeMap::new())
            .await?;
        if saved == Saved::Stale {
            let () = self.redis.unlink(journal).await?;
            return Ok(saved);
        }
        if let Some(before) = before {
            let () = self.redis.unlink(before).await?;
        }
        self.settle(place, claim, next_offset, changes).await
    }

    /// Takes the journal's fields over into the hash and drops the journal.
    async fn settle(
        &self,
        place: &Place,
        claim: &mut Claim,
        next_offset: i64,
        changes: &BTreeMap<String, Option<String>>,
    ) -> anyhow::Result<Saved> {
        let keys = [self.key(place, "owner"), claim.state_key.clone()];
        for piece in Pieces(changes.iter()) {
            let mut arguments = vec![claim.owner.to_string()];
            push_changes(&mut arguments, piece);
            let folded: i64 = self
                .fold
                .evalsha_with_reload(&self.redis, keys.to_vec(), arguments)
                .await?;
            if folded != 1 {
                return Ok(Saved::Stale);
            }
        }
        let journal = claim.journal.take();
        let saved = self.flip(place, claim, next_offset, &BTreeMap::new()).await;
        match (&saved, journal) {
            (Ok(Saved::Done), Some(journal)) => {
                let () = self.redis.unlink(journal).await?;
            }
            (_, journal) => claim.journal = journal,
        }
        saved
    }

    /// Writes everything into a new hash and points to it.
    async fn rewrite(
        &self,
        place: &Place,
        claim: &mut Claim,
        next_offset: i64,
        state: &PartitionState,
    ) -> anyhow::Result<Saved> {
        let fresh = self.fresh_key(place, claim);
        for fields in state.dump_in_pieces(CHUNK) {
            self.write(&fresh, fields).await?;
        }
        let next = Claim {
            state_key: fresh.clone(),
            journal: None,
            ..claim.clone()
        };
        let saved = self
            .flip(place, &next, next_offset, &BTreeMap::new())
            .await?;
        if saved == Saved::Stale {
            let () = self.redis.unlink(fresh).await?;
            return Ok(saved);
        }
        let before = std::mem::replace(claim, next);
        let mut old = vec![before.state_key];
        old.extend(before.journal);
        let () = self.redis.unlink(old).await?;
        Ok(saved)
    }

    fn fresh_key(&self, place: &Place, claim: &mut Claim) -> String {
        claim.rewrites += 1;
        self.key(place, &format!("state:{}:{}", claim.owner, claim.rewrites))
    }

    async fn write(&self, key: &str, fields: Vec<(String, String)>) -> anyhow::Result<()> {
        let () = self.redis.hset(key, fields).await?;
        // Given at once: a crash before the flip must not leave a hash that
        // lives for ever.
        let () = self.redis.expire(key, TTL_S, None).await?;
        Ok(())
    }

    async fn flip(
        &self,
        place: &Place,
        claim: &Claim,
        next_offset: i64,
        changes: &BTreeMap<String, Option<String>>,
    ) -> anyhow::Result<Saved> {
        let mut keys = vec![
            self.key(place, "owner"),
            self.key(place, "pointer"),
            claim.state_key.clone(),
        ];
        keys.extend(claim.journal.clone());
        let mut arguments = vec![
            claim.owner.to_string(),
            next_offset.to_string(),
            clock::now_ms().to_string(),
            TTL_S.to_string(),
            claim.journal.clone().unwrap_or_default(),
        ];
        push_changes(&mut arguments, changes.iter().collect());
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

/// A changed field and its value, or none where it is gone.
type Changed<'a> = (&'a String, &'a Option<String>);

/// Changes in pieces of at most [`CHUNK`].
struct Pieces<'a>(std::collections::btree_map::Iter<'a, String, Option<String>>);

impl<'a> Iterator for Pieces<'a> {
    type Item = Vec<Changed<'a>>;

    fn next(&mut self) -> Option<Vec<Changed<'a>>> {
        let piece: Vec<Changed<'a>> = self.0.by_ref().take(CHUNK).collect();
        (!piece.is_empty()).then_some(piece)
    }
}

/// Adds how many fields go, those, and then the others with their values.
fn push_changes(arguments: &mut Vec<String>, changes: Vec<Changed<'_>>) {
    let (kept, removed): (Vec<Changed<'_>>, Vec<Changed<'_>>) =
        changes.into_iter().partition(|(_, value)| value.is_some());
    arguments.push(removed.len().to_string());
    arguments.extend(removed.into_iter().map(|(field, _)| field.clone()));
    for (field, value) in kept {
        arguments.push(field.clone());
        arguments.extend(value.clone());
    }
}
