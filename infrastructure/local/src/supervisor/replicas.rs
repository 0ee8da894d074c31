//! More and fewer processes of an agent while everything runs.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::{Kind, State, Supervisor};
use crate::port;
use crate::probe::Probe;
use crate::process::Spec;
use crate::scale::{self, Scale};

/// A process that leaves for good may take this long: it finishes its jobs and
/// leaves its consumer group.
const LEAVE_GRACE: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Starts and ends processes of agents until as many run as wished for.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn scale(&mut self, wish: &Scale) -> Result<()> {
        for (agent, &count) in &wish.0 {
            let Some(first) = self.find(|unit| unit.spec.name == *agent) else {
                bail!("{agent} does not run, so it cannot be scaled");
            };
            let template = first.spec.clone();
            for slot in 1..scale::MOST {
                let name = scale::name_in_slot(agent, slot);
                let known = self.units.iter().position(|unit| {
                    unit.spec.name == name && !matches!(unit.state, State::Leaving { .. })
                });
                match known {
                    None if slot < count => self.start_replica(&template, name, slot)?,
                    Some(index) if slot >= count => self.leave(index),
                    _ => {}
                }
            }
            self.screen.say(&format!("{agent} is scaled to {count}"));
        }
        self.show();
        self.save_book()
    }

    fn start_replica(&mut self, template: &Spec, name: String, slot: u32) -> Result<()> {
        // A predecessor in this slot that is still leaving would be fenced by
        // the group; its place is taken at once.
        if let Some(index) = self.units.iter().position(|unit| unit.spec.name == name) {
            self.units.remove(index);
        }
        let base = format!("http://127.0.0.1:{}", port::any()?);
        let bind = base.trim_start_matches("http://").to_owned();
        let mut spec = template
            .clone()
            .env("HTTP_BIND", bind)
            .env("MIDWATCH_SLOT", slot.to_string());
        spec.name = name;
        spec.probe = Probe::Http(format!("{base}/readyz"));
        self.start(Kind::Agent, spec, Some(format!("{base}/metrics")), false)
    }

    /// Asks a process to end for good.
    fn leave(&mut self, index: usize) {
        let unit = &mut self.units[index];
        match &unit.process {
            Some(process) => {
                process.ask_to_stop();
                unit.state = State::Leaving {
                    until: Instant::now() + LEAVE_GRACE,
                };
            }
            None => {
                self.units.remove(index);
            }
        }
    }

    /// Removes what has left, and ends what does not leave in time.
    pub(super) fn see_off(&mut self) -> Result<bool> {
        let before = self.units.len();
        let mut index = 0;
        while index < self.units.len() {
            let unit = &mut self.units[index];
            if let (State::Leaving { until }, Some(process)) = (&unit.state, &mut unit.process) {
                if process.ended()?.is_some() {
                    self.units.remove(index);
                    continue;
                }
                if *until <= Instant::now() {
                    process.signal(Signal::SIGKILL);
                }
            }
            index += 1;
        }
        Ok(self.units.len() != before)
    }
}
