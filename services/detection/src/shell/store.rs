//! Detector state in Redis: one hash of fields per partition, and a pointer
//! that names the hash and the next offset.
//!
//! Keys begin with `midwatch:detection:<epoch>:<topic>:<partition>`, where the
//! topic carries the configured prefix: `…:owner` (a number, raised at each
//! assignment), `…:pointer` (`next_offset`, `state_key`, `saved_wall_ms`) and
//! the hash itself. All expire a day after the raw topics' records would have.

use crate::decide::state::{Change, PartitionState};
use anyhow::Context as _;
use fred::clients::Client;
use fred::interfaces::{HashesInterface, KeysInterface};
use fred::types::scripts::Script;
use midwatch_events::topics::RETENTION_MS;
use midwatch_runtime::clock;
use std::collections::{BTreeMap, HashMap};

/// Lifetime of state, seconds: a day longer than the records it is about.
const TTL_S: i64 = RETENTION_MS / 1000 + 86_400;
/// With more changed fields than this a checkpoint writes a new hash in
/// pieces and then points to it; the script below would block Redis for
/// more than some 10 ms.
const IN_PLACE: usize = 2_000;
/// Fields per command otherwise.
const CHUNK: usize = 500;

/// Writes the changed fields and moves the pointer, if the caller still owns
/// the partition.
const FLIP: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local index = 6
for _ = 1, tonumber(ARGV[5]) do
  redis.call('HDEL', KEYS[3], ARGV[index])
  index = index + 1
end
while index < #ARGV do
  redis.call('HSET', KEYS[3], ARGV[index], ARGV[index + 1])
  index = index + 2
end
redis.call('HSET', KEYS[2], 'next_offset', ARGV[2], 'state_key', KEYS[3], 'saved_wall_ms', ARGV[3])
for i = 1, 3 do redis.call('EXPIRE', KEYS[i], ARGV[4]) end
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
}

impl Store {
    /// The state of this epoch.
    #[must_use]
    pub fn new(redis: Client, epoch: &str) -> Store {
        Store {
            redis,
            epoch: epoch.to_owned(),
            flip: Script::from_lua(FLIP),
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
        let fields = self.read(state_key).await?;
        let state = PartitionState::restore(fields)
            .with_context(|| format!("{state_key}; delete {pointer_key} to start afresh"))?;
        Ok((claim, Some(Stored { state, next_offset })))
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
        if changes.len() <= IN_PLACE {
            let changes = changes
                .iter()
                .map(|(field, value)| (field.clone(), value.clone()));
            return self
                .flip(
                    place,
                    &claim.state_key,
                    claim.owner,
                    next_offset,
                    changes.collect(),
                )
                .await;
        }
        claim.rewrites += 1;
        let fresh = self.key(place, &format!("state:{}:{}", claim.owner, claim.rewrites));
        for chunk in state.dump().chunks(CHUNK) {
            let () = self.redis.hset(&fresh, chunk.to_vec()).await?;
            // Given at once: a crash before the flip must not leave a hash
            // that lives for ever.
            let () = self.redis.expire(&fresh, TTL_S, None).await?;
        }
        let saved = self
            .flip(place, &fresh, claim.owner, next_offset, Vec::new())
            .await?;
        let old = match saved {
            Saved::Done => std::mem::replace(&mut claim.state_key, fresh),
            Saved::Stale => fresh,
        };
        let () = self.redis.unlink(old).await?;
        Ok(saved)
    }

    async fn flip(
        &self,
        place: &Place,
        state_key: &str,
        owner: i64,
        next_offset: i64,
        changes: Vec<Change>,
    ) -> anyhow::Result<Saved> {
        let keys = vec![
            self.key(place, "owner"),
            self.key(place, "pointer"),
            state_key.to_owned(),
        ];
        let (kept, removed): (Vec<Change>, Vec<Change>) =
            changes.into_iter().partition(|(_, value)| value.is_some());
        let mut arguments = vec![
            owner.to_string(),
            next_offset.to_string(),
            clock::now_ms().to_string(),
            TTL_S.to_string(),
            removed.len().to_string(),
        ];
        arguments.extend(removed.into_iter().map(|(field, _)| field));
        for (field, value) in kept {
            arguments.push(field);
            arguments.extend(value);
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
