use crate::engine::EngineModel;
use crate::meter::Meter;
use crate::time::Picoseconds;

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) arrived: Picoseconds,
    pub(crate) prompt: u32,
    pub(crate) output: u32,
}

/// A request that was served to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) job: Job,
    /// When it had its first token.
    pub(crate) first: Picoseconds,
    /// When it had its last.
    pub(crate) at: Picoseconds,
}

/// A request that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) job: Job,
    /// When it had its first token; `None` where it waits for that.
    pub(crate) first: Option<Picoseconds>,
    /// Tokens that it has.
    pub(crate) tokens: u32,
}

/// Where a server leaves what happens.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    /// What the engine's page would show; `None` where nobody looks.
    pub(crate) meter: Option<&'a mut Meter>,
    pub(crate) finished: &'a mut Vec<Finished>,
    pub(crate) preemptions: &'a mut u64,
}

/// The engine of one replica.
pub(crate) trait Server {
    fn new(engine: &EngineModel) -> Self;

    /// Whether a request can ever be served: its tokens must fit the KV cache.
    fn fits(&self, job: Job) -> bool;

    /// A request comes.
    fn submit(&mut self, now: Picoseconds, job: Job);

    /// When [`Self::step`] has something to do.
    fn next(&self) -> Option<Picoseconds>;

    /// Does what is due now.
    fn step(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>);

    /// Brings all that can be read up to now.
    fn settle(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>);

    /// Requests that wait for a place in the batch.
    fn waiting(&self) -> u32;

    /// Requests in the batch.
    fn running(&self) -> u32;

    /// Tokens in the KV cache.
    fn kv_tokens(&self) -> u64;

    /// Takes all requests out.
    fn take(&mut self) -> Vec<Unfinished>;

    /// Requests that are there.
    fn in_flight(&self) -> u32 {
        self.waiting() + self.running()
    }
}
