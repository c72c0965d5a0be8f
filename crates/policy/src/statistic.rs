/// An enum whose values have names, as a trigger writes them.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$variant_doc])* $variant,)* }

        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As a trigger writes it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = ();

            fn from_str(name: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|entry| entry.name() == name).ok_or(())
            }
        }
    };
}

pub(crate) use named;

named! {
    /// How the devices of one pod become the pod's number.
    Within {
        /// The busiest device: a pod is as busy as its busiest GPU.
        Max = "max",
        /// All devices together.
        Sum = "sum",
        /// The mean.
        Avg = "avg",
        /// The least busy device.
        Min = "min",
    }
}

named! {
    /// How the numbers of the ready pods become the workload's.
    Aggregation {
        /// The mean; the total under `AverageValue`. The default.
        Avg = "avg",
        /// The total. The same as `avg` under `AverageValue`. Under `Value` the mean as well: the
        /// HPA multiplies a `Value` by the replicas, so a total would grow with its own effect.
        Sum = "sum",
        /// The least pod.
        Min = "min",
        /// The greatest pod.
        Max = "max",
        /// The 95th percentile by nearest rank; the maximum below 20 pods.
        P95 = "p95",
        /// The 99th percentile by nearest rank; the maximum below 100 pods.
        P99 = "p99",
    }
}

impl Within {
    /// Reduces `numbers`; `None` where there are none.
    pub(crate) fn reduce(self, numbers: impl Iterator<Item = f64>) -> Option<f64> {
        let mut count = 0.0;
        let (mut sum, mut min, mut max) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
        for number in numbers {
            count += 1.0;
            sum += number;
            min = f64::min(min, number);
            max = f64::max(max, number);
        }
        (count > 0.0).then_some(match self {
            Self::Max => max,
            Self::Sum => sum,
            Self::Avg => sum / count,
            Self::Min => min,
        })
    }
}

impl Aggregation {
    /// The statistic per pod of `numbers`, which it may sort; `None` where there are none.
    ///
    /// Percentiles are by nearest rank: the smallest number that at least that share of the pods
    /// does not exceed. It is always a number that some pod really had.
    pub(crate) fn reduce(self, numbers: &mut [f64]) -> Option<f64> {
        match self {
            Self::Avg | Self::Sum => Within::Avg.reduce(numbers.iter().copied()),
            Self::Min => Within::Min.reduce(numbers.iter().copied()),
            Self::Max => Within::Max.reduce(numbers.iter().copied()),
            Self::P95 => nearest_rank(numbers, 95),
            Self::P99 => nearest_rank(numbers, 99),
        }
    }
}

fn nearest_rank(numbers: &mut [f64], percent: usize) -> Option<f64> {
    let rank = (numbers.len() * percent).div_ceil(100);
    let place = rank.checked_sub(1)?;
    let (_, number, _) = numbers.select_nth_unstable_by(place, f64::total_cmp);
    Some(*number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(Aggregation::P95.reduce(&mut hundred), Some(95.0));
        assert_eq!(Aggregation::P99.reduce(&mut hundred), Some(99.0));
        let mut nineteen: Vec<f64> = (1..=19).map(f64::from).collect();
        assert_eq!(Aggregation::P95.reduce(&mut nineteen), Some(19.0));
        assert_eq!(Aggregation::P95.reduce(&mut []), None);
    }

    #[test]
    fn a_pod_of_four_devices() {
        let devices = [10.0, 95.0, 50.0, 45.0];
        let reduce = |within: Within| within.reduce(devices.into_iter());
        assert_eq!(reduce(Within::Max), Some(95.0));
        assert_eq!(reduce(Within::Sum), Some(200.0));
        assert_eq!(reduce(Within::Avg), Some(50.0));
        assert_eq!(reduce(Within::Min), Some(10.0));
        assert_eq!(Within::Sum.reduce([].into_iter()), None);
    }

    proptest! {
        #[test]
        fn a_statistic_lies_between_least_and_greatest(mut numbers in proptest::collection::vec(0.0..1e6f64, 1..60)) {
            let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = numbers.iter().copied().fold(0.0, f64::max);
            for aggregation in Aggregation::ALL {
                let found = aggregation.reduce(&mut numbers).unwrap();
                prop_assert!(found >= least - 1e-6 && found <= greatest + 1e-6, "{aggregation}: {found}");
            }
        }
    }
}
