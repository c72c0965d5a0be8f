use crate::load::{Bill, Bin, Load, ReplicaSeconds};

/// A lower bound where a part of the requests may be late, however late: at least `attainment` (0 to 1) of
/// them are served within their bin.
///
/// Each bin's work lies in levels, the k-th replica's share in the k-th. To leave a level's share of a bin
/// unserved costs λ for each of its requests; for every λ the cheapest plan, less λ times the requests that
/// may be late, is at most the optimum (weak duality), and plans fall apart into levels again. The greatest
/// over λ is taken. The bound is that of the linear relaxation, so that it can lie below the optimum.
#[must_use]
pub fn with_attainment(load: &Load, bill: Bill, attainment: f64) -> ReplicaSeconds {
    let requests: f64 = load.bins().iter().map(|bin| bin.requests).sum();
    let late = requests * (1.0 - attainment.clamp(0.0, 1.0));
    let value = |price: f64| plan(load, bill, price) - price * late;
    // The value is concave in λ. At this price nobody leaves anything unserved: the dearest cell is a
    // level's only request ever, which needs a start and a bin.
    let mut least = 0.0;
    let mut greatest = dearest(load, bill);
    for _ in 0..ITERATIONS {
        let (one, two) = (
            least + (greatest - least) / 3.0,
            greatest - (greatest - least) / 3.0,
        );
        if value(one) < value(two) {
            least = one;
        } else {
            greatest = two;
        }
    }
    ReplicaSeconds(f64::max(0.0, value(f64::midpoint(least, greatest))))
}

/// The search narrows the price by two thirds each time: 80 times leave it exact to fifteen digits. Fewer
/// make the bound weaker, never wrong.
const ITERATIONS: u32 = 80;

/// The price above which everything is served.
fn dearest(load: &Load, bill: Bill) -> f64 {
    let cost = load.seconds() + bill.cold_start.as_secs_f64();
    let cells = load
        .bins()
        .iter()
        .flat_map(|bin| (1..=bin.need()).map(|level| share(bin, level)));
    let least = cells.filter(|share| *share > 0.0).fold(f64::INFINITY, f64::min);
    if least.is_finite() { cost / least } else { 0.0 }
}

/// Requests of `bin` that only the replica `level` can serve within it.
fn share(bin: &Bin, level: u32) -> f64 {
    let below = f64::from(level - 1);
    if bin.replicas <= below {
        return 0.0;
    }
    bin.requests * f64::min(bin.replicas - below, 1.0) / bin.replicas
}

/// The cheapest plan where an unserved request costs `price`.
fn plan(load: &Load, bill: Bill, price: f64) -> f64 {
    (1..=load.peak())
        .map(|level| of_level(load, level, bill, price))
        .sum()
}

/// The same for one replica, by whether it is on or off at the end of each bin.
fn of_level(load: &Load, level: u32, bill: Bill, price: f64) -> f64 {
    let (bin, start) = (load.seconds(), bill.cold_start.as_secs_f64());
    let warm = level <= bill.warm;
    let (mut on, mut off) = (if warm { 0.0 } else { f64::INFINITY }, 0.0);
    for one in load.bins() {
        let turned_on = f64::min(on, off + start) + bin;
        let turned_off = f64::min(on, off) + price * share(one, level);
        (on, off) = (turned_on, turned_off);
    }
    f64::min(on, off)
}
