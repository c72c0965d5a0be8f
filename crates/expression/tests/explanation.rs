//! How an explanation reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{compiled, values};
use rheostat_expression::Value;
use rheostat_reading::Quality;

#[test]
fn each_part_with_its_number() {
    let mut given = values(&[("waiting", 12.0), ("kv", 0.88)]);
    given[2] = Value::Known {
        number: 0.88,
        quality: Quality::Derived,
    };
    assert_eq!(
        compiled("max(waiting / 5, kv / 0.8)").explain(&given).to_string(),
        "max(waiting/5, kv/0.8) = max(2.4, 1.1) = 2.4 (derived)\n\
         \x20 waiting/5 = 12/5 = 2.4 (measured)\n\
         \x20   waiting = 12 (measured)\n\
         \x20 kv/0.8 = 0.88/0.8 = 1.1 (derived)\n\
         \x20   kv = 0.88 (derived)"
    );
}

#[test]
fn what_is_not_needed() {
    let given = values(&[("waiting", 12.0), ("kv", 0.88)]);
    assert_eq!(
        compiled("if(kv > 0.9, 10, running or waiting)")
            .explain(&given)
            .to_string(),
        "if(kv > 0.9, 10, running or waiting) = if(false, 10, 12) = 12 (measured)\n\
         \x20 kv > 0.9 = 0.88 > 0.9 = false (measured)\n\
         \x20   kv = 0.88 (measured)\n\
         \x20 running or waiting = ? or 12 = 12 (measured)\n\
         \x20   running is absent (not sampled yet), not needed\n\
         \x20   waiting = 12 (measured)"
    );
    assert_eq!(
        compiled("known(gpu) && kv > 0").explain(&given).to_string(),
        "known(gpu) && kv > 0 = false && true = false\n\
         \x20 known(gpu) = known(?) = false\n\
         \x20   gpu is absent (not sampled yet)\n\
         \x20 kv > 0 = 0.88 > 0 = true (measured), not needed\n\
         \x20   kv = 0.88 (measured), not needed"
    );
}

#[test]
fn a_side_that_does_not_decide_is_not_needed() {
    let given = values(&[("kv", 0.88)]);
    assert_eq!(
        compiled("gpu > 0 || kv > 0").explain(&given).to_string(),
        "gpu > 0 || kv > 0 = ? || true = true (measured)\n\
         \x20 gpu > 0 = ? > 0 = ?, not needed\n\
         \x20   gpu is absent (not sampled yet), not needed\n\
         \x20 kv > 0 = 0.88 > 0 = true (measured)\n\
         \x20   kv = 0.88 (measured)"
    );
}

#[test]
fn what_is_absent() {
    let given = values(&[("waiting", 12.0), ("running", 0.0), ("kv", 0.88)]);
    assert_eq!(
        compiled("max(waiting/running, kv + gpu)")
            .explain(&given)
            .to_string(),
        "max(waiting/running, kv + gpu) = max(?, ?) = ?: gpu is absent (not sampled yet); \
         waiting/running: it divides by zero\n\
         \x20 waiting/running = 12/0 = ?\n\
         \x20   waiting = 12 (measured)\n\
         \x20   running = 0 (measured)\n\
         \x20 kv + gpu = 0.88 + ? = ?\n\
         \x20   kv = 0.88 (measured)\n\
         \x20   gpu is absent (not sampled yet)"
    );
    assert_eq!(
        compiled("gpu").explain(&given).to_string(),
        "gpu is absent (not sampled yet)"
    );
}

#[test]
fn numbers_read_well() {
    let given = values(&[
        ("waiting", 1_234_567.0),
        ("kv", 1.0 / 3.0),
        ("memory", 85_899_345_920.0),
    ]);
    for (text, shown) in [
        ("waiting", "waiting = 1234567 (measured)"),
        ("kv", "kv = 0.333333 (measured)"),
        ("memory", "memory = 85899345920 (measured)"),
        ("5", "5 = 5"),
        (
            "-(waiting - 2000000)",
            "-(waiting - 2000000) = -(-765433) = 765433 (measured)",
        ),
        ("2*(kv - 1)", "2*(kv - 1) = 2*(-0.666667) = -1.33333 (measured)"),
    ] {
        let explained = compiled(text).explain(&given).to_string();
        assert_eq!(explained.lines().next(), Some(shown));
    }
}
