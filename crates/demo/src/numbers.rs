use crate::play::Played;
use crate::story::{CHAT, Story};

/// GPU time of one workload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GpuTime {
    /// `namespace/name`.
    pub(crate) workload: String,
    /// GPU-hours that its pods held, cold starts included.
    pub(crate) used: f64,
    /// The most GPUs that it held at once.
    pub(crate) peak: usize,
    /// GPU-hours of as many GPUs all the time: what a fleet sized for the peak costs.
    pub(crate) static_peak: f64,
}

/// GPU time of each workload.
pub(crate) fn gpu_time(story: &Story, played: &Played) -> Vec<GpuTime> {
    let hours = played.world.now() / 3600.0;
    let workloads = played.world.workloads().iter().enumerate();
    workloads
        .map(|(index, workload)| {
            let peak = played.record.most(index, |sample| sample.gpus);
            GpuTime {
                workload: story.manifests[index].full_name(),
                used: workload.gpu_seconds() / 3600.0,
                peak,
                static_peak: peak as f64 * hours,
            }
        })
        .collect()
}

impl GpuTime {
    /// Part of the static fleet's GPU-hours that was not needed, 0 to 1.
    pub(crate) fn saved(&self) -> f64 {
        if self.static_peak > 0.0 {
            (1.0 - self.used / self.static_peak).max(0.0)
        } else {
            0.0
        }
    }
}

/// Requests to chat: how many were served, and how many of them late.
pub(crate) fn requests(played: &Played) -> (u64, u64) {
    played.world.workloads()[CHAT].served()
}

/// Part in percent; 0 of nothing.
pub(crate) fn percent(part: u64, of: u64) -> f64 {
    if of == 0 {
        0.0
    } else {
        part as f64 / of as f64 * 100.0
    }
}
