use crate::job::Job;
use crate::load::Bill;

/// A lower bound where requests may wait within their windows, and a part of them may be late: the cheapest
/// plan of whole replicas that keeps the backlog between nothing and what is not due yet.
///
/// Time is cut into slots. All that is done by the end of one is at most what was released and at least what
/// was due by then, and grows in each by at most what its replicas can do. The cheapest such plan is found by
/// dynamic programming over (replicas, backlog), as Albers and Quedenfeld (arXiv 1807.05112) do it over
/// replicas alone.
///
/// - Work is counted in units of which a replica does a whole number in a slot, and what is released and due
///   is rounded down to units. For every plan in real numbers, its work rounded down is one in units: nothing
///   adds up.
/// - A replica of the real plan counts for each slot that it serves in, two slots more than it serves at most,
///   so that a start is billed two slots less.
/// - Work of requests that are late is done by nobody at λ for each second; of the cheapest plan's cost λ
///   times the work that may be spared is taken back (weak duality), and a unit more for the rounding. The
///   greatest over λ counts.
pub(crate) struct Backlog {
    /// Seconds of a slot.
    slot: f64,
    /// Units that a replica does in a slot.
    units: usize,
    /// For each slot: units that are released, and the most backlog at its end.
    slots: Vec<(usize, usize)>,
    /// More replicas than this never have anything to do.
    most: usize,
    /// A start, less two slots.
    start: f64,
    warm: usize,
}

/// What is released and what is due, in replica-seconds by the second. Beginnings are moved back to a whole
/// second and ends forward, which can only make it easier.
#[derive(Debug, Default)]
struct Curves {
    released: Vec<f64>,
    due: Vec<f64>,
}

/// About how many states one plan may look at: some 20 ms. Fewer make slots longer and the bound weaker.
const STATES: f64 = 2e7;
/// The slots that are tried, in seconds, the finest first.
const SLOTS: [u64; 12] = [1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 90, 120];
/// How finely a slot of a replica is cut, the finest first.
const UNITS: [usize; 5] = [16, 8, 4, 2, 1];
/// Prices of work that is spared that are tried. More would make the bound a little stronger.
const PRICES: u32 = 14;

impl Curves {
    fn new(jobs: &[Job]) -> Self {
        let mut curves = Self::default();
        for piece in jobs.iter().flat_map(Job::pieces) {
            *at(&mut curves.released, piece.from.floor()) += piece.work;
            if piece.by.is_finite() {
                // What ends with a second is due in it.
                *at(&mut curves.due, (piece.by.ceil() - 1.0).max(0.0)) += piece.work;
            }
        }
        let seconds = curves.released.len().max(curves.due.len());
        curves.released.resize(seconds, 0.0);
        curves.due.resize(seconds, 0.0);
        curves
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time of a job, at least 0"
)]
fn at(values: &mut Vec<f64>, second: f64) -> &mut f64 {
    let place = second as usize;
    if values.len() <= place {
        values.resize(place + 1, 0.0);
    }
    &mut values[place]
}

impl Backlog {
    /// Seconds of a slot.
    pub(crate) fn slot(&self) -> f64 {
        self.slot
    }

    /// The finest that can be computed in time; `None` where a start is not much longer than a slot, so that
    /// whole replicas make no difference.
    pub(crate) fn new(jobs: &[Job], bill: Bill) -> Option<Self> {
        let curves = Curves::new(jobs);
        let longest = bill.cold_start.as_secs() / 4;
        let slots = SLOTS.into_iter().filter(|slot| *slot <= longest);
        let mut affordable = slots.filter_map(|slot| {
            let cut = UNITS
                .into_iter()
                .map(|units| Self::cut(&curves, bill, slot, units));
            cut.into_iter().find(|cut| cut.states() <= STATES)
        });
        affordable.next()
    }

    fn cut(curves: &Curves, bill: Bill, seconds: u64, units: usize) -> Self {
        let slot = seconds as f64;
        let unit = slot / units as f64;
        // Rounding of numbers must not make more due or less released than there is.
        let whole = |work: f64, slack: f64| (work / unit + slack).floor().max(0.0) as usize;
        let (mut released, mut due) = (0.0, 0.0);
        let (mut before, mut left_before, mut most) = (0, 0, 0);
        let step = usize::try_from(seconds).unwrap_or(1);
        let pairs = curves.released.chunks(step).zip(curves.due.chunks(step));
        let slots = pairs
            .map(|(more, less)| {
                released += more.iter().sum::<f64>();
                due += less.iter().sum::<f64>();
                let (all, must) = (whole(released, 1e-6), whole(due, -1e-6));
                let came = all - before;
                most = most.max((left_before + came).div_ceil(units));
                (before, left_before) = (all, all.saturating_sub(must));
                (came, left_before)
            })
            .collect();
        Self {
            slot,
            units,
            slots,
            most,
            start: bill.cold_start.as_secs_f64() - 2.0 * slot,
            warm: (bill.warm as usize).min(most),
        }
    }

    fn states(&self) -> f64 {
        let backlogs: f64 = self.slots.iter().map(|(_, most)| *most as f64 + 2.0).sum();
        backlogs * (self.most as f64 + 1.0)
    }

    /// The bound where work of at most `spared` seconds may be left to nobody.
    pub(crate) fn bound(&self, spared: f64) -> f64 {
        let unit = self.slot / self.units as f64;
        // A warm replica that is let go at once has served no slot and is counted for none; one that is let
        // go later may have been counted a slot too long.
        let rounding = self.warm as f64 * self.slot;
        if spared <= 0.0 {
            return self.plan(f64::INFINITY) - rounding;
        }
        let value = |price: f64| self.plan(price) - price * (spared + unit) - rounding;
        // Below a price of 1 nothing is worth serving; above this, nothing is worth leaving. The value is
        // concave in the price, and so it has one top in its logarithm too.
        let most = (2.0 + 2.0 * (self.start + self.slot) / unit).ln();
        let (mut left, mut right) = (0.0, most);
        let inner = |left: f64, right: f64| {
            let part = (right - left) * GOLDEN;
            (right - part, left + part)
        };
        let (mut one, mut two) = inner(left, right);
        let (mut at_one, mut at_two) = (value(one.exp()), value(two.exp()));
        let mut best = f64::max(at_one, at_two);
        for _ in 2..PRICES {
            if at_one < at_two {
                left = one;
                (one, at_one) = (two, at_two);
                two = inner(left, right).1;
                at_two = value(two.exp());
            } else {
                right = two;
                (two, at_two) = (one, at_one);
                one = inner(left, right).0;
                at_one = value(one.exp());
            }
            best = best.max(at_one).max(at_two);
        }
        best
    }

    /// Cost of the cheapest plan where a second of work that is left to nobody costs `price`.
    fn plan(&self, price: f64) -> f64 {
        let unit = self.slot / self.units as f64;
        let widest = self.slots.iter().map(|(_, most)| *most + 1).max().unwrap_or(1);
        let mut table = Table::new(self.most + 1, widest);
        for replicas in 0..=self.most {
            let started = replicas.saturating_sub(self.warm) as f64;
            table.before.row(replicas)[0] = started * self.start;
        }
        table.width = 1;
        for (place, &(came, most)) in self.slots.iter().enumerate() {
            if place > 0 {
                table.change(self.start);
            }
            table.serve(came, most, self.units, self.slot, price * unit);
        }
        let rows = (0..=self.most).flat_map(|replicas| table.before.of(replicas)[..table.width].iter());
        rows.copied().fold(f64::INFINITY, f64::min)
    }
}

/// The golden ratio less 1: the search keeps one of its two points each time.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Cost to come to each number of replicas and backlog.
struct Table {
    before: Grid,
    after: Grid,
    /// Backlogs that are in use.
    width: usize,
}

struct Grid {
    values: Vec<f64>,
    width: usize,
}

impl Table {
    fn new(rows: usize, width: usize) -> Self {
        Self {
            before: Grid::new(rows, width),
            after: Grid::new(rows, width),
            width: 1,
        }
    }

    /// Replicas are stopped for nothing and started for `start` each.
    fn change(&mut self, start: f64) {
        let rows = self.before.rows();
        for row in (1..rows).rev() {
            let (lower, upper) = self.before.pair(row);
            for (less, more) in lower[..self.width].iter_mut().zip(&upper[..self.width]) {
                *less = less.min(*more);
            }
        }
        for row in 1..rows {
            let (lower, upper) = self.before.pair(row);
            for (less, more) in lower[..self.width].iter().zip(&mut upper[..self.width]) {
                *more = more.min(*less + start);
            }
        }
    }

    /// `came` units are released; each replica does `units`, for `slot`; of the backlog that is left beyond
    /// `most` each unit costs `price`.
    fn serve(&mut self, came: usize, most: usize, units: usize, slot: f64, price: f64) {
        let width = self.width;
        for replicas in 0..self.before.rows() {
            let from = &self.before.of(replicas)[..width];
            let into = &mut self.after.row(replicas)[..=most];
            let cost = replicas as f64 * slot;
            into.fill(f64::INFINITY);
            let done = replicas * units;
            // Backlogs below this are served to the end, those from `kept` on leave too much.
            let served = done.saturating_sub(came).min(width);
            for value in &from[..served] {
                into[0] = into[0].min(value + cost);
            }
            let kept = (most + done + 1).saturating_sub(came).clamp(served, width);
            let shift = (served + came).saturating_sub(done);
            for (value, sum) in from[served..kept].iter().zip(into.iter_mut().skip(shift)) {
                *sum = sum.min(value + cost);
            }
            if price.is_finite() {
                for (backlog, value) in from.iter().enumerate().skip(kept) {
                    let beyond = (backlog + came).saturating_sub(done + most) as f64;
                    into[most] = into[most].min(value + cost + beyond * price);
                }
            }
        }
        std::mem::swap(&mut self.before, &mut self.after);
        self.width = most + 1;
    }
}

impl Grid {
    fn new(rows: usize, width: usize) -> Self {
        Self {
            values: vec![f64::INFINITY; rows * width],
            width,
        }
    }

    fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    fn of(&self, row: usize) -> &[f64] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    fn row(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.width..(row + 1) * self.width]
    }

    /// A row and the one above it.
    fn pair(&mut self, above: usize) -> (&mut [f64], &mut [f64]) {
        let (lower, upper) = self.values.split_at_mut(above * self.width);
        (&mut lower[(above - 1) * self.width..], &mut upper[..self.width])
    }
}
