//! The series of one environment, each under a number.
//!
//! A million series must fit into memory, and a sample of a known one must
//! cost no allocation. So the names of a series are one shared text, the
//! look-up compares borrowed names with it, and what has changed is a list of
//! numbers.
//!
//! Putting a million series away takes seconds, during which samples go on
//! coming. [`Table::freeze`] therefore only notes what is to be stored;
//! [`Table::piece`] gives it out bit by bit, and whatever is about to change
//! before its turn is written down first. What comes out is the state at the
//! moment of the freeze, however much later.

use crate::decide::series::Series;
use crate::decide::state::{Change, Key, json};
use hashbrown::HashTable;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Series per block of memory. One vector that doubles would hold half a
/// gigabyte in reserve at a million series.
const BLOCK: usize = 1_024;
/// The first generation of changes; the one before it is not that of what is
/// as stored, which is 0.
const FIRST: u32 = 2;
/// In the place of a series that is gone.
const NOBODY: i64 = i64::MAX;

/// Number of a series within its table.
pub(super) type Id = u32;

/// The names of a series, shared by everything that speaks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesName {
    /// Environment, service and series, one after the other.
    text: Arc<str>,
    service_at: u32,
    series_at: u32,
}

impl SeriesName {
    /// The names as one text.
    #[must_use]
    pub fn new(environment: &str, service: &str, series: &str) -> SeriesName {
        let place = |length: usize| u32::try_from(length).expect("names are short");
        SeriesName {
            text: [environment, service, series].concat().into(),
            service_at: place(environment.len()),
            series_at: place(environment.len() + service.len()),
        }
    }

    #[must_use]
    pub fn environment(&self) -> &str {
        &self.text[..self.service_at as usize]
    }

    #[must_use]
    pub fn service(&self) -> &str {
        &self.text[self.service_at as usize..self.series_at as usize]
    }

    /// The series' name within its service.
    #[must_use]
    pub fn series(&self) -> &str {
        &self.text[self.series_at as usize..]
    }

    /// The same for all that speak of the same series, and cheap.
    #[must_use]
    pub fn address(&self) -> usize {
        self.text.as_ptr().addr()
    }
}

#[derive(Clone, Debug)]
struct Slot {
    name: SeriesName,
    series: Series,
    /// The generation of changes that it is among; 0 if it is as stored.
    generation: u32,
    /// When its kept readings were last cut to their bound, minutes of record
    /// time. Not part of the state: it decides nothing.
    cut_minute: u32,
}

/// The series of one environment.
#[derive(Clone, Debug)]
pub(super) struct Table {
    blocks: Vec<Vec<Option<Slot>>>,
    /// Silence clock at which each was last heard of, beside the series and
    /// not in them: a sweep looks at all of these and at few series.
    heard_ms: Vec<i64>,
    index: HashTable<Id>,
    hasher: RandomState,
    free: Vec<Id>,
    /// The present generation of changes; series of the one before are frozen.
    generation: u32,
    changed: Vec<Id>,
    gone: Vec<SeriesName>,
    /// Frozen and not yet given out, and what was written down before its turn.
    frozen: Vec<Id>,
    early: Vec<Change>,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            blocks: Vec::new(),
            heard_ms: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            free: Vec::new(),
            generation: FIRST,
            changed: Vec::new(),
            gone: Vec::new(),
            frozen: Vec::new(),
            early: Vec::new(),
        }
    }
}

impl Table {
    /// The number of the series of this name.
    pub fn find(&self, service: &str, series: &str) -> Option<Id> {
        let hash = self.hasher.hash_one((service, series));
        self.index
            .find(hash, |&id| {
                let name = &slot(&self.blocks, id).name;
                name.series() == series && name.service() == service
            })
            .copied()
    }

    /// Adds a series, which must not be there. It counts as stored.
    pub fn insert(&mut self, name: SeriesName, series: Series) -> Id {
        let id = self.free.pop().unwrap_or_else(|| {
            self.heard_ms.push(NOBODY);
            Id::try_from(self.heard_ms.len() - 1).expect("far fewer series than 4 billion")
        });
        let hash = self.hasher.hash_one((name.service(), name.series()));
        self.heard_ms[id as usize] = -series.silent_for_ms(0);
        let filled = Some(Slot {
            name,
            series,
            generation: 0,
            cut_minute: 0,
        });
        let (block, place) = (id as usize / BLOCK, id as usize % BLOCK);
        if block == self.blocks.len() {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        match self.blocks[block].get_mut(place) {
            Some(empty) => *empty = filled,
            None => self.blocks[block].push(filled),
        }
        let (blocks, hasher) = (&self.blocks, &self.hasher);
        self.index.insert_unique(hash, id, |&id| {
            let name = &slot(blocks, id).name;
            hasher.hash_one((name.service(), name.series()))
        });
        id
    }

    /// The series, about to change.
    pub fn change(&mut self, id: Id) -> (&SeriesName, &mut Series) {
        let slot = slot_mut(&mut self.blocks, id);
        if slot.generation != self.generation {
            if slot.generation + 1 == self.generation {
                self.early.push(encode(slot));
            }
            slot.generation = self.generation;
            self.changed.push(id);
        }
        (&slot.name, &mut slot.series)
    }

    /// Notes when the series was heard of, by itself.
    pub fn note_heard(&mut self, id: Id) {
        self.heard_ms[id as usize] = -slot(&self.blocks, id).series.silent_for_ms(0);
    }

    /// Whether the minute of record time is another one than the last time.
    pub fn is_new_minute(&mut self, id: Id, wall_ms: i64) -> bool {
        let minute = u32::try_from(wall_ms / 60_000).unwrap_or(0);
        let slot = slot_mut(&mut self.blocks, id);
        std::mem::replace(&mut slot.cut_minute, minute) != minute
    }

    /// The numbers of those that have been silent for `silent_ms` or longer
    /// by the silence clock.
    pub fn silent(&self, silence_ms: i64, silent_ms: i64) -> Vec<Id> {
        let heard_before_ms = silence_ms.saturating_sub(silent_ms);
        (0..)
            .zip(&self.heard_ms)
            .filter(|(_, heard_ms)| **heard_ms <= heard_before_ms)
            .map(|(id, _)| id)
            .collect()
    }

    /// Lets `look` at a series that it may change, and says so by an answer.
    pub fn look<T>(
        &mut self,
        id: Id,
        look: impl FnOnce(&SeriesName, &mut Series) -> Option<T>,
    ) -> Option<T> {
        let slot = slot_mut(&mut self.blocks, id);
        if slot.generation + 1 == self.generation {
            self.early.push(encode(slot));
            slot.generation = 0;
        }
        let answer = look(&slot.name, &mut slot.series);
        if answer.is_some() && slot.generation != self.generation {
            slot.generation = self.generation;
            self.changed.push(id);
        }
        answer
    }

    /// Forgets a series.
    pub fn remove(&mut self, id: Id) {
        let (block, place) = (id as usize / BLOCK, id as usize % BLOCK);
        let Some(slot) = self.blocks[block][place].take() else {
            return;
        };
        if slot.generation + 1 == self.generation {
            self.early.push(encode(&slot));
        }
        let hash = self
            .hasher
            .hash_one((slot.name.service(), slot.name.series()));
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.heard_ms[id as usize] = NOBODY;
        self.free.push(id);
        self.gone.push(slot.name);
    }

    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty() || !self.gone.is_empty()
    }

    /// Holds on to the present state of what has changed since the last time.
    /// Everything frozen before must have been given out.
    pub fn freeze(&mut self) {
        debug_assert!(self.frozen.is_empty() && self.early.is_empty());
        self.frozen = std::mem::take(&mut self.changed);
        // What is gone comes first: it may have come back since.
        self.early
            .extend(self.gone.drain(..).map(|name| (key(&name), None)));
        self.generation += 1;
    }

    /// How much is to be given out at most.
    pub fn frozen(&self) -> usize {
        self.early.len() + self.frozen.len()
    }

    /// How much was written down before its turn: it is held twice.
    pub fn early(&self) -> usize {
        self.early.len()
    }

    /// Adds at most `size` frozen changes to `out`, those written down first.
    pub fn piece(&mut self, size: usize, out: &mut Vec<Change>) {
        let early = self.early.len().min(size);
        out.extend(self.early.drain(..early));
        if self.early.is_empty() && self.early.capacity() > 4 * BLOCK {
            self.early = Vec::new();
        }
        for _ in early..size {
            let Some(id) = self.frozen.pop() else {
                self.frozen = Vec::new();
                return;
            };
            let (block, place) = (id as usize / BLOCK, id as usize % BLOCK);
            // Gone, or changed since and written down then, or listed twice.
            if let Some(slot) = &mut self.blocks[block][place]
                && slot.generation + 1 == self.generation
            {
                slot.generation = 0;
                out.push(encode(slot));
            }
        }
    }

    /// What an environment that is dropped leaves to be stored: what was
    /// frozen, and the keys of what is gone since.
    pub fn leave(mut self) -> (Vec<Change>, Vec<Change>) {
        let mut frozen = Vec::new();
        self.piece(usize::MAX, &mut frozen);
        let gone = self.gone.iter().map(|name| (key(name), None)).collect();
        (frozen, gone)
    }

    /// All series as they are stored, in the order of their names.
    pub fn dump(&self) -> Vec<(String, String)> {
        let mut slots: Vec<&Slot> = self.blocks.iter().flatten().flatten().collect();
        slots.sort_by_key(|slot| (slot.name.service(), slot.name.series()));
        slots
            .into_iter()
            .map(|slot| (key(&slot.name), json(&slot.series)))
            .collect()
    }
}

fn slot(blocks: &[Vec<Option<Slot>>], id: Id) -> &Slot {
    let slot = &blocks[id as usize / BLOCK][id as usize % BLOCK];
    slot.as_ref()
        .expect("the index names series that are there")
}

fn slot_mut(blocks: &mut [Vec<Option<Slot>>], id: Id) -> &mut Slot {
    let slot = &mut blocks[id as usize / BLOCK][id as usize % BLOCK];
    slot.as_mut()
        .expect("the index names series that are there")
}

fn key(name: &SeriesName) -> String {
    json(&Key::Series(
        name.environment(),
        name.service(),
        name.series(),
    ))
}

fn encode(slot: &Slot) -> Change {
    (key(&slot.name), Some(json(&slot.series)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn added(table: &mut Table, name: &str) -> Id {
        let id = table.insert(SeriesName::new("e", "s", name), Series::default());
        table.change(id);
        id
    }

    fn given_out(table: &mut Table, size: usize) -> BTreeMap<String, Option<String>> {
        let mut all = BTreeMap::new();
        while table.frozen() > 0 {
            let mut piece = Vec::new();
            table.piece(size, &mut piece);
            assert!(piece.len() <= size);
            all.extend(piece);
        }
        all
    }

    #[test]
    fn names_come_apart_as_they_were_put_together() {
        let name = SeriesName::new("ä", "", "m{pod=ö}");
        let parts = (name.environment(), name.service(), name.series());
        assert_eq!(parts, ("ä", "", "m{pod=ö}"));
    }

    #[test]
    fn what_changes_before_its_turn_comes_out_as_it_was() {
        let mut table = Table::default();
        let ids: Vec<Id> = (0..5).map(|n| added(&mut table, &n.to_string())).collect();
        table.freeze();
        let before: BTreeMap<String, Option<String>> = table
            .dump()
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        // One goes, one is new under its number, one becomes another.
        let other = json(&Series::default()).replace("\"samples\":0", "\"samples\":7");
        table.remove(ids[1]);
        assert_eq!(added(&mut table, "new"), ids[1]);
        *table.change(ids[2]).1 = serde_json::from_str(&other).expect("it is a series");
        assert_eq!(given_out(&mut table, 2), before);
        table.freeze();
        let after = given_out(&mut table, 100);
        let gone = key(&SeriesName::new("e", "s", "1"));
        assert_eq!(after.len(), 3);
        assert_eq!(after[&gone], None);
        let kept: Vec<&String> = after.values().flatten().collect();
        assert_eq!(kept.len(), 2);
        assert!(!table.has_changes());
    }

    #[test]
    fn what_went_and_came_back_is_there() {
        let mut table = Table::default();
        let id = added(&mut table, "a");
        table.remove(id);
        added(&mut table, "a");
        table.freeze();
        let given: Vec<Option<String>> = given_out(&mut table, 1).into_values().collect();
        assert_eq!(given.len(), 1);
        assert!(given[0].is_some());
        assert_eq!((table.index.len(), table.find("s", "a")), (1, Some(id)));
        assert_eq!(table.find("", "sa"), None);
    }
}
