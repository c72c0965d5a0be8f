use std::time::Duration;

use rheostat_optimum::{Bill, Job, bound};
use rheostat_reading::Ratio;
use rheostat_sizing::Slo;
use rheostat_trace::Request;

use crate::play::Played;
use crate::stage::{Served, engine_model};
use crate::story::{ASSIST, LLM, LLM_REPLICAS, Story};

/// How well a workload with engines was sized: what it cost beside the least that anybody must spend on its
/// requests, and how many of them had their first token in time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Score {
    /// `namespace/name`.
    pub(crate) workload: String,
    /// By what it is sized.
    pub(crate) by: &'static str,
    /// GPU-hours that its pods held, cold starts included.
    pub(crate) gpu_hours: f64,
    /// GPU-hours below which nobody keeps the promise, whatever is known.
    pub(crate) optimum: f64,
    /// Requests that came.
    pub(crate) requests: u64,
    /// Part of them that had their first token in time, at least.
    pub(crate) attainment: f64,
    /// GPU-hours below which nobody keeps the promise for that part of them.
    pub(crate) least: f64,
}

/// What both are held to: that of assist's policy. Llm's threshold was told of none.
pub(crate) const FIRST_TOKEN: Duration = Duration::from_secs(5);
/// The longest mean time between tokens. These engines keep it with a full batch too, so that the first token
/// decides; without a limit nobody would have to end an answer.
const BETWEEN_TOKENS: Duration = Duration::from_millis(200);
/// The part of the requests that are to keep it.
pub(crate) const ATTAINMENT: f64 = 0.95;

/// A start takes at least so long in this world, so that the bound cannot be too high by it.
const SHORTEST_START: Duration = Duration::from_secs(60);

/// The scores of llm, by a threshold, and of assist, by a policy.
pub(crate) fn scores(story: &Story, played: &Played) -> Vec<Score> {
    let each = [(LLM, "a threshold"), (ASSIST, "a policy")];
    let served = played.record.served.iter();
    each.into_iter()
        .filter_map(|(index, by)| {
            let served = served.clone().find(|served| served.workload == index)?;
            let gpu_hours = played.world.workloads()[index].gpu_seconds() / 3600.0;
            Some(score(
                story.manifests[index].full_name(),
                by,
                gpu_hours,
                served,
                played.world.now(),
            ))
        })
        .collect()
}

fn score(workload: String, by: &'static str, gpu_hours: f64, served: &Served, end: f64) -> Score {
    let slo = Slo {
        ttft: Some(FIRST_TOKEN),
        itl: Some(BETWEEN_TOKENS),
        e2e: None,
        attainment: Ratio(ATTAINMENT),
    };
    let requests = served.requests.iter().map(|request| Request {
        at: Duration::from_secs_f64(request.came.max(0.0)),
        prompt_tokens: request.prompt_tokens,
        output_tokens: request.output_tokens,
    });
    let end = Duration::from_secs_f64(end.max(0.0));
    let jobs = Job::of(requests, &engine_model(), &slo, Some(end));
    let bill = Bill {
        cold_start: SHORTEST_START,
        warm: LLM_REPLICAS,
    };
    let came = served.requests.len() as u64;
    let attainment = match came {
        0 => 1.0,
        came => served.in_time.min(came) as f64 / came as f64,
    };
    let gpu_hours_for = |attainment| bound(&jobs, bill, attainment).replica_seconds.0 / 3600.0;
    Score {
        workload,
        by,
        gpu_hours,
        optimum: gpu_hours_for(ATTAINMENT),
        requests: came,
        attainment,
        least: gpu_hours_for(attainment),
    }
}

impl Score {
    /// What it cost, in parts of the optimum.
    pub(crate) fn over(&self) -> f64 {
        self.gpu_hours / self.optimum.max(1e-9)
    }

    /// Whether it cost no less than what it kept takes; anything else is a mistake in the books.
    pub(crate) fn is_possible(&self) -> bool {
        self.gpu_hours >= self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Handed;

    #[test]
    fn who_has_one_replica_for_a_load_of_a_replica_is_near_the_optimum() {
        // Two a second of 100 tokens keep one replica as busy as half; none can be less than one.
        let requests = (0..2400).map(|half| Handed {
            came: f64::from(half) / 2.0,
            prompt_tokens: 200,
            output_tokens: 100,
        });
        let served = Served {
            workload: ASSIST,
            requests: requests.collect(),
            in_time: 2390,
        };
        let score = score("a/b".to_owned(), "a policy", 1200.0 / 3600.0, &served, 1200.0);
        assert!(score.is_possible() && (score.attainment - 2390.0 / 2400.0).abs() < 1e-12);
        assert!((1.0..4.0).contains(&score.over()), "{score:?}");
        let cheaper = Score {
            gpu_hours: score.least * 0.9,
            ..score
        };
        assert!(!cheaper.is_possible());
    }
}
