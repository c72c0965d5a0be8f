/// How many replicas are asked for of a workload: what "as many as now" means.
///
/// That is `spec.replicas`, but for what the HPA makes of a rollout. Under `AverageValue` it holds the value against
/// `status.replicas`, the surge included, and where the ratio is within its tolerance it takes those for the size
/// (`GetExternalPerPodMetricReplicas` in Kubernetes' `replica_calculator.go`). The surge is then added to that, and so on at
/// each of its looks: what nobody asked for must not become what is kept, or a fleet of GPUs grows for as long as its
/// rollout lasts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AskedFor(Option<Seen>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    spec: u32,
    /// The fewest replicas that there were while so many were in `spec`. Those that drain go down to it, a surge rises
    /// above it.
    least: u32,
    /// The most, in a surge.
    most: u32,
    asked: u32,
}

impl AskedFor {
    /// The count, now that the scale target has so many in its `spec` and its `status`.
    ///
    /// `answered` is what the last answers make where nothing is within a tolerance, as far as they make anything, and
    /// `tolerance` the HPA's for shrinking.
    pub(crate) fn look(&mut self, spec: u32, status: u32, answered: Option<u32>, tolerance: f64) -> u32 {
        let seen = match self.0 {
            Some(seen) if spec == seen.spec => Seen {
                least: seen.least.min(status),
                most: if status > seen.least {
                    seen.most.max(status)
                } else {
                    seen.most
                },
                ..seen
            },
            Some(seen) => {
                let asked = if seen.explains(spec, answered, tolerance) {
                    seen.asked
                } else {
                    spec
                };
                // Nothing drains but where fewer are asked for: what is beyond them is a surge already.
                let drains = asked < seen.asked;
                Seen {
                    spec,
                    least: if drains { status } else { spec.min(status) },
                    most: if drains { spec } else { spec.max(status) },
                    asked,
                }
            }
            None => Seen {
                spec,
                least: spec.min(status),
                most: spec.max(status),
                asked: spec,
            },
        };
        self.0 = Some(seen);
        seen.asked
    }
}

impl Seen {
    /// Whether the HPA made another `spec` of the surge alone: no more than there were, and so few that it does not shrink
    /// them, though it was not asked for them.
    fn explains(self, spec: u32, answered: Option<u32>, tolerance: f64) -> bool {
        let within = f64::from(self.asked) >= f64::from(spec) * (1.0 - tolerance);
        let surge = self.asked < spec && spec <= self.most;
        surge && within && answered.is_some_and(|answered| answered <= self.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for after each of these sizes, `spec` and `status`, while `answered` is asked for.
    fn asked(answered: u32, sizes: &[(u32, u32)]) -> Vec<u32> {
        let mut asked_for = AskedFor::default();
        let look = |(spec, status): &(u32, u32)| asked_for.look(*spec, *status, Some(answered), 0.1);
        sizes.iter().map(look).collect()
    }

    #[test]
    fn a_surge_that_became_the_size_was_not_asked_for() {
        let sizes = [
            (20, 20),
            (20, 21),
            (21, 21),
            (21, 22),
            (22, 22),
            (22, 23),
            (20, 23),
        ];
        assert_eq!(asked(20, &sizes), [20; 7]);
        // The rollout had begun before.
        assert_eq!(asked(20, &[(20, 21), (21, 21)]), [20, 20]);
        // Never more than the tolerance: beyond it the HPA shrinks by itself.
        assert_eq!(asked(20, &[(20, 20), (20, 24), (23, 24)]), [20, 20, 23]);
    }

    #[test]
    fn what_somebody_sets_is_asked_for() {
        assert_eq!(asked(20, &[(20, 20), (21, 20), (21, 21)]), [20, 21, 21]);
        assert_eq!(asked(20, &[(20, 21), (19, 21), (20, 20)]), [20, 19, 20]);
        assert_eq!(asked(20, &[(20, 21), (21, 22), (30, 22)]), [20, 20, 30]);
        assert_eq!(asked(1, &[(0, 0), (1, 0), (1, 1)]), [0, 1, 1]);
        assert_eq!(asked(21, &[(20, 20), (20, 21), (21, 21)]), [20, 20, 21], "by us");
        let mut nobody = AskedFor::default();
        let sizes = [(20, 20), (20, 21), (21, 21)];
        let found = sizes.map(|(spec, status)| nobody.look(spec, status, None, 0.1));
        assert_eq!(
            found,
            [20, 20, 21],
            "errors ask for nothing, so that the HPA changes nothing"
        );
    }

    #[test]
    fn replicas_that_drain_are_no_surge() {
        let sizes = [(22, 22), (18, 22), (18, 20), (18, 18), (20, 18)];
        assert_eq!(asked(18, &sizes), [22, 18, 18, 18, 20]);
    }

    #[test]
    fn without_a_tolerance_every_change_is_meant() {
        let mut asked_for = AskedFor::default();
        let found =
            [(20, 20), (20, 21), (21, 22)].map(|(spec, status)| asked_for.look(spec, status, Some(20), 0.0));
        assert_eq!(found, [20, 20, 21]);
    }
}
