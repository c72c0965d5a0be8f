use std::collections::HashMap;

/// A grid to search: for each parameter the number of its values, and where the search begins.
///
/// A point names a value of each parameter by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// How many values each parameter has, at least 1.
    pub(crate) sizes: Vec<usize>,
    /// The first point: the defaults.
    pub(crate) start: Vec<usize>,
    /// This parameter is set before the others; they are set in their order where it is `None`.
    pub(crate) first: Option<usize>,
}

/// What was evaluated, so that nothing is evaluated twice, also by several searches of one grid.
#[derive(Clone, Debug)]
pub(crate) struct Evaluated<T>(HashMap<Vec<usize>, T>);

impl<T> Default for Evaluated<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Evaluated<T> {
    /// How many points were evaluated.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What came of `point`, from before or from `evaluate`.
    ///
    /// # Errors
    ///
    /// Those of `evaluate`.
    pub(crate) fn get_or_evaluate<E>(
        &mut self,
        point: &[usize],
        evaluate: &mut impl FnMut(&[usize]) -> Result<T, E>,
    ) -> Result<&T, E> {
        if !self.0.contains_key(point) {
            let value = evaluate(point)?;
            self.0.insert(point.to_vec(), value);
        }
        Ok(&self.0[point])
    }

    /// What came of `point`.
    #[must_use]
    pub(crate) fn get(&self, point: &[usize]) -> Option<&T> {
        self.0.get(point)
    }
}

/// The best point found by coordinate descent, with at most `most` evaluations beyond those of `evaluated`.
///
/// One parameter after the other is set to the best of its values while the others stay, until a round over
/// all of them changes nothing. The descent is then repeated from the best point's neighbours, two
/// parameters moved at once, since a floor and a threshold often pay only together. Ties keep what was
/// found first, so that the result does not depend on anything but the grid and the evaluations.
///
/// # Errors
///
/// The first error of `evaluate`.
pub(crate) fn coordinate_descent<T, E>(
    grid: &Grid,
    evaluated: &mut Evaluated<T>,
    most: usize,
    mut evaluate: impl FnMut(&[usize]) -> Result<T, E>,
    better: impl Fn(&T, &T) -> bool,
) -> Result<Vec<usize>, E> {
    let mut left = most;
    let mut best = grid.start.clone();
    // The defaults are always evaluated: there is nothing to compare with otherwise.
    if evaluated.get(&best).is_none() {
        let value = evaluate(&best)?;
        evaluated.0.insert(best.clone(), value);
        left = left.saturating_sub(1);
    }
    let mut visit = |point: &[usize], best: &[usize], left: &mut usize| -> Result<bool, E> {
        if evaluated.get(point).is_none() {
            if *left == 0 {
                return Ok(false);
            }
            *left -= 1;
            let value = evaluate(point)?;
            evaluated.0.insert(point.to_vec(), value);
        }
        Ok(match (evaluated.get(point), evaluated.get(best)) {
            (Some(new), Some(old)) => better(new, old),
            _ => false,
        })
    };
    loop {
        let before = best.clone();
        for parameter in grid.order() {
            for value in near_first(grid.sizes[parameter], best[parameter]) {
                let mut point = best.clone();
                point[parameter] = value;
                if visit(&point, &best, &mut left)? {
                    best = point;
                }
            }
        }
        if best == before {
            for point in diagonal_neighbours(grid, &best) {
                if visit(&point, &best, &mut left)? {
                    best = point;
                    break;
                }
            }
        }
        if best == before {
            return Ok(best);
        }
    }
}

/// The best point that steps to neighbours lead to from the start, with at most `most` evaluations beyond those
/// of `evaluated`: one parameter after the other is moved by a place as long as that pays, until no step does.
///
/// # Errors
///
/// The first error of `evaluate`.
pub(crate) fn climb<T, E>(
    grid: &Grid,
    evaluated: &mut Evaluated<T>,
    most: usize,
    mut evaluate: impl FnMut(&[usize]) -> Result<T, E>,
    better: impl Fn(&T, &T) -> bool,
) -> Result<Vec<usize>, E> {
    let mut best = grid.start.clone();
    evaluated.get_or_evaluate(&best, &mut evaluate)?;
    let limit = evaluated.len() + most;
    loop {
        let before = best.clone();
        for parameter in grid.order() {
            for up in [false, true] {
                while let Some(point) = grid.neighbour(&best, parameter, up) {
                    if evaluated.get(&point).is_none() && evaluated.len() >= limit {
                        return Ok(best);
                    }
                    evaluated.get_or_evaluate(&point, &mut evaluate)?;
                    match (evaluated.get(&point), evaluated.get(&best)) {
                        (Some(new), Some(old)) if better(new, old) => best = point,
                        _ => break,
                    }
                }
            }
        }
        if best == before {
            return Ok(best);
        }
    }
}

impl Grid {
    /// `from` with one parameter moved by a place, where there is one.
    fn neighbour(&self, from: &[usize], parameter: usize, up: bool) -> Option<Vec<usize>> {
        let place = from.get(parameter)?;
        let moved = if up { place + 1 } else { place.checked_sub(1)? };
        let mut point = from.to_vec();
        *point.get_mut(parameter)? = moved;
        (moved < *self.sizes.get(parameter)?).then_some(point)
    }

    /// Parameters in the order in which they are set.
    fn order(&self) -> impl Iterator<Item = usize> {
        let others = (0..self.sizes.len()).filter(|place| Some(*place) != self.first);
        self.first.into_iter().chain(others)
    }
}

/// All places but `from`, the nearest first: where the evaluations run out, the near ones were tried.
fn near_first(size: usize, from: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..size).filter(|place| *place != from).collect();
    places.sort_by_key(|place| place.abs_diff(from));
    places
}

/// Points with two parameters each moved by one place.
fn diagonal_neighbours(grid: &Grid, from: &[usize]) -> Vec<Vec<usize>> {
    let moved = |place: usize, size: usize| {
        let up = (place + 1 < size).then_some(place + 1);
        [place.checked_sub(1), up].into_iter().flatten()
    };
    let mut points = Vec::new();
    for one in 0..from.len() {
        for two in one + 1..from.len() {
            for first in moved(from[one], grid.sizes[one]) {
                for second in moved(from[two], grid.sizes[two]) {
                    let mut point = from.to_vec();
                    (point[one], point[two]) = (first, second);
                    points.push(point);
                }
            }
        }
    }
    points
}

/// The least number in `low..=high` for which `fits` holds, where it holds for all above one for which it
/// does; `None` where not even `high` fits. Takes about log2 of the range evaluations.
///
/// # Errors
///
/// The first error of `fits`.
pub(crate) fn least_that_fits<E>(
    low: u32,
    high: u32,
    mut fits: impl FnMut(u32) -> Result<bool, E>,
) -> Result<Option<u32>, E> {
    if low > high || !fits(high)? {
        return Ok(None);
    }
    let (mut low, mut high) = (low, high);
    while low < high {
        let middle = low + (high - low) / 2;
        if fits(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(Some(high))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn lower(one: &f64, other: &f64) -> bool {
        one < other
    }

    #[test]
    fn the_bottom_of_a_bowl_is_found() {
        let grid = Grid {
            sizes: vec![9, 7, 5],
            start: vec![0, 0, 0],
            first: None,
        };
        let bowl = |point: &[usize]| -> Result<f64, Infallible> {
            let distance = |place: usize, bottom: f64| (place as f64 - bottom).powi(2);
            Ok(distance(point[0], 6.0) + 2.0 * distance(point[1], 3.0) + distance(point[2], 1.0))
        };
        let mut evaluated = Evaluated::default();
        let Ok(best) = coordinate_descent(&grid, &mut evaluated, 200, bowl, lower);
        assert_eq!(best, [6, 3, 1]);
        assert!(evaluated.len() < 9 * 7 * 5 / 2, "{} evaluations", evaluated.len());
    }

    #[test]
    fn a_valley_that_runs_across_is_followed() {
        // Moving either parameter alone makes it worse: only both together lead on.
        let grid = Grid {
            sizes: vec![6, 6],
            start: vec![0, 0],
            first: None,
        };
        let valley = |point: &[usize]| -> Result<f64, Infallible> {
            let (x, y) = (point[0] as f64, point[1] as f64);
            Ok(10.0 * (x - y).abs() - x - y)
        };
        let Ok(best) = coordinate_descent(&grid, &mut Evaluated::default(), 100, valley, lower);
        assert_eq!(best, [5, 5]);
    }

    #[test]
    fn the_evaluations_are_bounded_and_shared() {
        let grid = Grid {
            sizes: vec![50, 50],
            start: vec![25, 25],
            first: None,
        };
        let mut count = 0;
        let mut evaluated = Evaluated::default();
        let value = |point: &[usize]| -> Result<f64, Infallible> { Ok((point[0] + point[1]) as f64) };
        let Ok(_) = coordinate_descent(
            &grid,
            &mut evaluated,
            30,
            |point| {
                count += 1;
                value(point)
            },
            lower,
        );
        assert_eq!((count, evaluated.len()), (30, 30));
        let mut again = 0;
        let Ok(_) = coordinate_descent(
            &grid,
            &mut evaluated,
            0,
            |point| {
                again += 1;
                value(point)
            },
            lower,
        );
        assert_eq!(again, 0, "all of it was evaluated before");
    }

    #[test]
    fn a_parameter_that_is_set_first_leads_elsewhere() {
        // Two bowls: which one is found depends on what is moved first.
        let of = |first| {
            let grid = Grid {
                sizes: vec![2, 2],
                start: vec![0, 0],
                first,
            };
            let bowls = |point: &[usize]| -> Result<i32, Infallible> {
                Ok(match point {
                    [0, 0] => 3,
                    [1, 0] => 2,
                    [0, 1] => 1,
                    _ => 4,
                })
            };
            let better = |one: &i32, other: &i32| one < other;
            let Ok(best) = coordinate_descent(&grid, &mut Evaluated::default(), 3, bowls, better);
            best
        };
        assert_eq!((of(None), of(Some(1))), (vec![1, 0], vec![0, 1]));
    }

    #[test]
    fn climbing_goes_step_by_step_and_stays_within_its_evaluations() {
        let grid = Grid {
            sizes: vec![9, 9],
            start: vec![1, 7],
            first: None,
        };
        let bowl = |point: &[usize]| -> Result<usize, Infallible> {
            Ok(point[0].abs_diff(4).pow(2) + point[1].abs_diff(5).pow(2))
        };
        let better = |one: &usize, other: &usize| one < other;
        let mut evaluated = Evaluated::default();
        let Ok(best) = climb(&grid, &mut evaluated, 50, bowl, better);
        assert_eq!(best, [4, 5]);
        assert!(evaluated.len() <= 14, "{} evaluations", evaluated.len());
        let mut few = Evaluated::default();
        let Ok(best) = climb(&grid, &mut few, 3, bowl, better);
        assert_eq!((best, few.len()), (vec![3, 7], 4), "the start and three more");
    }

    #[test]
    fn an_error_ends_the_search() {
        let grid = Grid {
            sizes: vec![3],
            start: vec![0],
            first: None,
        };
        let broken = |point: &[usize]| if point[0] == 1 { Err("broken") } else { Ok(0.0) };
        assert_eq!(
            coordinate_descent(&grid, &mut Evaluated::default(), 10, broken, lower),
            Err("broken")
        );
    }

    proptest! {
        #[test]
        fn a_separable_optimum_is_always_found(
            bottoms in prop::collection::vec(0_usize..6, 1..5),
            start in prop::collection::vec(0_usize..6, 5),
        ) {
            let grid = Grid { sizes: vec![6; bottoms.len()], start: start[..bottoms.len()].to_vec(), first: None };
            let value = |point: &[usize]| -> Result<usize, Infallible> {
                Ok(point.iter().zip(&bottoms).map(|(place, bottom)| place.abs_diff(*bottom)).sum())
            };
            let better = |one: &usize, other: &usize| one < other;
            let Ok(best) = coordinate_descent(&grid, &mut Evaluated::default(), 1000, value, better);
            prop_assert_eq!(best, bottoms);
        }

        #[test]
        fn bisection_finds_the_least(low in 0_u32..50, span in 0_u32..50, least in 0_u32..120) {
            let Ok(found) = least_that_fits(low, low + span, |number| Ok::<_, Infallible>(number >= least));
            let expected = (low..=low + span).find(|number| *number >= least);
            prop_assert_eq!(found, expected);
        }
    }
}
