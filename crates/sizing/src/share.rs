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
    /// Gives one replica after the other to whoever of `group` has the least for its weight, up to `wanted`.
    fn fill(&mut self, group: &[usize], wanted: impl Fn(&Claim) -> u32) {
        loop {
            let wanting = group.iter().copied().filter(|&place| {
                let claim = &self.claims[place];
                self.given[place] < wanted(claim) && claim.size() <= self.left + SLACK
            });
            let Some(place) = wanting.min_by(|&a, &b| self.after(a).total_cmp(&self.after(b))) else {
                return;
            };
            self.given[place] += 1;
            self.left -= self.claims[place].size();
        }
    }

    /// What the workload has for its weight with one replica more.
    fn after(&self, place: usize) -> f64 {
        let claim = &self.claims[place];
        f64::from(self.given[place].saturating_add(1)) * claim.size() / positive(claim.weight)
    }
}

impl Claim {
    fn size(&self) -> f64 {
        positive(self.gpus_per_replica)
    }
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

    fn used(claims: &[Claim], given: &[u32]) -> f64 {
        claims
            .iter()
            .zip(given)
            .map(|(claim, given)| claim.size() * f64::from(*given))
            .sum()
    }

    proptest! {
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
