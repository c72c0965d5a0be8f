//! The tests by name.

use anyhow::Result;

use crate::layout;
use crate::runner::Test;
use crate::scripted::sequence;

mod sequences;
mod smoke;

/// Every test there is.
pub(crate) fn all() -> Result<Vec<Test>> {
    let mut tests = vec![Test::new(
        "from_zero_by_push_and_back",
        smoke::from_zero_by_push_and_back,
    )];
    for (name, sequence) in sequence::all(&layout::source().join("sequences"))? {
        tests.push(Test::new(format!("sequence::{name}"), |case| {
            sequences::record(case, name, sequence)
        }));
    }
    Ok(tests)
}
