//! The deterministic investigator, pure.

mod alert;
pub mod answer;
mod before;
pub mod blame;
mod calls;
pub mod causes;
pub mod change;
pub mod clues;
mod counter;
mod coverage;
mod gaps;
pub mod kills;
pub mod ledger;
pub mod lines;
pub mod load;
mod measured;
pub mod place;
pub mod portrait;
pub mod quantity;
mod question;
pub mod recording;
pub mod signs;
mod sorts;
mod spoken;
pub mod traces;
mod unseen;
pub mod weigh;
mod wording;

pub use answer::{Answer, Candidate, investigate, weigh_up};
pub use counter::readings;
pub use recording::{
    Alarm, ChangeEvent, ChangeKind, Kept, Line, Question, Recording, Series, Span,
};
pub use signs::{Sign, Weighed};
