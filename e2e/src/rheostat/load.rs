//! How busy the GPUs of a workload are.

use std::collections::HashMap;

/// The demand on each workload, by namespace and by the label `app` of its pods.
#[derive(Debug, Default)]
pub(crate) struct Loads(HashMap<(String, String), Load>);

/// The demand on a workload. Only ready pods serve it: the GPUs of a pod that starts are idle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// Percent of each GPU, however many pods there are.
    Each(f64),
    /// Percent of one GPU in all, which the ready pods share: more pods, less load on each. A GPU
    /// has no more than 100 to give, whatever is asked of it.
    Shared(f64),
}

impl Loads {
    pub(crate) fn set(&mut self, namespace: &str, app: &str, load: Load) {
        self.0.insert((namespace.to_owned(), app.to_owned()), load);
    }

    /// Percent of each GPU of a workload that has `ready` ready pods; 0 where nothing was set.
    pub(crate) fn of(&self, namespace: &str, app: &str, ready: usize) -> f64 {
        let key = (namespace.to_owned(), app.to_owned());
        self.0.get(&key).map_or(0.0, |load| load.per_gpu(ready))
    }
}

impl Load {
    fn per_gpu(self, ready: usize) -> f64 {
        let pods = u32::try_from(ready.max(1)).unwrap_or(u32::MAX);
        let percent = match self {
            Self::Each(percent) => percent,
            Self::Shared(percent) => percent / f64::from(pods),
        };
        percent.clamp(0.0, 100.0)
    }
}
