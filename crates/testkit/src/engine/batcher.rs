use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rheostat_reading::Timestamp;

use super::prefixes::Prefixes;
use super::settings::{ModelSettings, SettingsError};

/// A continuous-batching engine without hardware: requests and time go in, events come out.
///
/// It works as vLLM's scheduler does. An iteration first serves what is running, then admits
/// waiting requests, first come first served, as long as the batch, the token budget and the KV
/// cache allow. A prompt longer than the budget is computed in chunks. When a running request
/// needs a block and none is free, the request that was admitted last loses its blocks, goes back
/// to the head of the queue and is computed anew. Tokens appear when an iteration ends; what
/// arrives meanwhile waits for the next.
///
/// Nothing is random and nothing reads a clock: the same calls give the same events.
#[derive(Debug)]
pub struct Batcher {
    settings: ModelSettings,
    now: Timestamp,
    /// When the next iteration can begin, while none is under way and there is work.
    ready: Option<Timestamp>,
    iteration: Option<Iteration>,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    free_blocks: u32,
    prefixes: Prefixes,
    next_id: u64,
    asleep: bool,
}

/// What is asked of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens after which the model would stop by itself.
    pub output_tokens: u32,
    /// Tokens after which it is stopped.
    pub max_tokens: Option<u32>,
    /// The adapter (LoRA) to use.
    pub adapter: Option<String>,
    /// The beginning that the prompt shares with others.
    pub prefix: Option<Prefix>,
}

/// A beginning that several prompts share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Which; the same number is the same text.
    pub id: u64,
    /// How long it is, in tokens.
    pub tokens: u32,
}

/// A request in an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A request that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is nothing to do.
    #[error("{what} is 0; at least 1 token is needed")]
    Empty {
        /// What has no token.
        what: &'static str,
    },
    /// The prompt leaves no room for an answer.
    #[error("the prompt has {prompt} tokens; at most {limit} leave room for an answer")]
    TooLong {
        /// Tokens of the prompt.
        prompt: u32,
        /// How many there may be.
        limit: u32,
    },
}

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Finish {
    /// The model had said all.
    Stop,
    /// It reached `max_tokens` or the end of the context.
    Length,
    /// Whoever asked went away, or the engine was stopped.
    Abort,
}

/// What happened at one moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A request was admitted to the running batch for the first time.
    Scheduled {
        /// Which.
        id: RequestId,
        /// How long it had waited.
        waited: Duration,
        /// Prompt tokens that were looked up in the prefix cache.
        prefix_queries: u32,
        /// Those of them that were there.
        prefix_hits: u32,
    },
    /// A request lost its KV blocks and waits again.
    Preempted(RequestId),
    /// A request got a token.
    Token {
        /// Which.
        id: RequestId,
        /// How many it has got with this one.
        number: u32,
        /// Tokens of its prompt.
        prompt_tokens: u32,
        /// The time from its arrival to its first token, or from the token before to this one.
        took: Duration,
    },
    /// A request ended.
    Finished(Finished),
    /// An iteration ended.
    Iteration {
        /// Prompt tokens that it computed.
        prefill_tokens: u32,
        /// Sequences that got a token from the one before.
        decode_sequences: u32,
        /// Sequences in it.
        sequences: u32,
        /// How long it took.
        took: Duration,
    },
}

/// How a request went, from its arrival to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Which.
    pub id: RequestId,
    /// Why it ended.
    pub reason: Finish,
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Tokens that it got.
    pub output_tokens: u32,
    /// Tokens that it could have got.
    pub max_tokens: u32,
    /// From the arrival to the end.
    pub total: Duration,
    /// From the arrival to the first iteration that served it.
    pub queued: Duration,
    /// From there to the first token.
    pub prefill: Duration,
    /// From there to the last token.
    pub decode: Duration,
}

/// An engine at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Requests in the queue.
    pub waiting: usize,
    /// Requests in the running batch.
    pub running: usize,
    /// Of these, those whose prompt is not computed yet.
    pub prefilling: usize,
    /// KV blocks that requests hold.
    pub used_blocks: u32,
    /// KV blocks in all.
    pub blocks: u32,
    /// Tokens in the KV cache.
    pub kv_tokens: u64,
    /// Whether it sleeps.
    pub asleep: bool,
}

impl Batcher {
    /// An idle engine at the time `now`.
    pub fn new(settings: ModelSettings, now: Timestamp) -> Result<Self, SettingsError> {
        settings.check()?;
        let capacity = u64::from(settings.blocks) * u64::from(settings.block_size);
        Ok(Self {
            now,
            ready: None,
            iteration: None,
            waiting: VecDeque::new(),
            running: Vec::new(),
            free_blocks: settings.blocks,
            prefixes: Prefixes::new(if settings.prefix_caching { capacity } else { 0 }),
            next_id: 0,
            asleep: false,
            settings,
        })
    }

    /// Takes a request that arrives at `now`. Requests that arrive at one moment share an iteration.
    pub fn submit(
        &mut self,
        now: Timestamp,
        request: Request,
        events: &mut dyn FnMut(Event),
    ) -> Result<RequestId, Refused> {
        self.run(now, false, events);
        let limit = self.settings.context_limit();
        let prompt = request.prompt_tokens;
        if prompt == 0 {
            return Err(Refused::Empty { what: "the prompt" });
        }
        if request.output_tokens == 0 || request.max_tokens == Some(0) {
            return Err(Refused::Empty { what: "the answer" });
        }
        if prompt >= limit {
            return Err(Refused::TooLong {
                prompt,
                limit: limit.saturating_sub(1),
            });
        }
        let allowed = request.max_tokens.unwrap_or(u32::MAX).min(limit - prompt);
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.waiting.push_back(Sequence {
            id,
            prompt,
            target: request.output_tokens.min(allowed),
            allowed,
            reason: if request.output_tokens >= allowed {
                Finish::Length
            } else {
                Finish::Stop
            },
            adapter: request.adapter,
            prefix: request.prefix,
            arrived: self.now,
            first_scheduled: None,
            first_token: None,
            last_token: None,
            generated: 0,
            computed: 0,
            scheduled: 0,
            blocks: 0,
        });
        self.make_ready();
        Ok(id)
    }

    /// Ends a request at `now`; returns whether it was there.
    pub fn cancel(&mut self, now: Timestamp, id: RequestId, events: &mut dyn FnMut(Event)) -> bool {
        self.run(now, false, events);
        let sequence = if let Some(place) = self.waiting.iter().position(|waiting| waiting.id == id) {
            self.waiting.remove(place)
        } else if let Some(place) = self.running.iter().position(|running| running.id == id) {
            Some(self.running.remove(place))
        } else {
            None
        };
        let Some(mut sequence) = sequence else {
            return false;
        };
        self.free_blocks += sequence.blocks;
        sequence.reason = Finish::Abort;
        events(Event::Finished(sequence.finished(self.now)));
        true
    }

    /// Lets the time pass until `now`. An earlier time changes nothing.
    pub fn advance(&mut self, now: Timestamp, events: &mut dyn FnMut(Event)) {
        self.run(now, true, events);
    }

    /// When something happens next if nothing arrives.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        self.iteration
            .as_ref()
            .map(|iteration| iteration.end)
            .or(self.ready)
    }

    /// Falls asleep: no iteration begins until it wakes; what waits and what arrives waits.
    pub fn sleep(&mut self, now: Timestamp, events: &mut dyn FnMut(Event)) {
        self.run(now, false, events);
        self.asleep = true;
        self.ready = None;
    }

    /// Wakes up.
    pub fn wake(&mut self, now: Timestamp, events: &mut dyn FnMut(Event)) {
        self.run(now, false, events);
        self.asleep = false;
        self.make_ready();
    }

    /// How full it is.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            waiting: self.waiting.len(),
            running: self.running.len(),
            prefilling: self.running.iter().filter(|running| running.prefilling()).count(),
            used_blocks: self.settings.blocks - self.free_blocks,
            blocks: self.settings.blocks,
            kv_tokens: self
                .running
                .iter()
                .map(|running| u64::from(running.computed))
                .sum(),
            asleep: self.asleep,
        }
    }

    /// Adapters that running requests use, then those that waiting requests use; each once.
    #[must_use]
    pub fn adapters(&self) -> (Vec<String>, Vec<String>) {
        fn unique<'a>(sequences: impl Iterator<Item = &'a Sequence>) -> Vec<String> {
            let names: BTreeSet<&String> = sequences
                .filter_map(|sequence| sequence.adapter.as_ref())
                .collect();
            names.into_iter().cloned().collect()
        }
        (unique(self.running.iter()), unique(self.waiting.iter()))
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// Ends and begins iterations until `until`. One that could begin at that very moment does so
    /// only with `inclusive`, so that all requests of the moment can still join it.
    fn run(&mut self, until: Timestamp, inclusive: bool, events: &mut dyn FnMut(Event)) {
        loop {
            if let Some(iteration) = self.iteration.take() {
                if iteration.end > until {
                    self.iteration = Some(iteration);
                    break;
                }
                self.now = self.now.max(iteration.end);
                self.end(&iteration, events);
                self.make_ready();
            }
            match self.ready {
                Some(ready) if ready < until || (inclusive && ready == until) => {
                    self.now = self.now.max(ready);
                    self.ready = None;
                    self.begin(events);
                }
                _ => break,
            }
        }
        self.now = self.now.max(until);
    }

    fn make_ready(&mut self) {
        let work = !(self.waiting.is_empty() && self.running.is_empty());
        if self.iteration.is_none() && self.ready.is_none() && work && !self.asleep {
            self.ready = Some(self.now);
        }
    }

    fn begin(&mut self, events: &mut dyn FnMut(Event)) {
        let mut budget = self.settings.max_batched_tokens;
        let mut preempted = false;
        let mut place = 0;
        while place < self.running.len() && budget > 0 {
            let wanted = self.running[place].outstanding().min(budget);
            if self.reserve(place, wanted) {
                self.running[place].scheduled = wanted;
                budget -= wanted;
                place += 1;
                continue;
            }
            // The last one gives way, and this one tries again, unless it was the last itself.
            preempted = true;
            if let Some(last) = self.running.pop() {
                self.preempt(last, events);
            }
        }
        while !preempted && budget > 0 && self.running.len() < self.settings.max_sequences {
            let Some(mut next) = self.waiting.pop_front() else {
                break;
            };
            let (queries, hits) = next.look_up(&mut self.prefixes, self.settings.block_size);
            let wanted = (next.outstanding() - hits).min(budget);
            let blocks = (hits + wanted).div_ceil(self.settings.block_size);
            if blocks > self.free_blocks {
                self.waiting.push_front(next);
                break;
            }
            self.free_blocks -= blocks;
            next.blocks = blocks;
            next.computed = hits;
            next.scheduled = wanted;
            budget -= wanted;
            if next.first_scheduled.is_none() {
                next.first_scheduled = Some(self.now);
                events(Event::Scheduled {
                    id: next.id,
                    waited: self.now.since(next.arrived),
                    prefix_queries: queries,
                    prefix_hits: hits,
                });
            }
            self.running.push(next);
        }
        let (mut prefill_tokens, mut decode_sequences, mut context) = (0, 0, 0);
        for running in self.running.iter().filter(|running| running.scheduled > 0) {
            if running.prefilling() {
                prefill_tokens += running.scheduled;
            } else {
                decode_sequences += 1;
                context += u64::from(running.computed);
            }
        }
        let took =
            self.settings
                .iteration
                .of(u64::from(prefill_tokens), u64::from(decode_sequences), context);
        self.iteration = Some(Iteration {
            end: self.now.plus(took),
            took,
            prefill_tokens,
            decode_sequences,
        });
    }

    fn end(&mut self, iteration: &Iteration, events: &mut dyn FnMut(Event)) {
        let now = self.now;
        let sequences = self
            .running
            .iter()
            .filter(|running| running.scheduled > 0)
            .count();
        events(Event::Iteration {
            prefill_tokens: iteration.prefill_tokens,
            decode_sequences: iteration.decode_sequences,
            sequences: u32::try_from(sequences).unwrap_or(u32::MAX),
            took: iteration.took,
        });
        let mut free_blocks = self.free_blocks;
        let prefixes = &mut self.prefixes;
        self.running.retain_mut(|running| {
            let scheduled = std::mem::take(&mut running.scheduled);
            running.computed += scheduled;
            if scheduled == 0 || running.outstanding() > 0 {
                return true;
            }
            if running.generated == 0
                && let Some(prefix) = running.prefix
            {
                prefixes.store(prefix.id, prefix.tokens.min(running.prompt));
            }
            events(running.token(now));
            if running.generated < running.target {
                return true;
            }
            free_blocks += running.blocks;
            events(Event::Finished(running.finished(now)));
            false
        });
        self.free_blocks = free_blocks;
    }

    /// Makes room for `tokens` more of the running request at `place`; returns whether there was.
    fn reserve(&mut self, place: usize, tokens: u32) -> bool {
        let running = &mut self.running[place];
        let needed = (running.computed + tokens).div_ceil(self.settings.block_size);
        let more = needed.saturating_sub(running.blocks);
        if more > self.free_blocks {
            return false;
        }
        self.free_blocks -= more;
        running.blocks += more;
        true
    }

    fn preempt(&mut self, mut sequence: Sequence, events: &mut dyn FnMut(Event)) {
        self.free_blocks += sequence.blocks;
        sequence.blocks = 0;
        sequence.computed = 0;
        sequence.scheduled = 0;
        events(Event::Preempted(sequence.id));
        self.waiting.push_front(sequence);
    }
}

#[derive(Debug)]
struct Iteration {
    end: Timestamp,
    took: Duration,
    prefill_tokens: u32,
    decode_sequences: u32,
}

#[derive(Debug)]
struct Sequence {
    id: RequestId,
    prompt: u32,
    /// Tokens that it will get.
    target: u32,
    /// Tokens that it could get.
    allowed: u32,
    reason: Finish,
    adapter: Option<String>,
    prefix: Option<Prefix>,
    arrived: Timestamp,
    first_scheduled: Option<Timestamp>,
    first_token: Option<Timestamp>,
    last_token: Option<Timestamp>,
    generated: u32,
    /// Tokens of prompt and answer whose keys and values are in the cache.
    computed: u32,
    /// Tokens that the iteration under way computes.
    scheduled: u32,
    blocks: u32,
}

impl Sequence {
    /// Tokens to be computed before the next one is known.
    fn outstanding(&self) -> u32 {
        self.prompt + self.generated - self.computed
    }

    /// Whether more than the newest token is to be computed: the prompt, or all after a preemption.
    fn prefilling(&self) -> bool {
        self.generated == 0 || self.outstanding() > 1
    }

    /// Prompt tokens looked up in the prefix cache and those found, in whole blocks. At least one
    /// token is always computed, since the next one comes from it.
    fn look_up(&self, prefixes: &mut Prefixes, block_size: u32) -> (u32, u32) {
        if !prefixes.are_kept() {
            return (0, 0);
        }
        let known = self.prefix.map_or(0, |prefix| prefixes.find(prefix.id));
        let usable = known.min(self.prompt - 1) / block_size * block_size;
        (self.prompt, usable)
    }

    fn token(&mut self, now: Timestamp) -> Event {
        self.generated += 1;
        let since = self.last_token.unwrap_or(self.arrived);
        self.first_token.get_or_insert(now);
        self.last_token = Some(now);
        Event::Token {
            id: self.id,
            number: self.generated,
            prompt_tokens: self.prompt,
            took: now.since(since),
        }
    }

    fn finished(&self, now: Timestamp) -> Finished {
        let scheduled = self.first_scheduled.unwrap_or(now);
        let first_token = self.first_token.unwrap_or(now);
        Finished {
            id: self.id,
            reason: self.reason,
            prompt_tokens: self.prompt,
            output_tokens: self.generated,
            max_tokens: self.allowed,
            total: now.since(self.arrived),
            queued: scheduled.since(self.arrived),
            prefill: first_token.since(scheduled),
            decode: self.last_token.unwrap_or(now).since(first_token),
        }
    }
}
