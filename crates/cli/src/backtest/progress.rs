use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use parking_lot::Mutex;
use rheostat_backtest::{Case, Watch};
use rheostat_chart::bar;
use rheostat_reading::{Clock, Timestamp};

/// How far a backtest has come: a bar on a terminal, lines elsewhere.
pub(crate) struct Shown {
    live: bool,
    clock: Clock,
    began: Timestamp,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    runs: u64,
    requests: u64,
    done: usize,
    total: usize,
    drawn: Option<Timestamp>,
}

/// Not drawn more often: nobody sees it.
const APART: Duration = Duration::from_millis(100);
/// Cells of the bar.
const WIDTH: usize = 30;

impl Shown {
    pub(crate) fn new(plain: bool) -> Self {
        let clock = Clock::system();
        Self {
            live: !plain && std::io::stderr().is_terminal(),
            began: clock.now(),
            clock,
            state: Mutex::default(),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if self.live {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let now = self.clock.now();
        if self.live && state.drawn.is_none_or(|drawn| now.since(drawn) >= APART) {
            state.drawn = Some(now);
            let part = state.done as f64 / state.total.max(1) as f64;
            let _ = write!(
                std::io::stderr(),
                "\r\x1b[K{} {}/{} policies, {}",
                bar(part, WIDTH),
                state.done,
                state.total,
                self.figures(&state)
            );
        }
    }

    fn figures(&self, state: &State) -> String {
        let seconds = self.clock.now().since(self.began).as_secs_f64();
        format!(
            "{} runs, {:.1} million requests, {:.0} s",
            state.runs,
            state.requests as f64 / 1e6,
            seconds
        )
    }
}

impl Watch for Shown {
    fn ran(&self, requests: u64) {
        self.with(|state| {
            state.runs += 1;
            state.requests += requests;
        });
    }

    fn finished(&self, done: usize, total: usize, policy: &str, case: &Case) {
        self.with(|state| {
            state.done = state.done.max(done);
            state.total = total;
            if !self.live {
                eprintln!(
                    "{done}/{total} {policy} on {}, cold start {} s ({})",
                    case.trace.name,
                    case.conditions.cold_start.as_secs_f64(),
                    self.figures(state)
                );
            }
        });
    }
}
