use serde::{Deserialize, Serialize};

use crate::calibration::Residuals;
use crate::capacity::Capacity;
use crate::cold_start::ColdStart;
use crate::intent::Objective;
use crate::ledger::Ledger;
use crate::price::Price;
use crate::season::Season;

/// What took long to learn and is worth keeping over a restart. Small.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    pub(crate) capacity: Capacity,
    pub(crate) cold_start: ColdStart,
    pub(crate) ledger: Ledger,
    pub(crate) season: Option<Season>,
    pub(crate) residuals: Vec<Residuals>,
    pub(crate) costs: Vec<(f64, f64)>,
    pub(crate) lateness: Vec<(f64, f64)>,
    pub(crate) price: Option<Price>,
    /// What was to be kept: all of it but capacity, cold starts and what was spent is about that.
    pub(crate) objective: Option<Objective>,
}

impl Learned {
    /// How long starts take, by hardware and stage.
    #[must_use]
    pub const fn cold_start(&self) -> &ColdStart {
        &self.cold_start
    }
}
