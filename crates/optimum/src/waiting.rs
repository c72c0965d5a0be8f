use crate::load::{Bill, Bin, Load, ReplicaSeconds};

/// The work itself: holds whatever the promise, since somebody has to do it.
#[must_use]
pub fn work(load: &Load) -> ReplicaSeconds {
    let replicas: f64 = load.bins().iter().map(|bin| bin.replicas).sum();
    ReplicaSeconds(replicas * load.seconds())
}

/// The least that serves every bin's work within the bin: exact where nothing may wait.
///
/// The problem, `min Σ n·dt + L·Σ(n - n')⁺` with `n ≥ need`, falls apart into one for each level: the
/// k-th replica is busy while at least k are needed, and each of its idle gaps costs the gap or a new
/// start, whichever is less (Lu and Chen, arXiv 1112.0442).
#[must_use]
pub fn without_waiting(load: &Load, bill: Bill) -> ReplicaSeconds {
    let needs: Vec<u32> = load.bins().iter().map(Bin::need).collect();
    let cost = (1..=load.peak()).map(|level| of_level(&needs, level, load.seconds(), bill));
    ReplicaSeconds(cost.sum())
}

fn of_level(needs: &[u32], level: u32, bin: f64, bill: Bill) -> f64 {
    let start = bill.cold_start.as_secs_f64();
    let mut cost = 0.0;
    // A warm replica can be kept from the beginning; a cold one has to be started.
    let mut idle = if level <= bill.warm { 0.0 } else { f64::INFINITY };
    for &need in needs {
        if need >= level {
            cost += f64::min(idle, start) + bin;
            idle = 0.0;
        } else {
            idle += bin;
        }
    }
    cost
}

/// How many replicas the plan of [`without_waiting`] has in each bin: those that are needed, and those that
/// are cheaper to keep than to start again. A replica that is not needed again is let go.
#[must_use]
pub fn schedule(load: &Load, bill: Bill) -> Vec<u32> {
    let needs: Vec<u32> = load.bins().iter().map(Bin::need).collect();
    let mut replicas = needs.clone();
    for level in 1..=load.peak() {
        // Where this level was last needed, or warm.
        let mut last = (level <= bill.warm).then_some(0);
        for (place, &need) in needs.iter().enumerate() {
            if need < level {
                continue;
            }
            if let Some(last) = last {
                let idle = (place - last) as f64 * load.seconds();
                if idle < bill.cold_start.as_secs_f64() {
                    for kept in &mut replicas[last..place] {
                        *kept = (*kept).max(level);
                    }
                }
            }
            last = Some(place + 1);
        }
    }
    replicas
}
