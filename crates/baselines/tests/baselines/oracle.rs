use std::sync::Arc;
use std::time::Duration;

use rheostat_baselines::{Context, Foresight, Settings, find};
use rheostat_simulator::{Control, Controller};
use rheostat_trace::Request;

use crate::support::{START, context, observation};

/// Ten requests a second, and 200 a second from 1,000 s to 1,060 s: of those 18.1 keep a replica busy (500 tokens in,
/// 200 out; see `dynamo`), so that they need 12.
fn with_foresight() -> Context {
    let requests = (0..2000_u64).flat_map(|second| {
        let each = if (1000..1060).contains(&second) { 200 } else { 10 };
        (0..each).map(move |part| Request {
            at: Duration::from_secs(second) + Duration::from_millis(part * 1000 / each),
            prompt_tokens: 500,
            output_tokens: 200,
        })
    });
    let foresight = Foresight::new(START, Duration::from_secs(1), requests).unwrap();
    Context {
        foresight: Some(Arc::new(foresight)),
        ..context()
    }
}

fn oracle(settings: &Settings) -> Box<dyn Controller> {
    let context = with_foresight();
    match find("oracle", &context)
        .unwrap()
        .build(settings, &context)
        .unwrap()
    {
        Control::Direct(controller) => controller,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_asks_one_cold_start_ahead_and_holds_until_the_need_has_gone() {
    let mut oracle = oracle(
        &Settings::new()
            .with("utilization", 1.0)
            .with("bin_seconds", 1_u32),
    );
    let mut at = |seconds| oracle.decide(&observation(seconds, 1, &[])).unwrap();
    assert_eq!(at(0.0), 1);
    // A start takes 60 s, and the next look is 10 s later.
    assert_eq!(at(929.0), 1);
    assert_eq!(at(930.0), 12, "200 / 18.1 is 11.04");
    assert_eq!(at(1059.0), 12);
    assert_eq!(at(1060.0), 1);
    assert_eq!(at(5000.0), 1, "after the end there is only the floor");
}

#[test]
fn static_peak_is_what_the_busiest_minute_needs() {
    let context = with_foresight();
    let settings = Settings::new().with("utilization", 1.0);
    let peak = find("static-peak", &context)
        .unwrap()
        .build(&settings, &context)
        .unwrap();
    // The minute from 960 s has 20 s of the burst, the one from 1,020 s has 40 s: 136.7 a second.
    assert!(matches!(peak, Control::Static(8)), "{peak:?}");
}
