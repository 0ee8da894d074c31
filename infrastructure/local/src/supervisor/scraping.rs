//! Prometheus beside the processes, told of each that comes or goes.

use anyhow::Result;

use super::{Kind, Supervisor};
use crate::prometheus::{self, Target};

impl Supervisor {
    /// Starts Prometheus, which from now on follows the processes that come
    /// and go.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_prometheus(&mut self, port: u16) -> Result<()> {
        let (spec, _) = prometheus::prepare(&self.layout, &self.run, port, &self.targets())?;
        self.is_scraped = true;
        self.start(Kind::Server, spec, None, false)
    }

    pub(super) fn targets(&self) -> Vec<Target> {
        let units = self.units.iter();
        units
            .filter_map(|unit| Target::of(&unit.spec.name, &unit.spec.probe))
            .collect()
    }
}
