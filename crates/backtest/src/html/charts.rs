use rheostat_chart::{Axis, Chart, Kind, Line, Point, Series, XyChart};

use crate::distribution::Distribution;
use crate::meter::Record;
use crate::report::{CaseReport, Report, Row, Variant};

/// Cost against attainment: every row a point, the front a line.
pub(super) fn front(case: &CaseReport, attainment: f64) -> String {
    let optimum = case.optimum.gpu_hours.max(1e-9);
    let over: Vec<f64> = case
        .rows
        .iter()
        .map(|row| row.score.gpu_hours / optimum)
        .collect();
    let dearest = over.iter().copied().fold(2.0, f64::max);
    let cheapest = over.iter().copied().fold(1.0, f64::min);
    // What is served by chance alone is of no interest: the axis ends where a tenth is late, or a little below
    // the worst of those that are near.
    let worst = case.rows.iter().map(|row| row.score.attainment);
    let lowest = worst.filter(|part| *part >= 0.8).fold(attainment, f64::min);
    let from = (lowest * 100.0 - 0.5).floor().max(80.0);
    let mut on_front: Vec<(f64, f64)> = case
        .rows
        .iter()
        .filter(|row| row.on_front)
        .map(|row| (row.score.gpu_hours / optimum, row.score.attainment * 100.0))
        .collect();
    on_front.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (left, right) = (cheapest * 0.95, dearest * 1.1);
    XyChart {
        title: "Cost against attainment",
        x: Axis {
            name: "cost, times the optimum",
            from: left,
            to: right,
            logarithmic: true,
        },
        y: Axis {
            name: "requests that kept the SLO, % (less is drawn at the lower edge)",
            from,
            to: 100.0,
            logarithmic: false,
        },
        lines: vec![
            Line {
                name: "to be kept",
                class: "asked",
                points: vec![(left, attainment * 100.0), (right, attainment * 100.0)],
            },
            Line {
                name: "optimum",
                class: "optimum",
                points: vec![(1.0, from), (1.0, 100.0)],
            },
            Line {
                name: "front: no other is cheaper and better",
                class: "front",
                points: on_front,
            },
        ],
        points: case.rows.iter().map(|row| point(row, optimum)).collect(),
    }
    .svg()
}

fn point(row: &Row, optimum: f64) -> Point {
    let class = if row.ours {
        "ours"
    } else if row.told_the_future {
        "future"
    } else {
        match row.variant {
            Variant::Default => "default",
            Variant::TunedElsewhere => "elsewhere",
            Variant::Hindsight => "hindsight",
        }
    };
    let (over, kept) = (row.score.gpu_hours / optimum, row.score.attainment * 100.0);
    Point {
        class: class.to_owned(),
        at: (over, kept),
        label: if row.ours {
            row.policy.clone()
        } else {
            String::new()
        },
        title: format!(
            "{} ({}): {over:.2} × optimum, {kept:.2} %",
            row.policy,
            row.variant.name()
        ),
    }
}

/// How many requests were as fast as that, for ours and the most interesting others.
pub(super) fn latencies(case: &CaseReport, report: &Report) -> String {
    let ours = case.ours();
    let best = case.best_baseline();
    let by_default = case
        .rows
        .iter()
        .find(|row| !row.ours && !row.told_the_future && row.variant == Variant::Default);
    let oracle = case.rows.iter().find(|row| row.told_the_future);
    let mut rows: Vec<(&Row, &str)> = Vec::new();
    for (row, class) in [
        (ours, "ours"),
        (best, "first"),
        (by_default, "second"),
        (oracle, "third"),
    ] {
        if let Some(row) = row
            && !rows.iter().any(|(other, _)| std::ptr::eq(*other, row))
        {
            rows.push((row, class));
        }
    }
    let names: Vec<String> = rows
        .iter()
        .map(|(row, _)| format!("{} ({})", row.policy, row.variant.name()))
        .collect();
    let chart = |title, axis, limit: Option<std::time::Duration>, of: fn(&Row) -> &Distribution| {
        let curves: Vec<Vec<(f64, f64)>> = rows
            .iter()
            .map(|(row, _)| {
                of(row)
                    .cumulative()
                    .map(|(at, part)| (at.0, part * 100.0))
                    .collect()
            })
            .collect();
        let all = || curves.iter().flatten().map(|(at, _)| *at).filter(|at| *at > 0.0);
        let limit = limit.map(|limit| limit.as_secs_f64());
        let (from, to) = (
            all().chain(limit).fold(f64::INFINITY, f64::min),
            all().chain(limit).fold(0.0, f64::max),
        );
        if to <= from {
            return String::new();
        }
        let lines = rows.iter().zip(&names).zip(curves);
        let mut lines: Vec<Line<'_>> = lines
            .map(|(((_, class), name), points)| Line { name, class, points })
            .collect();
        lines.extend(limit.map(|limit| Line {
            name: "limit",
            class: "asked",
            points: vec![(limit, 0.0), (limit, 100.0)],
        }));
        XyChart {
            title,
            x: Axis {
                name: axis,
                from,
                to,
                logarithmic: true,
            },
            y: Axis {
                name: "requests that were as fast, %",
                from: 0.0,
                to: 100.0,
                logarithmic: false,
            },
            lines,
            points: Vec::new(),
        }
        .svg()
    };
    let first = chart(
        "Time to the first token",
        "time to the first token, s",
        report.slo.ttft,
        |row| &row.ttft,
    );
    let between = chart(
        "Mean time between tokens",
        "mean time between tokens, s",
        report.slo.itl,
        |row| &row.itl,
    );
    first + &between
}

/// Replicas over time of one row, with what the load needs and the optimum on average.
pub(super) fn replicas(report: &Report, case: &CaseReport, record: &Record) -> String {
    let points = |value: fn(&rheostat_simulator::Sample) -> f64| {
        let samples = record.samples.iter();
        samples
            .map(|sample| (sample.at.as_secs_f64(), value(sample)))
            .collect::<Vec<_>>()
    };
    let scored = (case.until_seconds - case.scored_from_seconds).max(1.0);
    // GPU-hours of the optimum, as a level over what is scored.
    let gpus = f64::from(report.gpus_per_replica.max(1));
    let level = case.optimum.gpu_hours * 3600.0 / scored / gpus;
    let series = |name, class, kind, points| Series {
        name,
        class,
        kind,
        points,
    };
    let marks = if case.scored_from_seconds > 0.0 {
        vec![(case.scored_from_seconds, "scored from here".to_owned())]
    } else {
        Vec::new()
    };
    let demand = case.demand.iter().map(|one| (one.at, one.replicas)).collect();
    let of_replicas = Chart {
        title: "Replicas against demand",
        unit: "replicas",
        seconds: case.until_seconds,
        top: 2.0,
        series: vec![
            series("ready", "ready", Kind::Area, points(|sample| sample.ready.0)),
            series("asked for", "asked", Kind::Steps, points(|sample| sample.asked.0)),
            series("kept busy by the load", "needed", Kind::Line, demand),
            series(
                "optimum, on average",
                "optimum",
                Kind::Steps,
                vec![(case.scored_from_seconds, level), (case.until_seconds, level)],
            ),
        ],
        marks,
    };
    let of_requests = Chart {
        title: "Requests that wait",
        unit: "requests",
        seconds: case.until_seconds,
        top: 1.0,
        series: vec![series(
            "waiting at most",
            "waiting",
            Kind::Steps,
            points(|sample| sample.waiting as f64),
        )],
        marks: Vec::new(),
    };
    of_replicas.svg() + &of_requests.svg()
}
