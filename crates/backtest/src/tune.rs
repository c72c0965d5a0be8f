use rheostat_baselines::{Baseline, BaselineError, Parameter, Settings, Value};
use rheostat_reading::Ratio;

use crate::evaluate::EvaluationError;
use crate::meter::Outcome;
use crate::search::{Evaluated, Grid, coordinate_descent, least_that_fits};
use crate::tally::Tally;

/// The best settings found, by what they were searched on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tuned {
    /// Best on the whole: in hindsight.
    pub(crate) hindsight: (Settings, Outcome),
    /// Best on each half, and what they do on the other half.
    pub(crate) elsewhere: [(Settings, Tally); 2],
    /// How many settings were tried.
    pub(crate) tried: usize,
}

/// Searches for the settings of `baseline` with which it keeps `attainment` at the least cost: on the whole
/// of what is scored, and on each half. No search sees the scores of another part than its own; what was
/// evaluated for one is only not evaluated again for the next.
///
/// # Errors
///
/// The first error of `evaluate`, but for settings that the baseline does not allow together: those are
/// worse than all.
pub(crate) fn tune(
    baseline: &Baseline,
    candidates: &[Parameter],
    attainment: Ratio,
    most: usize,
    evaluate: impl Fn(&Settings) -> Result<Outcome, EvaluationError>,
) -> Result<Option<Tuned>, EvaluationError> {
    let axes = axes(baseline, candidates);
    let grid = Grid {
        sizes: axes.iter().map(|axis| axis.values.len()).collect(),
        start: axes.iter().map(|axis| axis.default).collect(),
        first: None,
    };
    // Where the defaults are far from keeping the SLO, a search may end before it comes to a floor that does;
    // where it begins with the floor, it may never learn what the rest is good for. So both are tried.
    let floor_first = Grid {
        first: axes.iter().position(|axis| axis.name == FLOOR),
        ..grid.clone()
    };
    let mut evaluated = Evaluated::default();
    let mut best_by = |of: fn(&Outcome) -> &Tally, most: usize| {
        let better = |one: &Option<Outcome>, other: &Option<Outcome>| match (one, other) {
            (Some(one), Some(other)) => of(one).is_better_than(of(other), attainment),
            (one, None) => one.is_some(),
            (None, _) => false,
        };
        let try_one = |point: &[usize]| match evaluate(&settings(&axes, point)) {
            Ok(outcome) => Ok(Some(outcome)),
            Err(EvaluationError::Policy(BaselineError::NotAllowed { .. })) => Ok(None),
            Err(error) => Err(error),
        };
        let point = match axes.as_slice() {
            [only] if only.name == STATIC => bisect(only, &mut evaluated, try_one, |outcome| {
                outcome.is_some_and(|outcome| of(outcome).attainment().0 >= attainment.0)
            })?,
            _ => {
                let one = coordinate_descent(&grid, &mut evaluated, most, try_one, better)?;
                let other = coordinate_descent(&floor_first, &mut evaluated, most / 3, try_one, better)?;
                match (evaluated.get(&one), evaluated.get(&other)) {
                    (Some(first), Some(second)) if better(second, first) => other,
                    _ => one,
                }
            }
        };
        let outcome = evaluated.get(&point).cloned().flatten();
        Ok::<_, EvaluationError>(outcome.map(|outcome| (settings(&axes, &point), outcome)))
    };
    let hindsight = best_by(|outcome| &outcome.whole, most)?;
    // What the first search has tried mostly serves these too.
    let first = best_by(|outcome| &outcome.halves[0], most / 2)?;
    let second = best_by(|outcome| &outcome.halves[1], most / 2)?;
    let (Some(hindsight), Some(first), Some(second)) = (hindsight, first, second) else {
        return Ok(None);
    };
    let scored_on = |(settings, outcome): (Settings, Outcome), half: usize| {
        let [one, two] = outcome.halves;
        (settings, if half == 0 { one } else { two })
    };
    Ok(Some(Tuned {
        hindsight,
        elsewhere: [scored_on(first, 1), scored_on(second, 0)],
        tried: evaluated.len(),
    }))
}

/// The parameter of a static level: the lowest that keeps the SLO is found by bisection, since more replicas
/// never keep it worse.
const STATIC: &str = "replicas";

/// The parameter below which no baseline goes.
const FLOOR: &str = "floor";

fn bisect<E>(
    axis: &Axis,
    evaluated: &mut Evaluated<Option<Outcome>>,
    mut evaluate: impl FnMut(&[usize]) -> Result<Option<Outcome>, E>,
    keeps: impl Fn(Option<&Outcome>) -> bool,
) -> Result<Vec<usize>, E> {
    let last = axis.values.len().saturating_sub(1);
    let found = least_that_fits(0, last as u32, |place| {
        let outcome = evaluated.get_or_evaluate(&[place as usize], &mut evaluate)?;
        Ok(keeps(outcome.as_ref()))
    })?;
    let place = found.map_or(last, |place| place as usize);
    evaluated.get_or_evaluate(&[place], &mut evaluate)?;
    Ok(vec![place])
}

/// One parameter's values, in an order in which neighbours are alike.
struct Axis {
    name: &'static str,
    values: Vec<Value>,
    /// Place of the default.
    default: usize,
}

fn axes(baseline: &Baseline, candidates: &[Parameter]) -> Vec<Axis> {
    let axis = |parameter: &Parameter| {
        let others = candidates.iter().find(|other| other.name == parameter.name);
        let others = others.map_or(&parameter.candidates, |other| &other.candidates);
        let mut values = vec![parameter.default.clone()];
        for value in others {
            if parameter.allowed.allows(value) && !values.contains(value) {
                values.push(value.clone());
            }
        }
        values.sort_by(|one, other| match (one, other) {
            (Value::Number(one), Value::Number(other)) => one.total_cmp(other),
            _ => std::cmp::Ordering::Equal,
        });
        Axis {
            name: parameter.name,
            default: values
                .iter()
                .position(|value| *value == parameter.default)
                .unwrap_or(0),
            values,
        }
    };
    baseline.parameters.iter().map(axis).collect()
}

fn settings(axes: &[Axis], point: &[usize]) -> Settings {
    let chosen = axes.iter().zip(point);
    chosen.fold(Settings::new(), |settings, (axis, place)| {
        if *place == axis.default {
            return settings;
        }
        match axis.values.get(*place) {
            Some(value) => settings.with(axis.name, value.clone()),
            None => settings,
        }
    })
}
