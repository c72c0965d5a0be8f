use rheostat_baselines::{Baseline, BaselineError, Parameter, Settings, Value};
use rheostat_reading::Ratio;

use crate::evaluate::EvaluationError;
use crate::meter::Outcome;
use crate::search::{Evaluated, Grid, climb, coordinate_descent, least_that_fits};
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
    let [grid, floor_first] = grids(&axes);
    let mut evaluated = Evaluated::default();
    let mut best_by = |of: fn(&Outcome) -> &Tally, most: usize| {
        let better = |one: &Option<Outcome>, other: &Option<Outcome>| match (one, other) {
            (Some(one), Some(other)) => of(one).is_better_than(of(other), attainment),
            (one, None) => one.is_some(),
            (None, _) => false,
        };
        let try_one = |point: &[usize]| allowed(evaluate(&settings(&axes, point)));
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

/// The same for a long trace, where runs on the whole are dear: `evaluate_part` runs the busiest hours of its first
/// (0) and its second half (1), on each of which `most` settings are tried; the whole is run with the best of
/// each, and a few steps from the better one lead to the best in hindsight. So what is found for one half is
/// found without a look at the other.
///
/// # Errors
///
/// As [`tune`].
pub(crate) fn tune_long(
    baseline: &Baseline,
    candidates: &[Parameter],
    attainment: Ratio,
    most: usize,
    evaluate_part: impl Fn(usize, &Settings) -> Result<Outcome, EvaluationError>,
    evaluate: impl Fn(&Settings) -> Result<Outcome, EvaluationError>,
) -> Result<Option<Tuned>, EvaluationError> {
    let axes = axes(baseline, candidates);
    let [grid, floor_first] = grids(&axes);
    let better = |one: &Option<Outcome>, other: &Option<Outcome>| match (one, other) {
        (Some(one), Some(other)) => one.whole.is_better_than(&other.whole, attainment),
        (one, None) => one.is_some(),
        (None, _) => false,
    };
    let mut tried = 0;
    let mut of_half = |half: usize| {
        let mut evaluated = Evaluated::default();
        let try_one = |point: &[usize]| allowed(evaluate_part(half, &settings(&axes, point)));
        let one = coordinate_descent(&grid, &mut evaluated, most, try_one, better)?;
        let other = coordinate_descent(&floor_first, &mut evaluated, most / 3, try_one, better)?;
        tried += evaluated.len();
        Ok::<_, EvaluationError>(match (evaluated.get(&one), evaluated.get(&other)) {
            (Some(first), Some(second)) if better(second, first) => other,
            _ => one,
        })
    };
    let halves = [of_half(0)?, of_half(1)?];
    let mut evaluated = Evaluated::default();
    let mut try_one = |point: &[usize]| allowed(evaluate(&settings(&axes, point)));
    for point in halves.iter().chain([&grid.start]) {
        evaluated.get_or_evaluate(point, &mut try_one)?;
    }
    let start = match (evaluated.get(&halves[0]), evaluated.get(&halves[1])) {
        (Some(first), Some(second)) if better(second, first) => &halves[1],
        _ => &halves[0],
    };
    let refined = Grid {
        start: start.clone(),
        ..floor_first
    };
    let mut best = climb(&refined, &mut evaluated, most / STEPS, try_one, better)?;
    if let (Some(found), Some(default)) = (evaluated.get(&best), evaluated.get(&grid.start))
        && better(default, found)
    {
        best.clone_from(&grid.start);
    }
    let outcome = |point: &[usize]| evaluated.get(point).cloned().flatten();
    let (Some(hindsight), Some(of_first), Some(of_second)) =
        (outcome(&best), outcome(&halves[0]), outcome(&halves[1]))
    else {
        return Ok(None);
    };
    let [_, on_second] = of_first.halves;
    let [on_first, _] = of_second.halves;
    Ok(Some(Tuned {
        hindsight: (settings(&axes, &best), hindsight),
        elsewhere: [
            (settings(&axes, &halves[0]), on_second),
            (settings(&axes, &halves[1]), on_first),
        ],
        tried: tried + evaluated.len(),
    }))
}

/// One step on the whole of a long trace for so many settings that are tried on a part of it, which take about
/// as long.
const STEPS: usize = 6;

/// Settings that a baseline does not allow together are worse than all.
fn allowed(outcome: Result<Outcome, EvaluationError>) -> Result<Option<Outcome>, EvaluationError> {
    match outcome {
        Ok(outcome) => Ok(Some(outcome)),
        Err(EvaluationError::Policy(BaselineError::NotAllowed { .. })) => Ok(None),
        Err(error) => Err(error),
    }
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

/// Where searches begin: with all parameters alike, and with the floor. Where the defaults are far from keeping
/// the SLO, a search may end before it comes to a floor that does; where it begins with the floor, it may never
/// learn what the rest is good for. So both are tried.
fn grids(axes: &[Axis]) -> [Grid; 2] {
    let grid = Grid {
        sizes: axes.iter().map(|axis| axis.values.len()).collect(),
        start: axes.iter().map(|axis| axis.default).collect(),
        first: None,
    };
    let floor_first = Grid {
        first: axes.iter().position(|axis| axis.name == FLOOR),
        ..grid.clone()
    };
    [grid, floor_first]
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
