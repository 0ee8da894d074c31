//! How large the drawings of metrics are.

use serde::Serialize;

/// How large a drawing is, in its own units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    /// The style class that shows it on some widths only.
    pub class: &'static str,
    pub width: f64,
    pub height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    /// Room for the scores between the plot and the times.
    pub(super) strip: f64,
    pub(super) x_ticks: i64,
    /// Most points drawn; more are thinned to the extremes of each column.
    pub(super) columns: usize,
}

/// For screens.
pub const WIDE: Size = Size {
    class: "wide",
    width: 1040.0,
    height: 312.0,
    left: 64.0,
    right: 18.0,
    top: 26.0,
    bottom: 30.0,
    strip: 32.0,
    x_ticks: 8,
    columns: 240,
};

/// For phones.
pub const NARROW: Size = Size {
    class: "narrow",
    width: 350.0,
    height: 270.0,
    left: 44.0,
    right: 8.0,
    top: 26.0,
    bottom: 28.0,
    strip: 30.0,
    x_ticks: 4,
    columns: 90,
};

/// For screens, two side by side.
pub const HALF: Size = Size {
    class: "wide",
    width: 540.0,
    height: 240.0,
    left: 56.0,
    right: 12.0,
    top: 26.0,
    bottom: 28.0,
    strip: 30.0,
    x_ticks: 5,
    columns: 120,
};
