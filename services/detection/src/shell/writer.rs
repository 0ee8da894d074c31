//! What goes to Redis goes beside the loop: one task, which takes orders and
//! carries them out one after the other.
//!
//! Their order is the guarantee: readings that were ordered before a
//! checkpoint are in Redis before that checkpoint counts. An order that fails
//! is tried again for ever, since all of them may be repeated; meanwhile the
//! queue fills, and the worker stops consuming when it is full.

use crate::decide::state::Change;
use crate::shell::recent::Batch;
use crate::shell::store::{Claim, PIECE, Place, Saved, Store};
use fred::clients::Client;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Orders that wait. A piece of state is half a megabyte or so.
const QUEUE: usize = 4;
/// A pause between tries while Redis is away.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be written.
pub enum Order {
    /// A partition was assigned.
    Own(Place, Claim),
    Recent(Batch),
    /// The next piece of a checkpoint, of at most [`PIECE`] fields.
    Changes(Place, Vec<Change>),
    /// The last piece of a checkpoint, and the offset to go on from.
    Finish(Place, Vec<Change>, i64),
}

/// What was written.
pub enum Done {
    /// The batch, emptied.
    Recent(Batch),
    /// An order that needs no answer but that it is done.
    Piece,
    Saved {
        place: Place,
        owner: i64,
        next_offset: i64,
        saved: Saved,
    },
}

/// The worker's end.
pub struct Writer {
    handle: Handle,
    orders: mpsc::Sender<Order>,
    done: mpsc::UnboundedReceiver<Done>,
    trouble: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Starts the task that writes.
    #[must_use]
    pub fn start(handle: &Handle, redis: Client, store: Store) -> Writer {
        let (orders, waiting) = mpsc::channel(QUEUE);
        // Each answer is to an order, and those are few.
        let (answers, done) = mpsc::unbounded_channel();
        let trouble = Arc::new(Mutex::new(None));
        let clerk = Clerk {
            redis,
            store,
            held: HashMap::new(),
            trouble: Arc::clone(&trouble),
        };
        Writer {
            handle: handle.clone(),
            orders,
            done,
            trouble,
            task: handle.spawn(clerk.work(waiting, answers)),
        }
    }

    /// How many orders it takes at once now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.orders.capacity()
    }

    /// Waits until there is room for an order; whether there is.
    pub fn await_room(&self, limit: Duration) -> bool {
        let room = async { tokio::time::timeout(limit, self.orders.reserve()).await };
        matches!(self.handle.block_on(room), Ok(Ok(_)))
    }

    /// Takes an order; false where there is no room.
    pub fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    /// What was written since the last call.
    pub fn done(&mut self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Waits for something to be written.
    pub fn await_done(&mut self, limit: Duration) -> Option<Done> {
        let done = &mut self.done;
        self.handle
            .block_on(async { tokio::time::timeout(limit, done.recv()).await })
            .ok()
            .flatten()
    }

    /// Why nothing is written at present.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A partition's claim, and the journal of the checkpoint that is under way.
struct Held {
    claim: Claim,
    journal: Option<String>,
}

/// The task's side.
struct Clerk {
    redis: Client,
    store: Store,
    held: HashMap<Place, Held>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Clerk {
    async fn work(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        answers: mpsc::UnboundedSender<Done>,
    ) {
        while let Some(mut order) = orders.recv().await {
            let done = loop {
                match self.carry_out(&mut order).await {
                    Ok(done) => break done,
                    Err(error) => self.note(Some(format!("{error:#}"))),
                }
                tokio::time::sleep(RETRY).await;
            };
            self.note(None);
            if answers.send(done).is_err() {
                return;
            }
        }
    }

    fn note(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    async fn carry_out(&mut self, order: &mut Order) -> anyhow::Result<Done> {
        match order {
            Order::Own(place, claim) => {
                let held = Held {
                    claim: claim.clone(),
                    journal: None,
                };
                self.held.insert(place.clone(), held);
                Ok(Done::Piece)
            }
            Order::Recent(batch) => {
                batch.write(&self.redis).await?;
                Ok(Done::Recent(std::mem::take(batch)))
            }
            Order::Changes(place, changes) => {
                if let Some(held) = self.held.get_mut(place) {
                    held.note(&self.store, place, changes).await?;
                }
                Ok(Done::Piece)
            }
            Order::Finish(place, changes, next_offset) => {
                let Some(held) = self.held.get_mut(place) else {
                    return Ok(Done::Piece);
                };
                let saved = held
                    .finish(&self.store, place, changes, *next_offset)
                    .await?;
                Ok(Done::Saved {
                    place: place.clone(),
                    owner: held.claim.owner,
                    next_offset: *next_offset,
                    saved,
                })
            }
        }
    }
}

impl Held {
    async fn note(
        &mut self,
        store: &Store,
        place: &Place,
        changes: &[Change],
    ) -> anyhow::Result<()> {
        let journal = match &self.journal {
            Some(journal) => journal.clone(),
            None => store.journal(place, &mut self.claim),
        };
        self.journal = Some(journal.clone());
        for piece in changes.chunks(PIECE) {
            store.note(&journal, piece).await?;
        }
        Ok(())
    }

    async fn finish(
        &mut self,
        store: &Store,
        place: &Place,
        changes: &[Change],
        next_offset: i64,
    ) -> anyhow::Result<Saved> {
        if self.journal.is_none() && changes.len() <= PIECE {
            return store.save(place, &self.claim, next_offset, changes).await;
        }
        self.note(store, place, changes).await?;
        let journal = self.journal.clone().unwrap_or_default();
        let saved = store
            .finish(place, &self.claim, next_offset, &journal)
            .await?;
        self.journal = None;
        Ok(saved)
    }
}
