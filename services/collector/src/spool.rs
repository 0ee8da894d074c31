//! What waits for the broker: a bounded queue that forgets the oldest first.

use std::collections::VecDeque;

/// A first-in, first-out queue of bounded length. Items are handed out without
/// leaving it and leave it when they are acknowledged, so that a failed
/// delivery loses nothing and changes no order.
#[derive(Debug)]
pub struct Spool<T> {
    items: VecDeque<T>,
    capacity: usize,
    /// How many items have left the queue, by acknowledgement or by force.
    gone: u64,
    dropped: u64,
}

/// A position in a spool's history: everything before it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

impl<T: Clone> Spool<T> {
    /// An empty spool for `capacity` items.
    ///
    /// # Panics
    /// Where `capacity` is 0.
    #[must_use]
    pub fn new(capacity: usize) -> Spool<T> {
        assert!(capacity > 0, "a spool holds at least one item");
        Spool {
            items: VecDeque::new(),
            capacity,
            gone: 0,
            dropped: 0,
        }
    }

    /// Adds an item; where the spool is full, the oldest one is dropped.
    /// Answers with the number of items dropped for it, 0 or 1.
    pub fn push(&mut self, item: T) -> u64 {
        let full = self.items.len() == self.capacity;
        if full {
            self.items.pop_front();
            self.gone += 1;
            self.dropped += 1;
        }
        self.items.push_back(item);
        u64::from(full)
    }

    /// The oldest items, at most `most`, and the mark behind them.
    #[must_use]
    pub fn oldest(&self, most: usize) -> (Vec<T>, Mark) {
        let items: Vec<T> = self.items.iter().take(most).cloned().collect();
        let mark = Mark(self.gone + items.len() as u64);
        (items, mark)
    }

    /// Forgets everything before the mark. What was dropped meanwhile is gone
    /// already, and what came later stays.
    pub fn acknowledge(&mut self, mark: Mark) {
        while self.gone < mark.0 && self.items.pop_front().is_some() {
            self.gone += 1;
        }
    }

    /// The number of items that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many items were dropped in all.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(capacity: usize, count: u32) -> Spool<u32> {
        let mut spool = Spool::new(capacity);
        for item in 0..count {
            spool.push(item);
        }
        spool
    }

    #[test]
    fn items_leave_in_order_and_only_when_acknowledged() {
        let mut spool = filled(10, 5);
        let (first, mark) = spool.oldest(3);
        assert_eq!(first, [0, 1, 2]);
        assert_eq!(spool.oldest(3).0, first, "a failed delivery is tried again");
        spool.acknowledge(mark);
        assert_eq!(spool.oldest(9).0, [3, 4]);
        assert_eq!((spool.len(), spool.dropped()), (2, 0));
    }

    #[test]
    fn a_full_spool_drops_the_oldest_and_counts_it() {
        let mut spool = filled(3, 3);
        assert_eq!(spool.push(3), 1);
        assert_eq!(spool.push(4), 1);
        assert_eq!(spool.oldest(9).0, [2, 3, 4]);
        assert_eq!((spool.len(), spool.dropped()), (3, 2));
    }

    #[test]
    fn what_was_dropped_during_a_delivery_is_not_acknowledged_twice() {
        let mut spool = filled(3, 3);
        let (sent, mark) = spool.oldest(2);
        assert_eq!(sent, [0, 1]);
        spool.push(3);
        assert_eq!(
            spool.oldest(9).0,
            [1, 2, 3],
            "0 was dropped while it was under way"
        );
        spool.acknowledge(mark);
        assert_eq!(spool.oldest(9).0, [2, 3], "only 1 was left to acknowledge");
        spool.acknowledge(mark);
        assert_eq!(spool.oldest(9).0, [2, 3], "an old mark means nothing new");
    }
}
