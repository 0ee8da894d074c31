//! How bad a failure is, for every client.

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// Worth another try after a pause.
    Transient,
    /// The same request can never succeed.
    Permanent,
    /// The process cannot go on: wrong credentials, wrong address.
    Fatal,
}
