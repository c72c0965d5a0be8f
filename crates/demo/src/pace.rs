use std::time::Duration;

/// How simulated time relates to real time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    speed: f64,
}

/// Nothing is done more often than this: the fake driver looks at its scenario no more often, and
/// four agents shall fit on one core.
const SHORTEST_PERIOD: Duration = Duration::from_millis(30);

/// How old, in periods, an agent's snapshot may get before time waits for it: sampling, joining
/// and sending take up to one period each.
const PERIODS_BEHIND: u32 = 4;

/// An engine is not asked more often than this: eight of them shall fit beside the rest.
const SHORTEST_SCRAPE: Duration = Duration::from_millis(150);

/// The period of scraping in the trigger, simulated.
const SCRAPE_PERIOD: Duration = Duration::from_secs(2);

/// What engines say may not get older than this, simulated, whatever the speed: the trigger's
/// `staleAfter` is longer.
const ENGINE_PATIENCE: Duration = Duration::from_secs(45);

impl Pace {
    /// `speed` simulated seconds a second.
    ///
    /// # Errors
    ///
    /// It is not from 0.1 to 240.
    pub(crate) fn new(speed: f64) -> anyhow::Result<Self> {
        // Beyond it, an agent's period is longer than the triggers' `staleAfter` allows.
        anyhow::ensure!(
            (0.1..=240.0).contains(&speed),
            "--speed is {speed}; 0.1 to 240 is allowed"
        );
        Ok(Self { speed })
    }

    /// Simulated seconds per second.
    pub(crate) const fn speed(&self) -> f64 {
        self.speed
    }

    /// Real time of one step of the world.
    pub(crate) fn step(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.speed)
    }

    /// Real time between two readings, snapshots and evaluations: a simulated second where that is
    /// long enough.
    pub(crate) fn period(&self) -> Duration {
        self.step().max(SHORTEST_PERIOD)
    }

    /// The same in simulated time.
    pub(crate) fn simulated_period(&self) -> Duration {
        self.period().mul_f64(self.speed)
    }

    /// The speed at which engines are scraped: the demo's own as long as that is seldom enough.
    pub(crate) fn scrape_speed(&self) -> f64 {
        let fastest = SCRAPE_PERIOD.as_secs_f64() / SHORTEST_SCRAPE.as_secs_f64();
        self.speed.min(fastest)
    }

    /// How old, simulated, may be what the scaler knows of an engine before time waits: two scrapes,
    /// and as much as a snapshot.
    pub(crate) fn engine_patience(&self) -> Duration {
        let scrape = SCRAPE_PERIOD.mul_f64(self.speed / self.scrape_speed());
        (scrape * 2 + self.patience()).min(ENGINE_PATIENCE)
    }

    /// How old a snapshot may be, simulated, before time waits.
    pub(crate) fn patience(&self) -> Duration {
        self.simulated_period() * PERIODS_BEHIND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_follow_the_speed_down_to_a_limit() {
        let pace = Pace::new(20.0).unwrap();
        assert_eq!(pace.period(), Duration::from_millis(50));
        assert_eq!(pace.simulated_period(), Duration::from_secs(1));
        let fast = Pace::new(240.0).unwrap();
        assert_eq!(fast.period(), SHORTEST_PERIOD);
        assert!(
            fast.patience() <= Duration::from_secs(30),
            "within the triggers' staleAfter"
        );
        assert!((pace.scrape_speed() - 40.0 / 3.0).abs() < 1e-9, "every 150 ms");
        assert_eq!(pace.engine_patience(), Duration::from_secs(10));
        assert_eq!(fast.engine_patience(), ENGINE_PATIENCE);
        let slow = Pace::new(2.0).unwrap();
        assert_eq!(
            (slow.scrape_speed(), slow.engine_patience()),
            (2.0, Duration::from_secs(8))
        );
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY, 241.0] {
            assert!(Pace::new(speed).unwrap_err().to_string().contains("0.1 to 240"));
        }
    }
}
