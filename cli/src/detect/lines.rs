//! Lines of a stream, each bounded, with a look at whether another waits.

use midwatch_events::topics::RAW_MAX_BYTES;
use std::io::{BufRead, BufReader, Read};

/// The longest line, without its end: what the topic takes.
pub const MAX_BYTES: usize = RAW_MAX_BYTES as usize;
/// Enough for some hundred lines in one call of the system.
const BUFFER_BYTES: usize = 256 * 1024;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Its text is there to be looked at.
    Whole,
    /// Longer than [`MAX_BYTES`]: passed over without being kept.
    TooLong,
}

/// Lines, one after the other.
pub struct Lines<R> {
    input: BufReader<R>,
    text: Vec<u8>,
    number: u64,
}

impl<R: Read> Lines<R> {
    pub fn new(input: R) -> Lines<R> {
        Lines {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            text: Vec::new(),
            number: 0,
        }
    }

    /// Reads the next line; `None` at the end. The last one needs no newline.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn next(&mut self) -> std::io::Result<Option<Line>> {
        self.text.clear();
        let mut bounded = (&mut self.input).take(MAX_BYTES as u64 + 1);
        if bounded.read_until(b'\n', &mut self.text)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.text.last() != Some(&b'\n') && self.text.len() > MAX_BYTES {
            self.input.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        // Editors of some systems put a byte order mark in front.
        if self.number == 1 && self.text.starts_with(b"\xef\xbb\xbf") {
            self.text.drain(..3);
        }
        Ok(Some(Line::Whole))
    }

    /// The line at hand.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Its number, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether another complete line is there without asking for more input.
    pub fn has_another(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_greatest_length_is_read_and_a_longer_one_passed_over() {
        let whole = vec![b'x'; MAX_BYTES];
        let mut input = whole.clone();
        input.push(b'\n');
        input.extend_from_slice(&whole);
        input.extend_from_slice(b"x\nend");
        let mut lines = Lines::new(&input[..]);
        assert_eq!(lines.next().unwrap(), Some(Line::Whole));
        assert_eq!(lines.text().trim_ascii().len(), MAX_BYTES);
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong));
        assert!(!lines.has_another());
        assert_eq!(lines.next().unwrap(), Some(Line::Whole));
        assert_eq!((lines.text(), lines.number()), (&b"end"[..], 3));
        assert_eq!(lines.next().unwrap(), None);
    }
}
