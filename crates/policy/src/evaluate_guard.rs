use rheostat_reading::EngineQuantity;

use crate::evaluate::{SLACK, Work};
use crate::pod::{Judged, UNDER_WAY};
use crate::{GuardStep, PodState};

impl Work<'_> {
    /// What the running requests need, as far as the serving engines say.
    pub(crate) fn guard(&self) -> Option<GuardStep> {
        let guard = self.trigger.guard?;
        let needs = self.trigger.needs.engine.as_ref()?;
        let (mut requests, mut slots) = (0.0, 0.0);
        let (mut known, mut sized, mut unread) = (0_u32, 0_u32, 0_u32);
        for (pod, result) in self.input.pods.iter().zip(self.pods) {
            if result.state != PodState::Ready {
                continue;
            }
            let read = |quantity| {
                let judged = Judged {
                    report: pod.engine.as_ref().ok()?,
                    stale_after: needs.stale_after,
                    window: needs.selection.window,
                    now: self.input.now,
                };
                Some(judged.reading(quantity).ok()?.amount.value())
            };
            // An engine that does not tell waiting requests from running ones tells one of them.
            match UNDER_WAY.into_iter().find_map(read) {
                Some(here) => {
                    requests += here;
                    known += 1;
                }
                None => unread += 1,
            }
            if let Some(most) = read(EngineQuantity::MaxSequences).filter(|most| *most > 0.0) {
                slots += most;
                sized += 1;
            }
        }
        if known == 0 {
            return None;
        }
        let slots = guard
            .slots
            .or_else(|| (sized > 0).then(|| slots / f64::from(sized)))
            .or_else(|| self.trigger.target_of_requests());
        let needed = slots.map_or(0, |slots| whole(requests / slots).saturating_add(unread));
        Some(GuardStep {
            requests,
            slots,
            unread,
            // It keeps replicas; more of them is for the load to ask.
            replicas: needed.min(self.input.replicas),
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is wanted"
)]
fn whole(replicas: f64) -> u32 {
    (replicas - SLACK).ceil() as u32
}
