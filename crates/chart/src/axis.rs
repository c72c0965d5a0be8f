/// A round number of at least `least`: 1, 2 or 5 times a power of ten.
pub(crate) fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * 0.999);
    step.unwrap_or(10.0 * power)
}

/// Second and text of the ticks of a time axis of `seconds`, at most about eight of them: in minutes, hours
/// or days, whichever gives short texts.
pub(crate) fn time_ticks(seconds: f64) -> Vec<(f64, String)> {
    let (unit, name) = match seconds {
        ..=14_400.0 => (60.0, "min"),
        ..=259_200.0 => (3600.0, "h"),
        _ => (86_400.0, "d"),
    };
    let step = nice_step(seconds / unit / 8.0).max(1.0);
    let mut ticks = Vec::new();
    let mut at = 0.0;
    while at * unit <= seconds {
        ticks.push((at * unit, format!("{at:.0} {name}")));
        at += step;
    }
    ticks
}

/// `value` as short as its step allows.
pub(crate) fn number(value: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    // What rounding leaves of nothing may have a sign.
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        for (least, step) in [
            (0.9, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (3.5, 5.0),
            (6.0, 10.0),
            (25.0, 50.0),
        ] {
            assert!((nice_step(least) - step).abs() < 1e-9, "{least}");
        }
    }

    #[test]
    fn a_time_axis_is_in_a_unit_that_fits() {
        let last = |seconds| time_ticks(seconds).pop().unwrap_or_default().1;
        assert_eq!(last(1200.0), "20 min");
        assert_eq!(last(86_400.0), "20 h");
        assert_eq!(last(14.0 * 86_400.0), "14 d");
        assert_eq!(last(0.0), "0 min");
        assert!(time_ticks(1e6).len() <= 10);
    }

    #[test]
    fn numbers_have_the_digits_of_their_step() {
        assert_eq!(
            [number(0.3, 0.1), number(2.0, 1.0), number(0.25, 0.05)],
            ["0.3", "2", "0.25"]
        );
        assert_eq!([number(-0.0, 0.1), number(-1e-17, 1.0)], ["0.0", "0"]);
    }
}
