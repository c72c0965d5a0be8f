use std::fmt;

use crate::backlog::Backlog;
use crate::job::Job;
use crate::load::{Bill, ReplicaSeconds};
use crate::windows::{Cell, Windows};

/// What any policy must spend that serves at least `attainment` (0 to 1) of the jobs in time.
///
/// The greatest of several bounds, each of which holds:
///
/// - **work**: somebody has to do it, whenever it is done;
/// - **windows** of some lengths: of each window the work is taken that can neither be done before nor after
///   it. If it would keep 2.4 replicas busy, then in that window a first and a second replica are needed all
///   of the time, and a third for 0.4 of it, so that it must be there at some moment. So the problem falls
///   apart into one for each replica, as without waiting: on or off at the border of each window, a cold
///   start for each time it is turned on. (Moving time within a window from a higher replica to a lower one
///   never makes a start more.) Short windows see peaks, long ones lose less at their borders.
/// - **backlog**: the cheapest plan of whole replicas under which, at any time, as much is done as is due by
///   then and no more than has come. Nothing is lost at borders; which of the work is done is left open.
///
/// Jobs may be dropped where that is cheaper: each for a price, and the price of all that may be dropped is
/// taken off again (weak duality; see [`crate::with_attainment`]). Those with the most work are dropped
/// first, since they save most.
#[must_use]
pub fn bound(jobs: &[Job], bill: Bill, attainment: f64) -> Bound {
    let late = jobs.len() as f64 * (1.0 - attainment.clamp(0.0, 1.0));
    let mut best = Bound {
        replica_seconds: ReplicaSeconds(work_of(jobs, late)),
        by: BoundBy::Work,
    };
    for length in LENGTHS {
        for part in 0..OFFSETS {
            let windows = Windows::cut(jobs, length, length * f64::from(part) / f64::from(OFFSETS));
            let found = by_windows(&windows, bill, late);
            if found > best.replica_seconds.0 {
                best = Bound {
                    replica_seconds: ReplicaSeconds(found),
                    by: BoundBy::Windows { seconds: length },
                };
            }
        }
    }
    if let Some(backlog) = Backlog::new(jobs, bill) {
        let all: f64 = jobs.iter().map(Job::work).sum();
        let found = backlog.bound(all - work_of(jobs, late));
        if found > best.replica_seconds.0 {
            best = Bound {
                replica_seconds: ReplicaSeconds(found),
                by: BoundBy::Backlog {
                    seconds: backlog.slot(),
                },
            };
        }
    }
    best
}

/// Lengths of windows, in seconds.
const LENGTHS: [f64; 9] = [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0];
/// Windows begin at so many places.
const OFFSETS: u32 = 2;

/// A lower bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// What must be spent.
    pub replica_seconds: ReplicaSeconds,
    /// Which bound was the greatest.
    pub by: BoundBy,
}

/// Which bound it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BoundBy {
    /// The work itself.
    Work,
    /// What must be done within each window.
    Windows {
        /// Their length.
        seconds: f64,
    },
    /// What must be done by any time, and cannot be done before it came.
    Backlog {
        /// Length of the slots in which replicas change.
        seconds: f64,
    },
}

impl fmt::Display for BoundBy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Work => out.write_str("the work"),
            Self::Windows { seconds } => write!(out, "windows of {seconds} s"),
            Self::Backlog { seconds } => write!(out, "the backlog in slots of {seconds} s"),
        }
    }
}

/// All work but that of the `late` jobs with the most.
fn work_of(jobs: &[Job], late: f64) -> f64 {
    let mut work: Vec<f64> = jobs.iter().map(Job::work).collect();
    work.sort_by(|one, two| two.total_cmp(one));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most the number of jobs"
    )]
    let dropped = late.floor().max(0.0) as usize;
    let part = late - late.floor();
    let kept: f64 = work.iter().skip(dropped).sum();
    f64::max(0.0, kept - work.get(dropped).map_or(0.0, |work| work * part))
}

/// The value is concave in the price: 60 narrowings by a third leave it exact to ten digits.
const ITERATIONS: u32 = 60;

fn by_windows(windows: &Windows, bill: Bill, late: f64) -> f64 {
    let levels = windows.peak();
    let mut cells: Vec<Vec<Cell>> = vec![Vec::with_capacity(windows.windows.len()); levels];
    for window in &windows.windows {
        let mut found = window.cells(windows.length).into_iter();
        for level in &mut cells {
            level.push(found.next().unwrap_or(Cell {
                work: 0.0,
                requests: 0.0,
                heaviest: 0.0,
            }));
        }
    }
    let start = bill.cold_start.as_secs_f64();
    let value = |price: f64| {
        (1_u32..)
            .zip(&cells)
            .map(|(level, cells)| {
                of_level(
                    cells,
                    (windows.first, windows.length),
                    start,
                    level <= bill.warm,
                    price,
                )
            })
            .sum::<f64>()
    };
    if late <= 0.0 {
        return value(f64::INFINITY);
    }
    let value = |price: f64| value(price) - price * late;
    let mut least: f64 = 0.0;
    let mut greatest = windows.length + start + 1.0;
    // Beyond this price, nobody drops a whole replica's window for a request; widen while it pays.
    while value(greatest * 2.0) > value(greatest) && greatest < 1e9 {
        greatest *= 2.0;
    }
    greatest *= 2.0;
    let mut best = 0.0_f64;
    for _ in 0..ITERATIONS {
        let third = (greatest - least) / 3.0;
        let (one, two) = (value(least + third), value(greatest - third));
        best = best.max(one).max(two);
        if one < two {
            least += third;
        } else {
            greatest -= third;
        }
        if greatest - least < 1e-3 * least.max(1e-3) {
            break;
        }
    }
    best
}

/// The cheapest plan for one replica, by whether it is on or off at the border of each window.
fn of_level(cells: &[Cell], (first, length): (f64, f64), start: f64, warm: bool, price: f64) -> f64 {
    let (mut on, mut off) = (if warm { 0.0 } else { f64::INFINITY }, 0.0);
    for (place, cell) in cells.iter().enumerate() {
        // Nobody pays for the time before the load begins.
        let length = if place == 0 { first } else { length };
        // Where it serves, it serves what is not cheaper to drop, request by request.
        let each = if cell.heaviest > 0.0 {
            f64::min(1.0, price / cell.heaviest)
        } else {
            0.0
        };
        let served = cell.work * each;
        let dropped = if cell.work > 0.0 {
            price * cell.requests
        } else {
            0.0
        };
        let before = f64::min(on, off);
        // On at the end: it was on all the time, or was started again for what there is to do, or at the end.
        let stays = f64::min(on + length, before + start + f64::min(served, dropped));
        // Off at the end: it was on, or started, for what there is to do; or that is dropped.
        let goes = f64::min(f64::min(on, off + start) + served, before + dropped);
        (on, off) = (stays, goes);
    }
    f64::min(on, off)
}
