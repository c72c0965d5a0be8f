use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use crate::engine::EngineModel;
use crate::server::{Finished, Job, Outcome, Server, Unfinished};
use crate::time::{Picoseconds, SECOND, from_seconds, seconds};

/// Continuous batching as a flow: a clock that counts iterations, and runs the slower the more there is to
/// do in one.
///
/// What decodes gets one token for each tick of the clock, so that a request which begins to decode at tick
/// `v` ends at `v + output - 1`, whatever the load does until then. A tick takes
/// `T = base + per_decode_sequence * sequences + per_kv_token * their tokens`. Prompts are read first come,
/// first served; while there are any left, each of their tokens takes `per_prefill_token` and its part of
/// the ticks that `max_batched_tokens` allow it. Prompts that come while a tick runs are read together after
/// it, and have their first tokens together.
///
/// What is different from iterations: a request joins the decoding ones when it is admitted; a tick takes as
/// long as it would if it began now; the KV cache is kept free by admitting only what will fit with half of
/// its answer, as it is on average, instead of throwing sequences out.
#[derive(Clone, Debug)]
pub(crate) struct Fluid {
    base: f64,
    prefill_token: f64,
    decode_sequence: f64,
    kv_token: f64,
    max_sequences: usize,
    max_batched_tokens: f64,
    kv_tokens: f64,
    queue: VecDeque<Job>,
    running: BinaryHeap<Sequence>,
    /// KV cache that running requests have on average, counted in halves of tokens, to stay exact.
    reserved: u64,
    /// Tokens in it at the last update.
    held: f64,
    /// Prompt tokens that are being read, those that are left.
    unread: f64,
    /// Prompt tokens that are read from the next whole tick on.
    next: f64,
    /// Ticks so far.
    ticks: f64,
    /// When all this was so.
    updated: Picoseconds,
    /// When the next sequence ends.
    due: Option<Picoseconds>,
    readings: Readings,
    untold: Untold,
}

/// Prompts that are read together, the newest last.
#[derive(Clone, Debug, Default)]
struct Readings {
    /// The number of the oldest that is kept.
    oldest: u64,
    kept: VecDeque<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    begins: Picoseconds,
    /// When its requests have their first tokens.
    ends: Picoseconds,
    /// Prompt tokens.
    tokens: f64,
    /// Requests of it that are still running.
    requests: u32,
}

/// What has happened and is not on the page yet.
#[derive(Clone, Debug, Default)]
struct Untold {
    /// Tokens that came, in so many ticks, which took so many seconds.
    tokens: f64,
    ticks: f64,
    time: f64,
    /// Prompt tokens that were read.
    read: f64,
    /// Requests whose first token came or is to come: the reading of it, and when they arrived.
    firsts: VecDeque<(u64, Picoseconds)>,
}

#[derive(Clone, Copy, Debug)]
struct Sequence {
    /// The tick at which it has its last token.
    end: f64,
    /// The tick at which it was admitted.
    begin: f64,
    job: Job,
    /// The reading of its prompt.
    reading: u64,
}

impl PartialEq for Sequence {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Sequence {}

impl PartialOrd for Sequence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sequence {
    /// The one that ends first is the greatest, since heaps give that.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .end
            .total_cmp(&self.end)
            .then_with(|| other.job.arrived.cmp(&self.job.arrived))
    }
}

impl Server for Fluid {
    fn new(engine: &EngineModel) -> Self {
        Self {
            base: engine.base.0,
            prefill_token: engine.per_prefill_token.0,
            decode_sequence: engine.per_decode_sequence.0,
            kv_token: engine.per_kv_token.0,
            max_sequences: engine.max_sequences as usize,
            max_batched_tokens: f64::from(engine.max_batched_tokens),
            kv_tokens: f64::from(engine.kv_tokens),
            queue: VecDeque::new(),
            running: BinaryHeap::new(),
            reserved: 0,
            held: 0.0,
            unread: 0.0,
            next: 0.0,
            ticks: 0.0,
            updated: 0,
            due: None,
            readings: Readings::default(),
            untold: Untold::default(),
        }
    }

    fn fits(&self, job: Job) -> bool {
        f64::from(job.prompt) + f64::from(job.output) <= self.kv_tokens
    }

    fn submit(&mut self, now: Picoseconds, job: Job) {
        self.queue.push_back(job);
        if self.running.is_empty() {
            // Prompts of one moment are read together: the first look is the event at this time.
            self.due = Some(now);
        } else if self.queue.len() == 1 && self.has_room(job) {
            self.update(now);
            self.admit(now);
            self.plan();
        }
    }

    fn next(&self) -> Option<Picoseconds> {
        self.due
    }

    fn step(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>) {
        self.update(now);
        self.tell(now, outcome);
        // A picosecond is far less than a tick, and times are whole ones.
        while let Some(sequence) = self.running.peek()
            && (sequence.end - self.ticks) * self.tick() < 2e-12
        {
            let Some(sequence) = self.running.pop() else { break };
            self.end(&sequence, now, outcome);
        }
        if self.running.is_empty() {
            // Nothing is left of what rounding added up to.
            (self.held, self.unread, self.next, self.reserved) = (0.0, 0.0, 0.0, 0);
            self.ticks = self.ticks.ceil();
        }
        self.admit(now);
        self.plan();
    }

    fn settle(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>) {
        self.update(now);
        self.tell(now, outcome);
        if !self.running.is_empty() {
            self.plan();
        }
    }

    fn waiting(&self) -> u32 {
        self.queue.len() as u32
    }

    fn running(&self) -> u32 {
        self.running.len() as u32
    }

    fn kv_tokens(&self) -> u64 {
        self.held as u64
    }

    fn take(&mut self) -> Vec<Unfinished> {
        let (ticks, updated) = (self.ticks, self.updated);
        let readings = std::mem::take(&mut self.readings);
        let running = self.running.drain().map(|sequence| Unfinished {
            job: sequence.job,
            first: readings.first(sequence.reading).filter(|first| *first <= updated),
            tokens: sequence
                .job
                .output
                .saturating_sub((sequence.end - ticks).max(0.0).ceil() as u32),
        });
        let waiting = self.queue.drain(..).map(|job| Unfinished {
            job,
            first: None,
            tokens: 0,
        });
        let all = running.chain(waiting).collect();
        (self.held, self.unread, self.next) = (0.0, 0.0, 0.0);
        (self.reserved, self.due) = (0, None);
        self.untold = Untold::default();
        all
    }
}

impl Fluid {
    /// What a tick takes now, without prompts.
    fn tick(&self) -> f64 {
        self.base + self.decode_sequence * self.running.len() as f64 + self.kv_token * self.held
    }

    /// Seconds that the reading of one prompt token takes, with the tick's part.
    fn read(&self) -> f64 {
        self.prefill_token + self.tick() / self.max_batched_tokens
    }

    /// Brings the clock to `now`.
    fn update(&mut self, now: Picoseconds) {
        let mut time = seconds(now - self.updated);
        self.updated = now;
        let sequences = self.running.len() as f64;
        if sequences == 0.0 || time <= 0.0 {
            return;
        }
        while self.unread > 0.0 || self.next > 0.0 {
            if self.unread > 0.0 {
                let read = self.read();
                let tokens = time / read;
                let all = tokens >= self.unread;
                let tokens = tokens.min(self.unread);
                let reading = (tokens * read).min(time);
                self.unread = if all { 0.0 } else { self.unread - tokens };
                self.untold.read += tokens;
                self.turn(tokens / self.max_batched_tokens, reading, sequences);
                time -= reading;
                if !all {
                    return;
                }
            } else {
                let whole = self.ticks.ceil();
                let rest = (whole - self.ticks) * self.tick();
                if rest > time {
                    self.turn(time / self.tick(), time, sequences);
                    return;
                }
                self.turn(whole - self.ticks, rest, sequences);
                self.ticks = whole;
                time -= rest;
                self.unread = std::mem::take(&mut self.next);
            }
        }
        let (tick, growth) = (self.tick(), self.kv_token * sequences);
        // The root of `ticks * tick + growth * ticks^2 / 2 = time`, stable where the growth is small.
        let ticks = 2.0 * time / (tick + (tick * tick + 2.0 * growth * time).sqrt());
        self.turn(ticks, time, sequences);
    }

    fn turn(&mut self, ticks: f64, time: f64, sequences: f64) {
        self.ticks += ticks;
        self.held += ticks * sequences;
        self.untold.ticks += ticks;
        self.untold.tokens += ticks * sequences;
        self.untold.time += time;
    }

    /// Puts what has happened on the page; parts of tokens stay for later.
    fn tell(&mut self, now: Picoseconds, outcome: &mut Outcome<'_>) {
        let untold = &mut self.untold;
        let Some(meter) = &mut outcome.meter else {
            *untold = Untold::default();
            return;
        };
        while let Some(&(reading, arrived)) = untold.firsts.front()
            && let first = self.readings.first(reading).unwrap_or(now)
            && first <= now
        {
            untold.firsts.pop_front();
            meter.first_token(now, first - arrived);
        }
        let (tokens, read) = (untold.tokens as u64, untold.read as u64);
        if read > 0 {
            untold.read -= read as f64;
            meter.prefilled(now, read);
        }
        if tokens > 0 {
            let gap = from_seconds(untold.time / untold.ticks.max(f64::MIN_POSITIVE));
            (untold.ticks, untold.time) = (0.0, 0.0);
            untold.tokens -= tokens as f64;
            meter.tokens(now, gap, tokens);
        }
    }

    fn has_room(&self, job: Job) -> bool {
        self.running.len() < self.max_sequences
            && (self.running.is_empty() || (self.reserved + halves(job)) as f64 / 2.0 <= self.kv_tokens)
    }

    /// Begins what there is room for.
    fn admit(&mut self, now: Picoseconds) {
        while let Some(&job) = self.queue.front()
            && self.has_room(job)
        {
            self.queue.pop_front();
            let tick = self.tick();
            // What is being read goes first, to the end of the tick in which it ends.
            let whole = (self.ticks + self.unread / self.max_batched_tokens).ceil();
            let rest = (whole - self.ticks) * tick + self.unread * self.prefill_token;
            let boundary = now + from_seconds(rest);
            let prompt = f64::from(job.prompt);
            let (reading, begins, tokens) =
                self.readings.join(now, boundary, prompt, self.max_batched_tokens);
            let ticks = (tokens / self.max_batched_tokens).max(1.0);
            self.readings
                .ends(begins + from_seconds(ticks * tick + tokens * self.prefill_token));
            self.next += prompt;
            let ticks = (self.next / self.max_batched_tokens).max(1.0);
            self.untold.firsts.push_back((reading, job.arrived));
            self.reserved += halves(job);
            self.held += prompt;
            self.running.push(Sequence {
                end: whole + ticks + f64::from(job.output - 1),
                begin: self.ticks,
                job,
                reading,
            });
        }
    }

    fn end(&mut self, sequence: &Sequence, now: Picoseconds, outcome: &mut Outcome<'_>) {
        let Sequence {
            begin, job, reading, ..
        } = *sequence;
        let first = self.readings.leave(reading).unwrap_or(now);
        self.reserved -= halves(job);
        self.held = (self.held - f64::from(job.prompt) - (self.ticks - begin)).max(0.0);
        let done = Finished {
            job,
            first: first.min(now),
            at: now,
        };
        if let Some(meter) = &mut outcome.meter {
            meter.finished(&done);
        }
        outcome.finished.push(done);
    }

    /// When the next sequence ends, if nothing comes.
    fn plan(&mut self) {
        let Some(sequence) = self.running.peek() else {
            self.due = None;
            return;
        };
        let sequences = self.running.len() as f64;
        let mut left = (sequence.end - self.ticks).max(0.0);
        let (tick, read) = (self.tick(), self.read());
        let mut time = 0.0;
        let mut past = 0.0;
        // What is being read, the rest of that tick, and what is read from then on.
        let reading = self.unread / self.max_batched_tokens;
        let rest = if self.next > 0.0 {
            (self.ticks + reading).ceil() - (self.ticks + reading)
        } else {
            0.0
        };
        for (ticks, each) in [
            (reading, self.max_batched_tokens * read),
            (rest, tick),
            (
                self.next / self.max_batched_tokens,
                self.max_batched_tokens * read,
            ),
        ] {
            let ticks = ticks.min(left);
            time += ticks * each;
            past += ticks;
            left -= ticks;
        }
        time += left * (tick + self.kv_token * sequences * (past + left / 2.0));
        self.due = Some(self.updated + ((time * SECOND as f64).ceil() as u64).max(1));
    }
}

impl Readings {
    /// A prompt joins the reading that has not begun yet if that has room for it, or a new one: after the
    /// newest, or at `boundary`. Its number, when it begins and the tokens of it.
    fn join(
        &mut self,
        now: Picoseconds,
        boundary: Picoseconds,
        tokens: f64,
        room: f64,
    ) -> (u64, Picoseconds, f64) {
        let newest = self.kept.back().copied();
        let (begins, joins) = match newest {
            Some(newest) if now < newest.begins && newest.tokens + tokens <= room => (newest.begins, true),
            Some(newest) if now < newest.ends => (newest.ends, false),
            _ => (boundary, false),
        };
        if !joins {
            self.kept.push_back(Reading {
                begins,
                ends: begins,
                tokens: 0.0,
                requests: 0,
            });
        }
        let number = self.oldest + self.kept.len() as u64 - 1;
        let all = self.kept.back_mut().map_or(tokens, |reading| {
            reading.tokens += tokens;
            reading.requests += 1;
            reading.tokens
        });
        (number, begins, all)
    }

    /// When the newest ends.
    fn ends(&mut self, ends: Picoseconds) {
        if let Some(reading) = self.kept.back_mut() {
            reading.ends = ends;
        }
    }

    /// When the requests of a reading have their first tokens.
    fn first(&self, number: u64) -> Option<Picoseconds> {
        let place = usize::try_from(number.checked_sub(self.oldest)?).ok()?;
        self.kept.get(place).map(|reading| reading.ends)
    }

    /// A request of a reading is done; readings of which all are done are forgotten, but for the newest.
    fn leave(&mut self, number: u64) -> Option<Picoseconds> {
        let first = self.first(number)?;
        let place = usize::try_from(number.checked_sub(self.oldest)?).ok()?;
        if let Some(reading) = self.kept.get_mut(place) {
            reading.requests -= 1;
        }
        while self.kept.len() > 1 && self.kept.front().is_some_and(|reading| reading.requests == 0) {
            self.kept.pop_front();
            self.oldest += 1;
        }
        Some(first)
    }
}

/// Twice the KV cache that a request has on average.
fn halves(job: Job) -> u64 {
    2 * u64::from(job.prompt) + u64::from(job.output)
}
