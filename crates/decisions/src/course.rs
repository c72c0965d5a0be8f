use rheostat_sizing::Sizer;

use crate::record::Record;

/// A workload's sizer on its way through a log.
#[derive(Debug, Default)]
pub(crate) struct Course {
    sizer: Option<Sizer>,
    next: u64,
}

/// What a record's state says of the sizer that came to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateCheck {
    /// There is nothing to compare.
    None,
    /// It is the same, bit for bit.
    Same,
    /// It is not.
    Different,
}

impl Course {
    /// The sizer as it was before `record` was decided, and whether that agrees with what the record says;
    /// `None` before the first state and after a gap.
    pub(crate) fn reach(&mut self, record: &Record) -> (Option<&mut Sizer>, StateCheck) {
        let whole = self.next == record.sequence;
        self.next = record.sequence + 1;
        if !whole {
            self.sizer = None;
        }
        let mut check = StateCheck::None;
        if let Some(state) = &record.before {
            if let (Some(sizer), true) = (&self.sizer, state.continues) {
                check = if same(sizer, &state.sizer) {
                    StateCheck::Same
                } else {
                    StateCheck::Different
                };
            }
            self.sizer = Some(state.sizer.clone());
        }
        (self.sizer.as_mut(), check)
    }

    /// Like [`Self::reach`], but a state is taken only where there is none yet: for a sizer that goes a way
    /// of its own.
    pub(crate) fn part(&mut self, record: &Record) -> Option<&mut Sizer> {
        if self.sizer.is_none() {
            self.sizer = record.before.as_ref().map(|state| state.sizer.clone());
        }
        self.sizer.as_mut()
    }
}

/// Whether two values are the same bit for bit: their JSON tells -0 from 0, and every number of it is
/// written so that it is read back as the same one.
pub(crate) fn same<T: serde::Serialize>(one: &T, two: &T) -> bool {
    match (serde_json::to_vec(one), serde_json::to_vec(two)) {
        (Ok(one), Ok(two)) => one == two,
        _ => false,
    }
}
