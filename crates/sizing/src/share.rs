use std::cmp::Reverse;

/// What one workload wants of a pool of GPUs that several workloads share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// Higher goes first: a lower one gets what is left. Minimums of all come before anybody's wish.
    pub priority: i32,
    /// Part within its priority, relative to the others'. What is not positive and finite counts as 1.
    pub weight: f64,
    /// GPUs that one replica holds: whole replicas are given. What is not positive and finite counts as 1.
    pub gpus_per_replica: f64,
    /// Replicas that it must have.
    pub min: u32,
    /// Replicas that it would use now.
    pub wants: u32,
    /// Replicas that it could ever use.
    pub max: u32,
}

/// Rounding that must not cost a replica.
const SLACK: f64 = 1e-9;

/// Divides `total` GPUs among `claims`: at most so many replicas for each, in their order.
///
/// First everybody's minimum, then everybody's wish, both by priority; within one priority by weighted
/// max-min fairness (progressive filling: Bertsekas and Gallager, *Data Networks*, §6.5), in whole replicas:
/// the next replica goes to the workload that would have the least for its weight with it, the first of them
/// where that is equal. What is left when all wishes are met is room to grow into, divided by weight alone,
/// so that a workload whose wish has just grown need not wait for the next division.
///
/// The allotments together are never more than `total`, whatever is claimed. A workload that is given less
/// than it has is to give the difference back; until it has, others wait for it with pending pods.
#[must_use]
pub fn share(total: f64, claims: &[Claim]) -> Vec<u32> {
    let mut pool = Pool {
        claims,
        left: if total.is_finite() { total.max(0.0) } else { 0.0 },
        given: vec![0; claims.len()],
    };
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_by_key(|&place| Reverse(claims[place].priority));
    let same_priority = |a: &usize, b: &usize| claims[*a].priority == claims[*b].priority;
    for group in order.chunk_by(same_priority) {
        pool.fill(group, |claim| claim.min.min(claim.max));
    }
    for group in order.chunk_by(same_priority) {
        pool.fill(group, |claim| claim.wants.min(claim.max));
    }
    pool.fill(&order, |claim| claim.max);
    pool.given
}

struct Pool<'a> {
    claims: &'a [Claim],
    /// GPUs that are not given yet.
    left: f64,
    given: Vec<u32>,
}

impl Pool<'_> {
    /// Gives one replica after the other to whoever of `group` has the least for its weight, up to `wanted`. What
    /// all can be given before somebody's next one does not fit is given at once: a large pool of small replicas
    /// has millions.
    fn fill(&mut self, group: &[usize], wanted: impl Fn(&Claim) -> u32) {
        loop {
            let wanting = self.wanting(group, &wanted);
            if wanting.is_empty() {
                return;
            }
            self.raise(&wanting, &wanted);
            // Those of one level, of which not all fit.
            for _ in 0..wanting.len() {
                let wanting = self.wanting(&wanting, &wanted).into_iter();
                let after = |place: usize| self.claims[place].level(self.given[place].saturating_add(1));
                let Some(place) = wanting.min_by(|&a, &b| after(a).total_cmp(&after(b))) else {
                    break;
                };
                self.give(place, 1);
            }
        }
    }

    /// Those of `group` who want more, and whose next replica fits.
    fn wanting(&self, group: &[usize], wanted: impl Fn(&Claim) -> u32) -> Vec<usize> {
        let wants = |place: &usize| {
            let claim = &self.claims[*place];
            self.given[*place] < wanted(claim) && claim.size() <= self.left + SLACK
        };
        group.iter().copied().filter(wants).collect()
    }

    /// Gives each of `group` the replicas up to the highest level that all of them together can reach.
    fn raise(&mut self, group: &[usize], wanted: impl Fn(&Claim) -> u32) {
        let more = |pool: &Self, place: usize, level: f64| {
            let claim = &pool.claims[place];
            let count = claim.count(level).min(wanted(claim));
            count.saturating_sub(pool.given[place])
        };
        let fits = |pool: &Self, level: f64| {
            let sizes = group
                .iter()
                .map(|&place| f64::from(more(pool, place, level)) * pool.claims[place].size());
            sizes.sum::<f64>() <= pool.left
        };
        let (mut low, mut high) = (0.0, 0.0_f64);
        for &place in group {
            let claim = &self.claims[place];
            let alone = whole(self.left / claim.size()).saturating_add(1);
            let most = self.given[place].saturating_add(alone).min(wanted(claim));
            high = high.max(claim.level(most));
        }
        if fits(self, high) {
            low = high;
        }
        // Until no number is left between the two.
        loop {
            let middle = low + (high - low) / 2.0;
            if !(low < middle && middle < high) {
                break;
            }
            match fits(self, middle) {
                true => low = middle,
                false => high = middle,
            }
        }
        for &place in group {
            self.give(place, more(self, place, low));
        }
    }

    fn give(&mut self, place: usize, replicas: u32) {
        self.given[place] = self.given[place].saturating_add(replicas);
        self.left -= f64::from(replicas) * self.claims[place].size();
    }
}

impl Claim {
    fn size(&self) -> f64 {
        positive(self.gpus_per_replica)
    }

    /// What it has for its weight with so many replicas.
    fn level(&self, replicas: u32) -> f64 {
        f64::from(replicas) * self.size() / positive(self.weight)
    }

    /// The most replicas with which it is at `level` at most.
    fn count(&self, level: f64) -> u32 {
        let about = whole(level * positive(self.weight) / self.size());
        // Rounding may have cost or given one.
        let mut near = [about.saturating_add(1), about].into_iter();
        let most = near.find(|&count| self.level(count) <= level);
        most.unwrap_or_else(|| about.saturating_sub(1))
    }
}

/// Without its fraction.
fn whole(number: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates"
    )]
    let whole = number as u32;
    whole
}

fn positive(number: f64) -> f64 {
    if number.is_finite() && number > 0.0 {
        number
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(priority: i32, weight: f64, min: u32, wants: u32) -> Claim {
        Claim {
            priority,
            weight,
            gpus_per_replica: 1.0,
            min,
            wants,
            max: wants,
        }
    }

    #[test]
    fn weights_divide_what_everybody_wants() {
        let claims = [claim(0, 1.0, 0, 100), claim(0, 3.0, 0, 100)];
        assert_eq!(share(8.0, &claims), [2, 6]);
        assert_eq!(
            share(8.0, &[claim(0, 1.0, 0, 1), claim(0, 3.0, 0, 100)]),
            [1, 7],
            "what one does not want is the other's"
        );
    }

    #[test]
    fn a_higher_priority_is_served_first_but_takes_nobodys_minimum() {
        let claims = [claim(0, 1.0, 2, 8), claim(10, 1.0, 1, 8)];
        assert_eq!(share(10.0, &claims), [2, 8]);
        assert_eq!(share(6.0, &claims), [2, 4]);
        assert_eq!(share(2.0, &claims), [1, 1], "the higher minimum first");
        assert_eq!(share(0.5, &claims), [0, 0]);
    }

    #[test]
    fn replicas_are_whole_and_a_small_one_fits_where_a_large_one_does_not() {
        let large = Claim {
            gpus_per_replica: 8.0,
            ..claim(0, 1.0, 0, 4)
        };
        assert_eq!(share(19.0, &[large, claim(-1, 1.0, 0, 9)]), [2, 3]);
    }

    #[test]
    fn room_is_left_for_growth() {
        let idle = Claim {
            max: 100,
            ..claim(0, 1.0, 1, 2)
        };
        assert_eq!(share(10.0, &[idle, idle]), [5, 5]);
    }

    #[test]
    fn a_large_pool_of_small_replicas_is_divided_at_once() {
        let small = |weight: f64| Claim {
            gpus_per_replica: 0.01,
            max: i32::MAX as u32,
            ..claim(0, weight, 1, 100)
        };
        // One by one, this would take minutes.
        let given = share(1e7, &[small(1.0), small(3.0)]);
        assert_eq!(given, [250_000_000, 750_000_000]);
    }

    #[test]
    fn nonsense_is_divided_too() {
        let odd = Claim {
            weight: f64::NAN,
            gpus_per_replica: -1.0,
            ..claim(0, 0.0, 5, 3)
        };
        assert_eq!(share(f64::NAN, &[odd]), [0]);
        assert_eq!(share(f64::INFINITY, &[odd]), [0]);
        assert_eq!(share(9.0, &[odd]), [3]);
    }

    fn claims() -> impl Strategy<Value = Vec<Claim>> {
        let claim = (-1..=1i32, 0.1..10.0f64, 0.25..8.0f64, 0..6u32, 0..20u32, 0..20u32).prop_map(
            |(priority, weight, gpus_per_replica, min, more, most)| Claim {
                priority,
                weight,
                gpus_per_replica,
                min,
                wants: min + more,
                max: min + more + most,
            },
        );
        proptest::collection::vec(claim, 0..8)
    }

    /// As [`share`] says it: one replica after the other.
    fn one_by_one(total: f64, claims: &[Claim]) -> Vec<u32> {
        let (mut left, mut given) = (total, vec![0; claims.len()]);
        let mut fill = |priority: Option<i32>, wanted: fn(&Claim) -> u32| {
            loop {
                let wanting = (0..claims.len()).filter(|&place| {
                    let claim = &claims[place];
                    priority.is_none_or(|priority| claim.priority == priority)
                        && given[place] < wanted(claim)
                        && claim.size() <= left + SLACK
                });
                let after = |place: usize| claims[place].level(given[place] + 1);
                // The first of the highest priority, where that is equal.
                let order = |a: &usize, b: &usize| {
                    let first = Reverse(claims[*a].priority).cmp(&Reverse(claims[*b].priority));
                    after(*a).total_cmp(&after(*b)).then(first)
                };
                let Some(place) = wanting.min_by(order) else { break };
                given[place] += 1;
                left -= claims[place].size();
            }
        };
        for wanted in [
            |claim: &Claim| claim.min.min(claim.max),
            |claim: &Claim| claim.wants.min(claim.max),
        ] {
            for priority in [1, 0, -1] {
                fill(Some(priority), wanted);
            }
        }
        fill(None, |claim| claim.max);
        given
    }

    fn used(claims: &[Claim], given: &[u32]) -> f64 {
        claims
            .iter()
            .zip(given)
            .map(|(claim, given)| claim.size() * f64::from(*given))
            .sum()
    }

    proptest! {
        #[test]
        fn all_at_once_gives_the_same_as_one_by_one(total in 0.0..200.0f64, claims in claims()) {
            prop_assert_eq!(share(total, &claims), one_by_one(total, &claims));
        }

        /// Of sizes and weights that are often equal.
        #[test]
        fn where_many_are_equal_too(total in 0..60u32, claims in claims()) {
            let claims: Vec<Claim> = claims
                .into_iter()
                .map(|claim| Claim {
                    weight: claim.weight.ceil().min(3.0),
                    gpus_per_replica: claim.gpus_per_replica.ceil().min(4.0) / 2.0,
                    ..claim
                })
                .collect();
            let total = f64::from(total) / 2.0;
            prop_assert_eq!(share(total, &claims), one_by_one(total, &claims));
        }

        #[test]
        fn never_more_than_there_is(total in 0.0..200.0f64, claims in claims()) {
            prop_assert!(used(&claims, &share(total, &claims)) <= total + 1e-6);
        }

        #[test]
        fn nothing_is_withheld(total in 0.0..200.0f64, claims in claims()) {
            let given = share(total, &claims);
            let left = total - used(&claims, &given);
            for (claim, given) in claims.iter().zip(&given) {
                prop_assert!(*given == claim.max || claim.size() > left);
            }
        }

        #[test]
        fn a_minimum_is_kept_against_every_wish_of_others(total in 0.0..200.0f64, claims in claims()) {
            let minimums: Vec<u32> = claims.iter().map(|claim| claim.min).collect();
            prop_assume!(used(&claims, &minimums) <= total);
            for (given, min) in share(total, &claims).iter().zip(&minimums) {
                prop_assert!(given >= min);
            }
        }

        /// Within a priority nobody starves: who has less than it wants has as much for its weight as any
        /// other, but for one replica.
        #[test]
        fn nobody_starves_within_a_priority(total in 0.0..200.0f64, claims in claims()) {
            let claims: Vec<Claim> = claims
                .into_iter()
                .map(|claim| Claim { min: 0, gpus_per_replica: 1.0, max: claim.wants, ..claim })
                .collect();
            let given = share(total, &claims);
            for (one, mine) in claims.iter().zip(&given) {
                for (other, theirs) in claims.iter().zip(&given) {
                    if one.priority == other.priority && *mine < one.wants && *theirs > 0 {
                        let next = f64::from(mine + 1) / one.weight;
                        prop_assert!(f64::from(*theirs) / other.weight <= next + 1e-9);
                    }
                }
            }
        }

        /// A lower priority changes nothing for a higher one whose minimums are covered.
        #[test]
        fn a_lower_priority_takes_nothing(total in 0.0..200.0f64, claims in claims(), low in claims()) {
            let high: Vec<Claim> = claims
                .into_iter()
                .map(|claim| Claim { max: claim.wants, gpus_per_replica: 1.0, ..claim })
                .collect();
            let low = low.into_iter().map(|claim| Claim { priority: -5, min: 0, ..claim });
            let both: Vec<Claim> = high.iter().copied().chain(low).collect();
            prop_assert_eq!(&share(total, &both)[..high.len()], &share(total, &high)[..]);
        }

        /// The same claims give the same, whoever else's wish is met already.
        #[test]
        fn a_wish_that_is_met_is_not_cut_when_it_is_made_again(total in 0.0..200.0f64, claims in claims()) {
            let given = share(total, &claims);
            let again: Vec<Claim> = claims
                .iter()
                .zip(&given)
                .map(|(claim, given)| Claim { wants: claim.wants.min(*given), ..*claim })
                .collect();
            let second = share(total, &again);
            for ((claim, first), second) in again.iter().zip(&given).zip(&second) {
                prop_assert!(*second >= claim.wants.min(*first));
            }
        }
    }
}
