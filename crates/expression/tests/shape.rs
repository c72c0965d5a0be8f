//! What is known of an expression before any value is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::compiled;
use rheostat_expression::Direction::{Constant, Falling, Growing, Unknown};

#[test]
fn directions() {
    for (text, name, direction) in [
        ("max(waiting/5, kv/0.8)", "waiting", Growing),
        ("max(waiting/5, kv/0.8)", "kv", Growing),
        ("max(waiting/5, kv/0.8)", "gpu", Constant),
        ("max(waiting/5, kv/0.8)", "no_such_name", Constant),
        ("waiting - running", "running", Falling),
        ("waiting - waiting", "waiting", Unknown),
        ("waiting/running", "waiting", Growing),
        ("waiting/running", "running", Falling),
        ("waiting/-5", "waiting", Falling),
        ("-waiting*-2", "waiting", Growing),
        ("waiting*(1 - kv)", "waiting", Unknown),
        ("waiting*(1 - clamp(kv, 0, 1))", "waiting", Growing),
        ("waiting*(1 - clamp(kv, 0, 1))", "kv", Falling),
        ("waiting*temperature", "waiting", Unknown),
        ("waiting*temperature", "temperature", Growing),
        ("abs(temperature)", "temperature", Unknown),
        ("abs(-kv)", "kv", Growing),
        ("rate*ttft", "ttft", Growing),
        ("1/ttft", "ttft", Falling),
        ("1/(temperature - 20)", "temperature", Unknown),
        ("ceil(waiting/5) + floor(kv) + round(gpu)", "gpu", Growing),
        ("waiting > 5", "waiting", Growing),
        ("waiting > 5 && running < 3", "running", Falling),
        ("!(waiting > 5)", "waiting", Falling),
        ("waiting == 5", "waiting", Unknown),
        ("if(waiting > 10, 5, 1)", "waiting", Growing),
        ("if(waiting > 10, 1, 5)", "waiting", Falling),
        ("if(waiting < 10, 1, 5)", "waiting", Growing),
        ("if(waiting > 10, waiting, 0)", "waiting", Growing),
        ("if(waiting > 10, waiting, 20)", "waiting", Unknown),
        ("if(gpu > 1, waiting/5, kv)", "waiting", Growing),
        ("if(gpu > 1, waiting/5, kv)", "gpu", Unknown),
        ("waiting or running", "running", Growing),
        ("waiting or -running", "running", Falling),
        ("known(waiting)", "waiting", Constant),
        ("known(waiting*5 - running*2)", "waiting", Constant),
        // Nothing is known of a division by zero.
        ("known(1/waiting)", "waiting", Unknown),
        ("known(waiting/running)", "waiting", Constant),
        ("known(waiting/(running + 1))", "running", Constant),
        ("known(waiting/running)", "running", Unknown),
        ("known(waiting*1e200*1e200)", "waiting", Unknown),
        ("known(clamp(waiting, 1, running))", "waiting", Constant),
        ("known(clamp(waiting, 1, running))", "running", Unknown),
        ("known(clamp(waiting, -1, running))", "running", Constant),
        ("known(if(waiting > 1, kv, gpu))", "waiting", Unknown),
        ("known(if(waiting > 1, kv, gpu))", "kv", Constant),
        ("5/waiting or 1", "waiting", Unknown),
        ("(waiting/5 or kv) or gpu", "waiting", Growing),
        ("clamp(10 - waiting, 1, 8)", "waiting", Falling),
        ("0*waiting", "waiting", Growing),
    ] {
        assert_eq!(compiled(text).direction(name), direction, "{text} in {name}");
    }
}

#[test]
fn additive() {
    for (text, additive) in [
        ("waiting", true),
        ("waiting + running", true),
        ("waiting + 0.5*running", true),
        ("(waiting - running)/5", true),
        ("sum(waiting, running*2, -running)", true),
        ("waiting*50%", true),
        ("waiting*(2 + 3)", true),
        ("waiting + 1", false),
        ("kv", false),
        ("waiting*kv", false),
        ("waiting/running", false),
        ("max(waiting, running)", false),
        ("max(waiting/5, kv/0.8)", false),
        ("ceil(waiting)", false),
        ("abs(waiting)", false),
        ("waiting or running", false),
        ("sum(waiting, 1)", false),
        ("5", false),
        ("waiting > 0", false),
    ] {
        assert_eq!(compiled(text).is_additive(), additive, "{text}");
    }
}
